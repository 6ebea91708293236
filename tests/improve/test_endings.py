"""Programs that end in every way there is, with something pending: what they wrote is in the file."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peephole.improve.arm import Armed, arm

RULES = ["coalesce_writes", "truncate_in_place"]
N = 1000
EXPECTED = b"".join(b"%d\n" % i for i in range(N))
#: writes N lines to FILE in way WAY, and ends in way END
PROGRAM = """
import ctypes, os, signal, sys, threading
path, way, end = sys.argv[1:4]
def write(first, last, name=path, flags=os.O_CREAT | os.O_TRUNC):
    fd = os.open(name, os.O_WRONLY | flags)
    for i in range(first, last): os.write(fd, b"%d\\n" % i)
N = 1000
if way == "exec":  # again and again: each image writes a part
    first = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    write(first, first + N // 5, flags=os.O_CREAT | os.O_APPEND)
    if first + N // 5 < N:
        os.execv(sys.executable, [sys.executable, sys.argv[0], path, way, end, str(first + N // 5)])
elif way == "child":  # one file each, and both end alike
    pid = os.fork()
    write(0, N, path if pid else path + "-child")
elif way == "thread":
    thread = threading.Thread(target=write, args=(0, N))
    thread.start()
    thread.join()
    write(0, N)  # joining may have settled
elif way == "user":  # in the middle it becomes another user
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    for i in range(N):
        os.write(fd, b"%d\\n" % i)
        if i == N // 2: os.setuid(os.getuid() or 65534)
elif way == "vain":  # it can't have another root: nothing has changed
    import contextlib
    with contextlib.suppress(OSError): os.chroot("/nowhere")
    write(0, N)
elif way == "moved":
    write(0, N, path + "-old")
    os.rename(path + "-old", path)
    fd = os.open(path, os.O_WRONLY)
    for i in range(N): os.write(fd, b"%d\\n" % i)
else:
    write(0, N)
if end == "fault": ctypes.string_at(0)
elif end == "abort": os.abort()
elif end == "memory": b"x" * (1 << 31)
elif end == "returns": os._exit(0)
else: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def armed() -> Iterator[Armed]:
    with arm(RULES) as one:
        yield one


def _run(armed: Armed, out: Path, way: str, end: str, group: Path | None = None) -> int:
    script = out.parent / "program.py"
    script.write_text(PROGRAM)

    def enter() -> None:
        if group is not None:
            (group / "cgroup.procs").write_text("0")

    words = [sys.executable, str(script), str(out), way, end]
    return subprocess.run(words, env=armed.environment(os.environ), preexec_fn=enter, timeout=60).returncode


def _expect(path: Path) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end and (not path.exists() or path.stat().st_size < len(EXPECTED)):
        time.sleep(0.005)
    assert path.read_bytes() == EXPECTED


@contextmanager
def _little_memory() -> Iterator[Path]:
    """A control group with 100 MB of memory."""
    v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    base, limit = (v1, "memory.limit_in_bytes") if v1.is_dir() else (v2, "memory.max")
    group = base / f"peephole-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text("100M")
    except OSError as e:
        pytest.skip(f"no control group with a memory limit can be made here: {e.strerror}")
    try:
        yield group
    finally:
        group.rmdir()


@pytest.mark.parametrize("way", ["plain", "exec", "child", "thread", "moved", "user", "vain"])
@pytest.mark.parametrize("end", ["killed", "returns"])
def test_what_was_written_is_there(tmp_path: Path, armed: Armed, way: str, end: str) -> None:
    out = tmp_path / "out"
    if way != "exec":
        out.write_bytes(b"old " * 100_000)
    assert _run(armed, out, way, end) == (-signal.SIGKILL if end == "killed" else 0)
    _expect(out)
    if way == "child":
        _expect(tmp_path / "out-child")
    if way == "vain":
        assert armed.stats()["rules"]["coalesce_writes"]["hits"] == N
    assert armed.stats()["kept_lost"] == 0


@pytest.mark.parametrize(("end", "number"), [("fault", signal.SIGSEGV), ("abort", signal.SIGABRT)])
def test_a_crash_loses_nothing(tmp_path: Path, armed: Armed, end: str, number: int) -> None:
    assert _run(armed, tmp_path / "out", "plain", end) == -number
    _expect(tmp_path / "out")


def test_out_of_memory_loses_nothing(tmp_path: Path, armed: Armed) -> None:
    with _little_memory() as group:
        assert _run(armed, tmp_path / "out", "plain", "memory", group) == -signal.SIGKILL
    _expect(tmp_path / "out")


@pytest.mark.root
def test_the_keeper_of_another_user_s_programs_is_that_user_s() -> None:
    if os.geteuid():
        pytest.skip("needs root")
    user = pwd.getpwnam("nobody")
    with arm(RULES, owner=(user.pw_uid, user.pw_gid)) as armed:
        keeper = Path(f"/proc/{armed.control.keeper_pid}")
        assert keeper.stat().st_uid == user.pw_uid
