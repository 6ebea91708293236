"""Syncs that are made later: before any process of the tree changes another file or a name, at the end, in time."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from peephole import native
from peephole.improve.arm import arm
from peephole.improve.control import Page

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
CALLS = "trace=fsync,fdatasync,sync,pwrite64,rename,unlink,ftruncate,openat,exit_group,write"
PR_GET_AUXV = 0x41555856  # linux/prctl.h
#: `commit` makes records of a log durable; between two of them nothing else happens
BEGIN = r"""
import os, select, sys, time
os.chdir(sys.argv[1])
log = os.open("log", os.O_RDWR | os.O_CREAT)
at = 0
def commit(times=20):
    global at
    for _ in range(times):
        os.pwrite(log, b"%07d\n" % at, 8 * at)
        os.fdatasync(log)
        at += 1
table = os.open("table", os.O_RDWR | os.O_CREAT)
commit()
"""
CASES = {
    "it writes to another file": 'os.pwrite(table, b"x", 0)',
    "it syncs another file": "os.pwrite(table, b'x', 0); commit(); os.fdatasync(table)",
    "it renames": 'os.rename("table", "moved")',
    "it makes a file": 'os.open("new", os.O_WRONLY | os.O_CREAT)',
    "it cuts another file": "os.ftruncate(table, 3)",
    "it ends": "pass",
    "its child writes": """
to_child, said = os.pipe()[::-1], os.pipe()
if os.fork() == 0:
    os.read(to_child[1], 1)
    os.pwrite(table, b"x", 0)
    os.write(said[1], b"x")
    os._exit(0)
commit()
os.write(to_child[0], b"x")
os.read(said[0], 1)
""",
    "its parent writes": """
said, heard = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(log)  # with which it would not be alone
    log = os.open("log", os.O_RDWR)
    commit()
    os.write(said[1], b"x")
    os.read(heard[0], 1)
    os._exit(0)
os.read(said[0], 1)
os.pwrite(table, b"x", 0)
os.write(heard[1], b"x")
os.wait()
""",
    "its killed child owes": """
said = os.pipe()
if os.fork() == 0:
    os.close(log)  # with which it would not be alone
    log = os.open("log", os.O_RDWR)
    commit()
    os.write(said[1], b"x")
    time.sleep(60)
os.read(said[0], 1)
os.system("kill -9 $(pgrep -P %d | head -1)" % os.getpid())
os.pwrite(table, b"x", 0)
""",
}


@contextmanager
def still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def run(code: str, folder: Path, calls: Path, which: str = CALLS) -> tuple[list[str], int]:
    """The calls that the kernel saw, by strace, and the hits; the keeper, which strace does not see, stands still."""
    with arm(["sync_window"]) as armed, still(armed.control.keeper_pid):
        # strace itself is no process of the tree: it writes a file of its own all the time.
        ours = [f"-E{k}={v}" for k, v in armed.environment(os.environ).items() if os.environ.get(k) != v]
        words = ["strace", "-f", "-y", *ours, "-e", which, "-o", str(calls)]
        words += [PYTHON, "-I", "-S", "-c", BEGIN + code, str(folder)]
        subprocess.run(words, check=True, timeout=60)
        assert armed.stats()["not_covered"] == []
        return calls.read_text().splitlines(), int(armed.stats()["rules"]["sync_window"]["hits"])


def changes_of_others(lines: Sequence[str], folder: Path) -> tuple[int, int]:
    """How often another file or a name was changed, and how often while the log was not on the disk."""
    log, synced, changes, early = f"<{folder}/log>", True, 0, 0
    for line in lines:
        if "exited with" in line or "resumed" in line:
            continue
        if (re.search(r"f(data)?sync\(", line) and log in line) or " sync()" in line:
            synced = True
        elif "pwrite64(" in line and log in line:
            synced = False
        elif (
            re.search(r"(pwrite64|ftruncate)\(|rename\(|O_CREAT|exit_group", line) and str(folder) + "/log" not in line
        ):
            changes += 1
            early += not synced
    return changes, early


@pytest.mark.parametrize("case", CASES)
def test_nothing_else_is_changed_before_the_sync_that_is_owed(case: str, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    lines, hits = run(CASES[case], folder, tmp_path / "calls")
    changes, early = changes_of_others(lines, folder)
    assert hits >= 1 and changes >= 1
    assert early == 0, "\n".join(lines[-40:])


def test_an_answered_sync_costs_no_call(tmp_path: Path) -> None:
    if ctypes.CDLL(None).prctl(PR_GET_AUXV, ctypes.create_string_buffer(8), 8, 0, 0) < 0:
        pytest.skip("this kernel does not tell where its vDSO is (Linux < 6.4): the time is a call")
    folder = tmp_path / "files"
    folder.mkdir()
    lines, hits = run("os.getppid(); commit(500); os.getppid()", folder, tmp_path / "calls", "trace=all")
    first, last = (i for i, line in enumerate(lines) if "getppid()" in line)
    made = Counter(line.split(maxsplit=1)[1].split("(")[0] for line in lines[first + 1 : last])
    assert made.pop("pwrite64") == 500 and hits >= 1
    assert made.pop("fdatasync", 0) < 500
    assert not made


def test_a_process_that_waits_in_epoll_wait_makes_it_in_time(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    lines, hits = run("commit(); select.epoll().poll(0.5); print('late', flush=True)", folder, tmp_path / "calls")
    late = next(i for i, line in enumerate(lines) if '"late' in line)
    _, early = changes_of_others([*lines[:late], "exit_group"], folder)
    assert hits >= 1 and early == 0


def test_a_process_that_waits_makes_no_sync_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    code = """
said, heard = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(log)  # with which it would not be alone
    log = os.open("log", os.O_RDWR)
    commit()
    os.write(said[1], b"x")
    os.read(heard[0], 1)
    os._exit(0)
