"""Reading files that anybody may have made."""

from __future__ import annotations

import errno
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

MOST_BYTES = 256 << 20


def read_plain(path: Path) -> bytes:
    """The bytes of a plain file. Raises OSError, also for what is none (a FIFO would be waited for) or is too large."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        if info.st_size > MOST_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return file.read()


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds. Raises OSError as read_plain does, ValueError for what is no TOML."""
    try:
        return tomllib.loads(read_plain(path).decode())
    except RecursionError as e:
        raise ValueError(str(e)) from e
