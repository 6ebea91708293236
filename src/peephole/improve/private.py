"""Whose files are taken at their word: those that nobody but the caller and root could have written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from peephole.errors import PlanError


def check_private(path: Path, what: str = "the plan") -> None:
    """Raise PlanError unless `path` and every folder above it can be changed by the caller and root only.

    A sticky folder that all may write to (/tmp) is right above a folder or file of the caller's own.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - lexical: links are looked at one by one
    for chain in dict.fromkeys((absolute, Path(os.path.realpath(absolute)))):
        below: os.stat_result | None = None
        for part in (chain, *chain.parents):
            below = _check_part(path, part, below, what)


def _check_part(path: Path, part: Path, below: os.stat_result | None, what: str) -> os.stat_result:
    try:
        info = part.lstat()
    except OSError as e:
        raise PlanError(f"{path}: {e.strerror}; name {what}'s file") from e
    if below is None and not stat.S_ISREG(info.st_mode) and not stat.S_ISLNK(info.st_mode):
        raise PlanError(f"{path}: is not a file; name {what}'s file")
    if info.st_uid not in (0, os.geteuid()):
        raise PlanError(f"{path}: {part} belongs to user {info.st_uid}; copy {what} to a folder of your own")
    if stat.S_ISLNK(info.st_mode) or not info.st_mode & 0o022:
        return info
    if below is not None and info.st_mode & stat.S_ISVTX and below.st_uid == os.geteuid():
        return info
    raise PlanError(f"{path}: others may write to {part}; take that right away (chmod go-w), or copy {what}")
