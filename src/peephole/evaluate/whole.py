"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from peephole.errors import RunError


def write_whole(path: Path, text: str) -> None:
    """Write a text file beside its place, then put it there; nothing is left when that fails (RunError, one line)."""
    partial = path.with_name(path.name + ".part")
    try:
        # Paths and command lines may be secrets: nobody else's to read.
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)  # noqa: PTH105 - the same either way, and says what it does
    except OSError as e:
        with suppress(OSError):
            partial.unlink()
        raise RunError(f"{path}: {e.strerror}; make room, or choose another place with -o") from e
