"""Where results go."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from peephole.cli.options import say
from peephole.errors import UsageError

#: what a result folder holds; nothing else is ever removed from one
OURS = {"result.json", "report.html", "plan.toml", "capture", "after", "runs", "stdin"}


def state_home() -> Path:
    """The folder for results by default: $XDG_STATE_HOME/peephole, else ~/.local/state/peephole."""
    home = os.environ.get("XDG_STATE_HOME", "")
    # The XDG base-directory rules: a relative path is to be ignored.
    base = Path(home) if home.startswith("/") else Path.home() / ".local" / "state"
    return base / "peephole"


def result_folder(wanted: Path | None, command: str) -> Path:
    """A private folder for one result: `wanted`, or a new one under the state folder.

    An earlier result in `wanted` is replaced; a folder that holds anything else is refused (UsageError). When the
    state folder can't be written, a temporary folder takes its place, and that is said.
    """
    if wanted is not None:
        return _reuse(wanted.absolute())
    name = re.sub(r"[^A-Za-z0-9._-]", "_", Path(command).name)[:40] or "command"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    home = state_home()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix=f"{name}-{stamp}-", dir=home))
    except OSError as e:
        folder = Path(tempfile.mkdtemp(prefix=f"peephole-{name}-"))
        say(f"peephole: {home}: {e.strerror}; the result goes to {folder} instead")
        return folder


def _reuse(folder: Path) -> Path:
    try:
        str(folder).encode()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        strangers = sorted(entry.name for entry in folder.iterdir() if entry.name not in OURS)
    except UnicodeEncodeError as e:
        raise UsageError(f"-o {folder}: the name is not UTF-8; choose another") from e
    except FileExistsError as e:
        raise UsageError(f"-o {folder}: is not a folder; name a folder") from e
    except NotADirectoryError as e:
        raise UsageError(f"-o {folder}: a part of the path is not a folder; name another") from e
    except OSError as e:
        raise UsageError(f"-o {folder}: {e.strerror}; name a folder that can be written") from e
    if strangers:
        raise UsageError(f"-o {folder}: holds other files ({strangers[0]}); name an empty or new folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"-o {folder}: can't be written; name another folder")
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    return folder
