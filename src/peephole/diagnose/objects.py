"""How many files are named in one phrase: `/mnt/copy/** (20000 files)`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

#: DuckDB's text form of bytes that are not printable ASCII
_ESCAPED = re.compile(r"((?:\\x[0-9A-F]{2})+)")


@dataclass
class Objects:
    """Files of one tree: their folders' common part, and how many there are."""

    folders: list[str] = field(default_factory=list)
    first: str = ""
    files: int = 0

    @staticmethod
    def top(folder: str) -> str:
        """The tree that a folder is counted with: two names below the root, one of a relative path."""
        parts = folder.strip("/").split("/")
        return "/" + "/".join(parts[:2]) if folder.startswith("/") else parts[0]

    def add(self, folder: str, first: str, files: int) -> None:
        self.folders.append(folder)
        self.first = self.first or first
        self.files += files

    def take(self, other: Objects) -> None:
        self.folders += other.folders
        self.files += other.files

    def name(self) -> str:
        """For people: the file, or the common folder with the number of files."""
        if self.files <= 1:
            return readable(self.first)
        # Names with and without the root have nothing in common that could be named.
        alike = len({folder[:1] == "/" for folder in self.folders}) == 1 and all(self.folders)
        common = os.path.commonpath(self.folders) if alike else ""
        pattern = f"{common.rstrip('/')}/**" if common else "**"
        return f"{readable(pattern)} ({self.files} files)"


def readable(text: str) -> str:
    """A path's bytes for people; those that are no text stay escaped."""

    def decode(m: re.Match[str]) -> str:
        raw = bytes.fromhex(m[1].replace("\\x", ""))
        return raw.decode("utf-8", "backslashreplace")

    shown = _ESCAPED.sub(decode, text)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
