"""Rules that leave a running program: because they fault, because they do not pay, because a switch is thrown."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peephole import native
from peephole.improve.arm import Armed, arm
from peephole.improve.control import Page

RULE = "coalesce_writes"
#: writes FIRST lines, waits for a byte, writes SECOND more
PROGRAM = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
first, second = int(sys.argv[2]), int(sys.argv[3])
for i in range(first): os.write(fd, b"%d\\n" % i)
size = os.stat(sys.argv[1]).st_size  # settles
os.write(fd, b"kept\\n")
os.write(1, b"ready %d\\n" % os.getpid())
os.read(0, 1)
for i in range(second): os.write(fd, b"%d\\n" % i)
os.close(fd)
"""


def _expected(first: int, second: int) -> str:
    lines = [*(str(i) for i in range(first)), "kept", *(str(i) for i in range(second))]
    return "".join(f"{line}\n" for line in lines)


class _Halfway:
    """The program, waiting."""

    def __init__(self, armed: Armed, out: Path, first: int, second: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(out), str(first), str(second)],
            env=armed.environment(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline().split()[1])

    def go_on(self) -> int:
        self.process.communicate(b"x", timeout=60)
        return self.process.returncode


def _rule_code(pid: int) -> tuple[int, str]:
    """Where the rule's handler of write() lies in the process."""
    library = native.path("libpeephole.so").resolve()
    symbols = subprocess.run(["nm", str(library)], capture_output=True, text=True, check=True).stdout.splitlines()
    offset = next(int(line.split()[0], 16) for line in symbols if f" {RULE}_on_write" in line)
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    base = next(int(line.split("-")[0], 16) for line in maps if line.endswith(str(library)))
    return base + offset, f"/proc/{pid}/mem"


def _stats(armed: Armed) -> dict[str, Any]:
    return dict(armed.stats()["rules"][RULE])


def test_a_fault_in_a_rule_ends_the_rule_and_not_the_program(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with arm([RULE]) as armed:
        half = _Halfway(armed, out, 100, 1000)
        at, memory = _rule_code(half.pid)
        try:
            with open(memory, "r+b", buffering=0) as mem:  # noqa: PTH123, no file
                mem.seek(at)
                mem.write(bytes.fromhex("8b042500000000"))  # mov eax, [0]
        except OSError as e:
            half.process.kill()
            pytest.skip(f"memory of other processes can't be written here: {e.strerror}")
        assert half.go_on() == 0
        seen = _stats(armed)
    assert out.read_text() == _expected(100, 1000)
    assert seen["switched_off"] == "contained"
    assert seen["why_not"]["contained"] >= 1


def test_a_rule_that_does_not_pay_is_switched_off_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with arm([RULE], prices={RULE: 1}) as armed:
        assert _Halfway(armed, out, 40_000, 1000).go_on() == 0
        seen = _stats(armed)
    assert out.read_text() == _expected(40_000, 1000)
    assert seen["switched_off"] == "no_gain"


def test_a_rule_that_pays_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with arm([RULE], prices={RULE: 100_000}) as armed:
        assert _Halfway(armed, out, 40_000, 1000).go_on() == 0
        seen = _stats(armed)
    assert out.read_text() == _expected(40_000, 1000)
    assert seen["switched_off"] is None
    assert seen["hits"] > 40_000


#: accepts one connection, and sends it pieces whenever epoll says that it may
LOOP = """
import os, select, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
peer, _ = listener.accept()
epoll = select.epoll()
epoll.register(peer, select.EPOLLIN)
for answer in range(int(sys.argv[1])):
    epoll.modify(peer, select.EPOLLOUT)
    for piece in range(4):
        epoll.poll()
        os.write(peer.fileno(), b"%04d" % piece * 256)
    epoll.modify(peer, select.EPOLLIN)
    epoll.poll(0)
"""


def test_a_hit_counts_for_the_rule_that_answered_and_not_for_the_one_before_it() -> None:
    answers = 20_000
    with arm(["epoll_shadow", "gather_sends"], prices={"gather_sends": 20_000}) as armed:
        words = [sys.executable, "-c", LOOP, str(answers)]
        with subprocess.Popen(words, env=armed.environment(os.environ), stdout=subprocess.PIPE) as loop:
            assert loop.stdout is not None
            with socket.create_connection(("127.0.0.1", int(loop.stdout.readline()))) as peer:
                got = b"".join(iter(lambda: peer.recv(1 << 20), b""))
        seen = armed.stats()["rules"]["gather_sends"]
    assert got == b"".join(b"%04d" % piece * 256 for piece in range(4)) * answers
    assert seen["switched_off"] is None and seen["hits"] > answers


def test_a_rule_whose_gain_is_in_every_other_call_stays(tmp_path: Path) -> None:
    program, out = tmp_path / "open_write_close", tmp_path / "out"
    source = Path(__file__).parents[2] / "bench/programs/paper/open_write_close.c"
    subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    out.write_bytes(b"y" * 16384)
    with arm(["truncate_in_place"], prices={"truncate_in_place": 1_000_000}) as armed:
        subprocess.run([program, out, "20000", "16384"], env=armed.environment(os.environ), check=True)
        stats = armed.stats()["rules"]["truncate_in_place"]
    assert stats["switched_off"] is None and stats["hits"] == 20000


@pytest.mark.parametrize("switch", ["master", "rule"])
def test_a_switch_thrown_by_any_tool_ends_the_rules(tmp_path: Path, switch: str) -> None:
    out = tmp_path / "out"
    with arm([RULE]) as armed:
        half = _Halfway(armed, out, 100, 1000)
        hits = _stats(armed)["hits"]
        field = Page.master.offset if switch == "master" else Page.rules.offset + ctypes.sizeof(ctypes.c_char * 48)
        page = armed.environment({})["PEEPHOLE_CONTROL"]
        subprocess.run(
            ["dd", f"of={page}", "bs=1", f"seek={field}", "count=4", "conv=notrunc", "if=/dev/zero"],
            check=True, capture_output=True,
        )  # fmt: skip
        assert half.go_on() == 0
        assert _stats(armed)["hits"] <= hits + 1
    assert out.read_text() == _expected(100, 1000)
