"""What each system call means to pending effects: the dispatcher's table, read from the C file that defines it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from peephole import native
from peephole.errors import RuleError

CLASSES = ("INERT", "FD", "MAPS", "DUP", "CLOSE", "CLOSES", "OPEN", "FORK", "EXEC", "EXIT", "WAIT", "ANY")
_QUIET = re.compile(r"^PH_QUIET\(\d+, (\w+)\)$", re.M)
_ROW = re.compile(r"^PH_CALL\((\d+), (\w+), (\w+), (-?\d+), (-?\d+)\)$", re.M)


@dataclass(frozen=True)
class CallRow:
    """One row: the call's number, its class and which arguments are descriptors (-1: none)."""

    number: int
    name: str
    kind: str
    fd_arg: int
    fd_arg2: int


def table_path() -> Path:
    """Where calls.def lies: in a checkout, or installed beside the package."""
    checkout = Path(__file__).resolve().parents[3] / "core" / "runtime" / "calls.def"
    return checkout if checkout.is_file() else native.path("calls.def")


@lru_cache(maxsize=1)
def call_table() -> dict[str, CallRow]:
    """Every row of the table by name. A call without a row settles everything. Raises RuleError on a foreign row."""
    text = table_path().read_text()
    rows = {m[2]: CallRow(int(m[1]), m[2], m[3], int(m[4]), int(m[5])) for m in _ROW.finditer(text)}
    if len(rows) != len(re.findall(r"^PH_CALL\(", text, re.M)):
        raise RuleError(f"{table_path()}: a row is not of the form PH_CALL(number, name, class, fd_arg, fd_arg2)")
    for row in rows.values():
        if row.kind not in CLASSES:
            raise RuleError(f"{table_path()}: {row.name} has the unknown class {row.kind}")
    return rows


@lru_cache(maxsize=1)
def quiet_calls() -> frozenset[str]:
    """The calls that change no file and no name: a sync that was put off may stay so."""
    inert = {row.name for row in call_table().values() if row.kind == "INERT"}
    return frozenset(_QUIET.findall(table_path().read_text())) | inert
