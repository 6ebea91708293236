"""Hiding names: paths and arguments become keyed hashes, equal ones alike within one report."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

#: an absolute path, or a relative one with a slash, as it stands in text
_PATH = re.compile(r"(?<![\w<])(?:/|\.{1,2}/|\w[\w.-]*/)[^\s,;:'\"()]+")


class Redactor:
    """Replaces paths by hashes of a key that is thrown away with the object."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)

    def name(self, value: str) -> str:
        """One name or argument as a hash."""
        return "#" + hashlib.blake2b(value.encode("utf-8", "surrogateescape"), key=self._key, digest_size=5).hexdigest()

    def text(self, value: str) -> str:
        """Text with every path in it replaced."""
        return _PATH.sub(lambda match: self.name(match[0]), value)

    def any(self, value: Any) -> Any:
        """The same for strings within lists and objects."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.any(one) for one in value]
        if isinstance(value, dict):
            return {name: self.any(one) for name, one in value.items()}
        return value

    def command(self, words: list[str]) -> list[str]:
        """A command: the program by its last name, every argument as a hash."""
        return [words[0].rsplit("/", 1)[-1], *(self.name(word) for word in words[1:])] if words else []
