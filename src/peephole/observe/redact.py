"""Captures that can be shown: paths and arguments replaced by keyed hashes.

The key is drawn for each capture and kept nowhere. Equal names have equal hashes, a path keeps its depth, so everything
that compares names works as before. Files of the system (/usr and the like, not /usr/local) keep their names: they say
which library made a call and nothing about the user.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import lru_cache
from typing import Any

from peephole.trace import Meta

_SYSTEM = (
    b"/usr/bin",
    b"/usr/sbin",
    b"/usr/lib",
    b"/usr/libexec",
    b"/usr/share",
    b"/bin",
    b"/sbin",
    b"/lib",
    b"/lib64",
)
_KEPT = (b"", b".", b"..")
_PATHS = ("path", "path2", "exe", "library")
_HASH_BYTES = 6


class Redactor:
    """Hides the words of one capture."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key if key is not None else os.urandom(32)
        self.path = lru_cache(maxsize=1 << 16)(self._path)

    def word(self, word: bytes) -> bytes:
        """The hash of a word."""
        return b"~" + hashlib.blake2b(word, key=self._key, digest_size=_HASH_BYTES).hexdigest().encode()

    def _path(self, path: bytes) -> bytes:
        if any(path == top or path.startswith(top + b"/") for top in _SYSTEM) and b"/../" not in path:
            return path
        return b"/".join(name if name in _KEPT else self.word(name) for name in path.split(b"/"))

    def arguments(self, argv: list[bytes]) -> list[bytes]:
        """The program's name as a path, each argument as one word."""
        return [self.path(word) if at == 0 else self.word(word) for at, word in enumerate(argv)]

    def address(self, address: bytes) -> bytes:
        """Socket addresses: the family stays."""
        family, _, rest = address.partition(b":")
        if family == b"unix" and rest[:1] != b"@":
            return b"unix:" + self.path(rest)
        return family + b":" + (self.word(rest) if rest else b"")

    def table(self, table: Any) -> Any:
        """A table or record batch with its columns of names hidden."""
        import pyarrow as pa

        columns = []
        for field, column in zip(table.schema, table.columns, strict=True):
            hide = self._of(field.name)
            if hide is not None:
                values = column.to_pylist()
                column = pa.array([None if value is None else hide(value) for value in values], field.type)
            columns.append(column)
        return type(table).from_arrays(columns, schema=table.schema)

    def _of(self, column: str) -> Any:
        if column in _PATHS:
            return self.path
        return {"argv": self.arguments, "address": self.address, "file": self._text}.get(column)

    def _text(self, text: str) -> str:
        return self.path(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def meta(self, meta: Meta) -> Meta:
        """Command, mount points, host and cgroup hidden; names of the environment stay."""
        command = self.arguments([os.fsencode(word) for word in meta.command])
        machine = {k: v for k, v in meta.machine.items() if k not in ("hostname", "imported")}
        return replace(
            meta,
            command=[os.fsdecode(word) for word in command],
            machine=machine | {"redacted": True},
            mounts=[mount | {"point": self._text(mount["point"]), "options": ""} for mount in meta.mounts],
            joined=meta.joined if meta.joined is None or meta.joined.startswith("pid ") else "cgroup",
        )