os.read(said[0], 1)
os.getppid()
select.epoll().poll(0.1)
os.getppid()
os.write(heard[1], b"x")
os.wait()
"""
    lines, hits = run(code, folder, tmp_path / "calls", f"{CALLS},epoll_wait,getppid")
    first, last = (i for i, line in enumerate(lines) if "getppid()" in line)
    assert hits > 20  # the child's too
    assert not [line for line in lines[first:last] if "sync(" in line]


#: what the keeper does, again and again, while another process commits all the time
LOOKS = """
import ctypes, mmap, sys, time
class Keeping(ctypes.Structure):
    _fields_ = [("head", ctypes.c_uint64 * 3), ("settle", ctypes.c_void_p), ("sync", ctypes.c_void_p)]
keeping = Keeping.in_dll(ctypes.CDLL(sys.argv[1]), "ph_keeping")
look = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)(keeping.sync)
with open(sys.argv[2], "r+b") as file:
    page = mmap.mmap(file.fileno(), 0)
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
owed = (ctypes.c_uint64 * 7).from_address(at + int(sys.argv[3]))
looks = seen = early = 0
while looks < 300:
    if not owed[0]:
        time.sleep(0)
        continue
    looks += 1
    begun = time.clock_gettime_ns(6) // 1000000  # CLOCK_MONOTONIC_COARSE
    look(at, 1000000, 1000000)
    by, due, window = owed[0], owed[2], owed[5]
    seen += by != 0
    early += by != 0 and due < begun + window
print(seen, early)
"""


def test_what_is_asked_for_while_a_sync_is_made_has_a_window_of_its_own(tmp_path: Path) -> None:
    # In a file that does not grow: what makes it longer waits for the sync.
    code = BEGIN + "os.pwrite(log, bytes(8192), 0); os.fsync(log); print(flush=True)\nwhile True: at = 0; commit()"
    with arm(["sync_window"]) as armed, still(armed.control.keeper_pid):
        words = [PYTHON, "-I", "-S", "-c", code, str(tmp_path)]
        child = subprocess.Popen(words, env=armed.environment(os.environ), stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        words = [str(native.path("libpeephole.so")), str(armed.folder / "control"), str(Page.owed.offset)]
        looked = subprocess.run([PYTHON, "-I", "-S", "-c", LOOKS, *words], capture_output=True, text=True, timeout=60)
        child.kill()
        child.communicate()
    assert looked.returncode == 0, looked.stderr
    seen, early = map(int, looked.stdout.split())
    if not seen:
        pytest.skip("while none of 300 syncs was made was another asked for: they take no time here")
    assert early == 0


def test_the_keeper_makes_it_while_the_program_sleeps(tmp_path: Path) -> None:
    code = BEGIN + "print(flush=True); time.sleep(60)"
    with arm(["sync_window"]) as armed:
        words = [PYTHON, "-I", "-S", "-c", code, str(tmp_path)]
        with still(armed.control.keeper_pid):
            child = subprocess.Popen(words, env=armed.environment(os.environ), stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            assert armed.control.owes
        for _ in range(1000):
            if not armed.control.owes:
                break
            time.sleep(0.01)
        child.kill()
        child.communicate()
        assert not armed.control.owes
        assert armed.stats()["settle_failures"] == 0


def test_a_file_mapped_for_writing_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    code = "os.truncate('table', 9); import mmap; mmap.mmap(table, 9); commit(50)"
    lines, hits = run(code, folder, tmp_path / "calls")
    assert hits < 20
    assert sum("fdatasync(" in line for line in lines) >= 50
