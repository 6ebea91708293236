"""What outlives the program: pending effects are made good in time, and when the program has been killed."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from peephole import native
from peephole.improve.arm import Armed, arm
from peephole.improve.control import Page

RULE = "coalesce_writes"

#: writes numbered lines to FILE, and counts in shared memory those that a call has returned for; `pace` between them
PROGRAM = """
import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | int(sys.argv[3]), 0o600)
count = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 4096)
first, pace, width = int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]) - 1
for i in range(first, first + 200_000_000 // width):
    os.write(fd, b"%0*d\\n" % (width, i))
    count[:8] = (i + 1 - first).to_bytes(8, "little")
    if pace:
        end = time.perf_counter() + pace  # in user space: a sleep would settle
        while time.perf_counter() < end: pass
    elif i % 9973 == 0:
        os.lseek(fd, 0, os.SEEK_END)  # settles
while True: pass
"""
LINE = 10
#: lines so long that the program spends most of its time settling
LONG_LINE = 4000


@pytest.fixture
def armed() -> Iterator[Armed]:
    """Rules in force; nothing that a failing test has started or stopped outlives it."""
    with arm([RULE, "truncate_in_place", "shadow_descriptor"]) as one:
        keeper = one.control.keeper_pid
        yield one
        while Writer.running:
            Writer.running.pop().kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGCONT)


def _lines(first: int, n: int, bytes_each: int = LINE) -> bytes:
    return b"".join(b"%0*d\n" % (bytes_each - 1, i) for i in range(first, first + n))


def _until(true: Any, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not (now := true()) and time.monotonic() < end:
        time.sleep(0.002)
    return bool(now)


class Writer:
    """The program on one file, running."""

    running: ClassVar[list[Writer]] = []

    def __init__(
        self, armed: Armed, folder: Path, *,
        flags: int = 0, first: int = 0, pace: float = 0, name: str = "a", line: int = LINE,
    ):  # fmt: skip
        self.out, count = folder / "out", folder / f"count-{name}"
        count.write_bytes(bytes(4096))
        words = [str(self.out), str(count), str(flags), str(first), str(pace), str(line)]
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], env=armed.environment(os.environ))
        self.running.append(self)
        with count.open("r+b") as file:
            self._count = mmap.mmap(file.fileno(), 4096)
        assert _until(lambda: self.written() > 0)

    def written(self) -> int:
        """Lines for which write() has returned."""
        return int.from_bytes(self._count[:8], "little")

    def ends_with(self, size: int) -> bool:
        """Whether the file gets so long."""
        return _until(lambda: self.out.stat().st_size >= size)

    def kill(self, number: int = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        self.process.wait(30)
        return self.written()


class _Keeping(ctypes.Structure):
    """struct ph_keeping (core/include/peephole/abi_keeper.h)."""

    _fields_ = (
        ("magic", ctypes.c_uint64),
        ("version", ctypes.c_uint32),
        ("size_bytes", ctypes.c_uint32),
        ("slot_bytes", ctypes.c_uint64),
    )


def _hold(armed: Armed, pid: int) -> None:
    """Hold the state of process `pid` as the keeper does (core/include/peephole/abi_keeper.h)."""
    with open(armed.environment({})["PEEPHOLE_CONTROL"], "rb") as file:  # noqa: PTH123, no file of ours
        page = Page.from_buffer_copy(file.read())
    with open(f"/proc/{page.keeper_pid}/fd/{page.keeper_fd}", "r+b") as memory:  # noqa: PTH123
        keeping = _Keeping.in_dll(ctypes.CDLL(str(native.path("libpeephole.so"))), "ph_keeping")
        head = mmap.mmap(memory.fileno(), 4096, offset=list(page.slots).index(pid) * keeping.slot_bytes)
    owner_at = 24
    while int.from_bytes(head[owner_at : owner_at + 8], "little"):
        pass
    head[owner_at : owner_at + 8] = (0x21).to_bytes(8, "little")


def _pending_of(armed: Armed) -> dict[str, int]:
    return armed.stats()["rules"][RULE]["why_not"]


def _kill_many(armed: Armed, folder: Path, times: int, flags: int, line: int) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    for i in range(times):
        # A file of its own: what a kill interrupted may be added after we have looked.
        (folder / f"{i}").mkdir()
        (folder / f"{i}/out").touch()
        writer = Writer(armed, folder / f"{i}", flags=flags, line=line)
        time.sleep(chance.random() * 0.05)
        written = writer.kill(chance.choice([signal.SIGKILL, signal.SIGSEGV]))
        assert writer.ends_with(written * line)
        # The call in which the kill came may have been made or not.
        assert writer.out.read_bytes() in (_lines(0, written, line), _lines(0, written + 1, line))
    assert armed.stats()["kept_lost"] == 0


@pytest.mark.parametrize("line", [LINE, LONG_LINE])
@pytest.mark.parametrize("flags", [0, os.O_APPEND])
def test_what_was_written_before_a_kill_is_in_the_file(tmp_path: Path, armed: Armed, flags: int, line: int) -> None:
    _kill_many(armed, tmp_path, 5, flags, line)
    assert _pending_of(armed)["killed"] > 0


@pytest.mark.long
@pytest.mark.parametrize("line", [LINE, LONG_LINE])
@pytest.mark.parametrize("flags", [0, os.O_APPEND])
def test_what_was_written_is_in_the_file_each_time(tmp_path: Path, armed: Armed, flags: int, line: int) -> None:
    _kill_many(armed, tmp_path, 100, flags, line)


def test_a_line_is_seen_while_the_program_computes(tmp_path: Path, armed: Armed) -> None:
    writer = Writer(armed, tmp_path, pace=30)
    try:
        assert _until(lambda: writer.out.stat().st_size == LINE)
        assert writer.process.poll() is None and writer.written() == 1
    finally:
        writer.kill()
    assert writer.out.read_bytes() == _lines(0, 1)
    assert _pending_of(armed)["deadline"] >= 1


def test_a_program_goes_on_behind_what_the_keeper_wrote(tmp_path: Path, armed: Armed) -> None:
    writer = Writer(armed, tmp_path, pace=0.001)
    assert _until(lambda: writer.out.stat().st_size > 300 * LINE)
    written = writer.kill()
    assert _until(lambda: writer.out.stat().st_size >= written * LINE)
    assert writer.out.read_bytes() in (_lines(0, written), _lines(0, written + 1))
    assert _pending_of(armed)["deadline"] >= 2


def test_two_killed_programs_have_appended_all_their_lines(tmp_path: Path, armed: Armed) -> None:
    (tmp_path / "out").touch()
    writers = [Writer(armed, tmp_path, flags=os.O_APPEND, first=i * 50_000_000, name=str(i)) for i in range(2)]
    time.sleep(0.1)
    written = [writer.kill() for writer in writers]
    assert _until(lambda: (tmp_path / "out").stat().st_size >= sum(written) * LINE)
    lines = (tmp_path / "out").read_bytes().splitlines(keepends=True)
    for i in range(2):
        mine = b"".join(line for line in lines if (int(line) >= 50_000_000) == bool(i))
        assert mine in (_lines(i * 50_000_000, written[i]), _lines(i * 50_000_000, written[i] + 1))


def test_a_file_that_was_to_be_truncated_is(tmp_path: Path, armed: Armed) -> None:
    (tmp_path / "out").write_bytes(b"x" * 1_000_000)
    writer = Writer(armed, tmp_path, flags=os.O_TRUNC, pace=30)
    assert writer.kill() == 1
    assert _until(lambda: (tmp_path / "out").stat().st_size == LINE)
    assert writer.out.read_bytes() == _lines(0, 1)


def test_a_file_that_was_begun_anew_is_left_alone(tmp_path: Path, armed: Armed) -> None:
    os.kill(armed.control.keeper_pid, signal.SIGSTOP)
    writer = Writer(armed, tmp_path, pace=30)
    writer.kill()
    writer.out.unlink()
    writer.out.write_bytes(b"another's")
    os.kill(armed.control.keeper_pid, signal.SIGCONT)
    armed.settle()
    assert writer.out.read_bytes() == b"another's"
    assert armed.stats()["kept_lost"] == 1


def test_a_program_whose_keeper_is_killed_goes_on(tmp_path: Path, armed: Armed) -> None:
    writer = Writer(armed, tmp_path, pace=0.0001)
    for _ in range(3):
        time.sleep(0.05)
        os.kill(armed.control.keeper_pid, signal.SIGKILL)
        before = writer.written()
        assert _until(lambda b=before: writer.written() > b + 1000)  # type: ignore[misc]
    writer.kill(signal.SIGTERM)
    whole = writer.out.read_bytes()
    assert whole == _lines(0, len(whole) // LINE)


def test_a_program_is_not_held_up_by_a_keeper_that_died(tmp_path: Path, armed: Armed) -> None:
    writer = Writer(armed, tmp_path, pace=0.0001)
    os.kill(armed.control.keeper_pid, signal.SIGSTOP)
    _hold(armed, writer.process.pid)
    before = writer.written()
    time.sleep(0.05)
    assert writer.written() <= before + 1
    os.kill(armed.control.keeper_pid, signal.SIGKILL)
    assert _until(lambda: writer.written() > before + 1000)
    writer.kill(signal.SIGTERM)
    whole = writer.out.read_bytes()
    assert whole == _lines(0, len(whole) // LINE)


def test_nothing_stays_behind(tmp_path: Path) -> None:
    with arm([RULE]) as armed:
        pid, folder = armed.control.keeper_pid, armed.folder
        assert pid
        writer = Writer(armed, tmp_path)
        writer.kill()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert writer.out.stat().st_size >= writer.written() * LINE


SERVER = """
import os, socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
peer = server.accept()[0]
os.write(peer.fileno(), b"first ")
os.write(peer.fileno(), b"second")
end = time.perf_counter() + 30
while time.perf_counter() < end: pass
"""


def test_a_peer_gets_what_was_sent_while_the_program_computes() -> None:
    with arm(["gather_sends"]) as armed:
        words = [sys.executable, "-c", SERVER]
        server = subprocess.Popen(words, env=armed.environment(os.environ), stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        got = b""
        try:
            with socket.create_connection(("127.0.0.1", int(server.stdout.readline())), timeout=20) as peer:
                while len(got) < 12:
                    got += peer.recv(64)
            assert got == b"first second" and server.poll() is None
        finally:
            server.kill()
            server.communicate()
        assert armed.stats()["rules"]["gather_sends"]["why_not"]["deadline"] == 1


SYNCER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for i in range(50):
    os.write(fd, b"x")
    os.fsync(fd)
os.write(1, b"done")
end = time.perf_counter() + 30
while time.perf_counter() < end: pass
"""


def test_a_sync_that_was_put_off_is_made_while_the_program_computes(tmp_path: Path) -> None:
    with arm(["sync_window"]) as armed:
        words = [sys.executable, "-c", SYNCER, str(tmp_path / "out")]
        program = subprocess.Popen(words, env=armed.environment(os.environ), stdout=subprocess.PIPE)
        assert program.stdout is not None and program.stdout.read(4) == b"done"
        try:
            assert armed.stats()["rules"]["sync_window"]["hits"] > 0
            assert _until(lambda: not armed.control.owes)
            assert program.poll() is None
        finally:
            program.kill()
            program.communicate()


def test_improve_ends_when_everything_is_in_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"import os\nfd = os.open({str(out)!r}, os.O_WRONLY | os.O_CREAT)\n"
    code += "for i in range(1000): os.write(fd, b'%09d\\n' % i)\nos.kill(os.getpid(), 9)"
    words = ["improve", "--rules", RULE, "--allow", "all", "--", sys.executable, "-c", code]
    done = subprocess.run([sys.executable, "-m", "peephole", *words], timeout=60)
    assert done.returncode == 137
    assert out.read_bytes() == _lines(0, 1000)
