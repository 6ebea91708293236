"""Calls in words: what a C program says that it did is what the decoded capture says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from recording import program, rows

from peephole.observe.addresses import spell
from peephole.observe.decode import quoted, text
from peephole.observe.signatures import SIGNATURES
from peephole.observe.strace_args import string
from peephole.observe.syscalls import NUMBERS


def between_marks(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first, last = (
        next(
            i
            for i, call in enumerate(calls)
            if call["name"] == "getpriority" and (call["a0"], call["a1"]) == (77, mark)
        )
        for mark in (1, 2)
    )
    return calls[first + 1 : last]


@pytest.mark.root
def test_at_least_150_calls_are_decoded_as_the_program_made_them(record: Any, tmp_path: Path) -> None:
    capture, code = record(program("calls_decoded"))
    assert code == 0
    printed = (tmp_path / "stdout").read_text().splitlines()
    assert [text(call) for call in between_marks(rows(capture))] == printed
    assert len({line.partition("(")[0] for line in printed}) >= 150


#: what differs from strace's text on purpose, and why
_DIFFERS = {
    "socket": "strace shows an unknown protocol in hex",
    "prctl": "strace knows how many arguments each option has",
    "ioctl": "strace takes an unknown command apart",
}


def _plain(line: str) -> str:
    """Without strace's padding and its remarks: `/* CLOCK_??? */`, and what a result means (`(PER_LINUX)`)."""
    line = re.sub(r" /\* [^*]*\*/", "", " ".join(line.split()))
    return line if " = -1 " in line else re.sub(r" \([A-Z_]+\)$", "", line)


def test_strace_says_the_same_of_every_call(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "log"
    done = subprocess.run(["strace", "-o", log, program("calls_decoded")], capture_output=True, text=True, check=True)
    theirs = {_plain(line) for line in log.read_text().splitlines()}
    ours = [_plain(line) for line in done.stdout.splitlines()]
    missing = [line for line in ours if line not in theirs]
    assert {line.partition("(")[0] for line in missing} <= _DIFFERS.keys(), missing
    assert len(missing) <= len(_DIFFERS) < len(ours) // 50


@pytest.mark.root
def test_every_signature_is_as_long_as_the_call_has_arguments(record: Any) -> None:
    """The recorder keeps so many registers; a wrong number would hide an argument or show a stale one."""
    header = (Path(__file__).parents[2] / "core" / "record" / "arity.h").read_text()
    digits = "".join(part for part in header.partition("ARITY_LATE_FROM")[0].split('"')[1::2] if part.isdigit())
    late = "".join(part for part in header.partition("ARITY_LATE_FROM 424")[2].split('"')[1::2] if part.isdigit())
    for name, kinds in SIGNATURES.items():
        number = NUMBERS[name]
        assert len(kinds) == int(digits[number] if number < len(digits) else late[number - 424]), name


@pytest.mark.parametrize("raw", [b"", b"a b", b'q"\\', b"\n\t\x01\x7f\xff", b"\x015", b"\xe97", "ä→".encode()])
def test_what_is_quoted_is_read_back(raw: bytes) -> None:
    assert string(quoted(raw).encode()) == raw


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("02000050 7f000001 0000000000000000", b"inet:127.0.0.1:80"),
        ("0a0001bb 00000000 00000000000000000000000000000001 00000000", b"inet6:[::1]:443"),
        ("0100 2f746d702f73 00 ffff", b"unix:/tmp/s"),
        ("0100 00616263", b"unix:@abc"),
        ("0100", b"unix:"),
        ("1000 0000 2a000000 01000000", b"netlink:42:1"),
        ("0000 0000", b"unspec:"),
        ("6300 1234", b"family:99"),
        ("02", None),
    ],
)
def test_a_socket_address_in_words(raw: str, words: bytes | None) -> None:
    assert spell(bytes.fromhex(raw)) == words
