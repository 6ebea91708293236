"""A recorded call in words, as strace prints it: names of flags, quoted paths, errors by name."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from peephole.observe.signatures import ENUMS, FLAGS, FUTEX, FUTEX_FLAGS, SIGNATURES, SOCKET_FLAGS, SOCKET_TYPES

_FDCWD = -100
_MREMAP_FIXED = 2
#: sets that are written from the highest bit down
_DOWNWARDS = (FLAGS["access"], SOCKET_FLAGS)
#: how many arguments these operations of futex read (wait: 4, wake, lock and unlock: fewer); the others read all
_FUTEX_USES = {0: 4, 1: 3, 6: 4, 7: 2, 8: 2, 13: 4}
#: calls whose fifth argument is the upper half of the fourth, which on 64 bits is all of it
_IN_TWO_HALVES = ("preadv", "pwritev", "preadv2", "pwritev2")
_CREATES = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY
_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x09: "\\t", 0x0D: "\\r", 0x0B: "\\v", 0x0C: "\\f"}
#: errors that the kernel keeps to itself (include/linux/errno.h)
_KERNEL_ERRORS = {512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK"}


def text(row: Mapping[str, Any]) -> str:
    """`name(arguments) = result` of one row of calls.parquet.

    openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
    """
    return f"{row['name']}({', '.join(arguments(row))}) = {result(row)}"


def arguments(row: Mapping[str, Any]) -> list[str]:
    """The arguments; what the call replaced (exec) is `?`, a call that is not known has its registers in hex."""
    kinds = SIGNATURES.get(row["name"])
    values = [row[f"a{i}"] for i in range(6)]
    if kinds is None or row["compat"]:
        return [_pointer(v) for v in values if v is not None]
    if row["name"] in _IN_TWO_HALVES:
        kinds = (*kinds[:4], *kinds[5:])
        values = [*values[:4], *values[5:]]
    return [_one(kind, value, row) for kind, value in zip(kinds, _needed(row["name"], kinds, values), strict=False)]


def _needed(name: str, kinds: tuple[str, ...], values: list[Any]) -> list[Any]:
    """Without what the call does not read: a mode where nothing is made, arguments that a command does not have."""
    used = values[: len(kinds)]
    flags = kinds.index("open") if "open" in kinds else None
    if name in ("open", "openat") and flags is not None and used[flags] is not None and not used[flags] & _CREATES:
        return used[: flags + 1]
    if name == "fcntl" and used[1] in (1, 3, 9, 11, 1025, 1032, 1034):
        return used[:2]
    if name in ("mknod", "mknodat") and used[-2] is not None and used[-2] & 0o170000 not in (0o20000, 0o60000):
        return used[:-1]
    if name == "mremap" and not (used[3] or 0) & _MREMAP_FIXED:
        return used[:4]
    if name == "futex" and used[1] is not None:
        return used[: _FUTEX_USES.get(used[1] & 0x7F, 6)]
    return used


def _one(kind: str, value: Any, row: Mapping[str, Any]) -> str:
    if kind in ("path", "path2"):
        return _path(row[kind], value)
    if value is None:
        return "?"
    plain = _PLAIN.get(kind)
    return plain(value) if plain is not None else _symbols(kind, value)


def _path(path: bytes | None, value: Any) -> str:
    if path is not None:
        return quoted(path)
    return "?" if value is None else _pointer(value)


def quoted(text: bytes) -> str:
    """In double quotes, with escapes that a C compiler understands."""
    parts = []
    for at, byte in enumerate(text):
        if byte in _ESCAPES:
            parts.append(_ESCAPES[byte])
        elif 0x20 <= byte < 0x7F:
            parts.append(chr(byte))
        else:  # three digits where a digit follows, which would be read as one of the number's
            longer = text[at + 1 : at + 2].isdigit()
            parts.append(f"\\{byte:03o}" if longer else f"\\{byte:o}")
    return f'"{"".join(parts)}"'


def _int(value: int) -> str:
    value &= 0xFFFFFFFF
    return str(value - (1 << 32) if value >> 31 else value)


def _fd(value: int) -> str:
    word = _int(value)
    return "AT_FDCWD" if word == str(_FDCWD) else word


def _pointer(value: int) -> str:
    return "NULL" if value == 0 else hex(value & 0xFFFFFFFFFFFFFFFF)


def _mode(value: int) -> str:
    value &= 0xFFFFFFFF
    kind = {0o100000: "S_IFREG|", 0o40000: "S_IFDIR|", 0o20000: "S_IFCHR|", 0o60000: "S_IFBLK|", 0o10000: "S_IFIFO|"}
    word = kind.get(value & 0o170000, "")
    rest = value & ~0o170000 if word else value
    return word + f"0{rest:o}".zfill(3)


_PLAIN: dict[str, Callable[[int], str]] = {
    "fd": _fd,
    "int": _int,
    "uint": lambda value: str(value & 0xFFFFFFFF),
    "long": str,
    "off": str,
    "size": lambda value: str(value & 0xFFFFFFFFFFFFFFFF),
    "ptr": _pointer,
    "mode": _mode,
    "hex": lambda value: hex(value & 0xFFFFFFFF),
    "key": lambda value: hex(value & 0xFFFFFFFF) if value & 0xFFFFFFFF else "IPC_PRIVATE",
    "place": lambda value: hex(value & 0xFFFFFFFFFFFFFFFF) if value else "0",
}


@lru_cache(maxsize=65536)
def _symbols(kind: str, value: int) -> str:
    value &= 0xFFFFFFFF
    if kind in ENUMS:
        signed = value - (1 << 32) if value >> 31 else value
        for name, number in ENUMS[kind].items():
            if number in (value, signed):
                return name
        return str(signed) if kind in ("whence", "signal", "priority") else hex(value)
    if kind == "ipc":
        return _joined("", FLAGS[kind], value & ~0o777, octal=value & 0o777)
    if kind == "statx":
        return _joined("" if value & 0x6000 else "AT_STATX_SYNC_AS_STAT", FLAGS[kind], value)
    if kind == "socktype":
        return _joined(_name_of(SOCKET_TYPES, value & 0xF), SOCKET_FLAGS, value & ~0xF)
    if kind == "futex":
        name = _name_of(FUTEX, value & 0x7F) + ("_PRIVATE" if value & 0x80 else "")
        return _joined(name, FUTEX_FLAGS, value & ~0xFF)
    if kind == "open":
        access = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[value & 3]
        return _joined(access, FLAGS["open"], value & ~3)
    if kind == "clone":
        return _clone(value)
    return _joined("", FLAGS[kind], value)


def _clone(value: int) -> str:
    signal = value & 0x7F  # CSIGNAL, less CLONE_NEWTIME's bit
    flags = _joined("", FLAGS["clone"], value & ~0x7F)
    if not signal:
        return flags
    name = _name_of(ENUMS["signal"], signal)
    return name if flags == "0" else f"{flags}|{name}"


def _name_of(names: dict[str, int], value: int) -> str:
    return next((name for name, number in names.items() if number == value), hex(value))


def _joined(first: str, names: dict[str, int], value: int, octal: int | None = None) -> str:
    """`first` and the names of the set bits, widest first where they overlap; what has no name stays in hex.

    `octal` is a mode that comes last.
    """
    words = [first] if first else []
    rest = value
    for name, bits in sorted(names.items(), key=lambda item: -item[1].bit_count()):
        if bits and rest & bits == bits:
            words.append(name)
            rest &= ~bits
    if rest:
        words.append(hex(rest))
    order = {name: at for at, name in enumerate(names)}
    head, tail = words[: bool(first)], words[bool(first) :]
    sign = -1 if any(names is those for those in _DOWNWARDS) else 1
    tail.sort(key=lambda word: (order.get(word) is None, sign * names.get(word, 0)))
    if octal is not None:
        tail.append(f"{octal:03o}" if octal == 0 else f"0{octal:o}")
    return "|".join(head + tail) or next((name for name, bits in names.items() if not bits), "0")


def result(row: Mapping[str, Any]) -> str:
    """`3`, `-1 ENOENT (No such file or directory)`, an address in hex, or `?` for a call that does not return."""
    ret = row["ret"]
    if ret is None:
        return "?"
    if -4096 < ret < 0:
        if -ret in _KERNEL_ERRORS:
            return f"? {_KERNEL_ERRORS[-ret]}"
        return f"-1 {errno.errorcode.get(-ret, f'ERRNO_{-ret}')} ({os.strerror(-ret)})"
    if row["name"] == "umask":
        return f"0{ret:o}".zfill(3)
    return hex(ret) if row["name"] in ("mmap", "brk", "mremap", "shmat") else str(ret)
