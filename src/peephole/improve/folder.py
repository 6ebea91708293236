"""Runtime folders: private, one a tree of improved processes, with its control page, site lists and the library."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from peephole.errors import EngineError

PREFIX = "peephole-"
#: a folder with this file in it has no launcher any more, and goes when the last of its processes has gone
MARK = "left"


def runtime_base(runtime_dir: Path | None) -> Path:
    """The folder that private runtime folders are made in."""
    return runtime_dir or Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())


def new(runtime_dir: Path | None) -> Path:
    """A new private runtime folder. Raises EngineError when there can't be one."""
    base = runtime_base(runtime_dir)
    try:
        folder = Path(tempfile.mkdtemp(prefix="peephole-", dir=base)).resolve()
    except OSError as e:
        raise EngineError(f"{base}: {e.strerror}; set XDG_RUNTIME_DIR or TMPDIR to a folder that can be written") from e
    if any(c in str(folder) for c in " :;\t\n") or len(os.fsencode(folder)) > 400:
        folder.rmdir()
        raise EngineError(f"{folder}: LD_PRELOAD can't name a path with blanks or colons; set TMPDIR to another folder")
    return folder


def leave(folder: Path) -> None:
    """Remove `folder`, or mark it for a later sweep when a process is still covered by it."""
    # Twice, since a process may have been between two of its programs.
    if _in_use(folder) or _in_use(folder):
        (folder / MARK).touch(mode=0o600)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(runtime_dir: Path | None = None) -> None:
    """Remove the marked folders of processes that are gone."""
    for folder in runtime_base(runtime_dir).glob(f"{PREFIX}*"):
        if (folder / MARK).exists() and _owned(folder):
            leave(folder)


def _in_use(folder: Path) -> bool:
    """Whether some process has the folder's control page mapped, or was just started with it in its environment."""
    words = str(folder.resolve()).encode()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if process.stat().st_uid not in (os.geteuid(), folder.stat().st_uid) and os.geteuid():
                continue
            if words in (process / "maps").read_bytes() or words in (process / "environ").read_bytes():
                return True
        except OSError:
            continue
    return False


def _owned(folder: Path) -> bool:
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()
