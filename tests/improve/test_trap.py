"""Calls that are trapped (--engine sud): seen wherever they are made, and unseen by the program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Runner = Callable[..., Any]

#: write() by machine code that the program makes itself, and throws away and makes again elsewhere
MAKES_CODE = """
import ctypes, mmap, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
kept = []
for turn in range(4):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\\x90" * turn + b"\\xb8\\x01\\x00\\x00\\x00\\x0f\\x05\\xc3")  # mov eax, 1; syscall; ret
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    write = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)(at)
    for n in range(100):
        assert write(fd, b"own\\n", 4) == 4
        assert os.write(fd, b"libc\\n") == 5
    kept.append(page)
print(os.lseek(fd, 0, os.SEEK_CUR))
"""


def test_code_made_at_run_time_is_seen(tmp_path: Path, trapped: Runner) -> None:
    file = tmp_path / "file"
    ran = trapped("/usr/bin/python3", "-c", MAKES_CODE, str(file))
    assert (ran.code, ran.out, ran.err) == (0, b"3600\n", b"")
    assert file.read_bytes() == b"own\nlibc\n" * 400
    assert ran.stats["rules"]["coalesce_writes"]["hits"] >= 800
    assert ran.stats["not_covered"] == []


LIBRARY = """
long raw_write(int fd, const void *bytes, unsigned long n)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "0"(1), "D"(fd), "S"(bytes), "d"(n) : "rcx", "r11", "memory");
	return r;
}
"""
LOADS = """
import ctypes, os, sys, threading
library = ctypes.CDLL(sys.argv[2])
def work(name):
    fd = os.open(f"{sys.argv[1]}.{name}", os.O_WRONLY | os.O_CREAT, 0o600)
    for n in range(200):
        library.raw_write(fd, b"a", 1)
        os.write(fd, b"b")
    os.close(fd)
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
pid = os.fork()
if pid == 0:
    work("child")
    os._exit(0)
os.waitpid(pid, 0)
os.execve("/bin/sh", ["sh", "-c", f"/bin/echo last; exec env -i /bin/cat {sys.argv[1]}.child"], {})
"""


def test_threads_forks_and_programs_behind_are_trapped_too(tmp_path: Path, trapped: Runner) -> None:
    source, library = tmp_path / "library.c", tmp_path / "library.so"
    source.write_text(LIBRARY)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    ran = trapped("/usr/bin/python3", "-c", LOADS, str(tmp_path / "file"), str(library))
    assert (ran.code, ran.out, ran.err) == (0, b"last\n" + b"ab" * 200, b"")
    for name in (0, 1, 2, "child"):
        assert (tmp_path / f"file.{name}").read_bytes() == b"ab" * 200
    assert ran.stats["rules"]["coalesce_writes"]["hits"] >= 4 * 400
    assert ran.stats["processes"] == 5  # python, sh, echo, env, cat
    assert ran.stats["not_covered"] == []


HOLDS_EVERYTHING_BACK = """
import os, signal, select, sys, threading
every = signal.valid_signals()
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
signal.pthread_sigmask(signal.SIG_SETMASK, every)
for n in range(100):
    os.write(fd, b"x")
held = signal.pthread_sigmask(signal.SIG_BLOCK, [])
print(sorted(every - held - {signal.SIGKILL, signal.SIGSTOP}))
def handler(number, frame):
    os.write(fd, b"h")
signal.signal(signal.SIGUSR1, handler)
signal.signal(signal.SIGSYS, handler)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGSYS)
print(os.fstat(fd).st_size)
signal.signal(signal.SIGSYS, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGSYS)
signal.signal(signal.SIGSYS, signal.SIG_DFL)
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGSYS)
"""


def test_the_programs_own_use_of_the_signal_stays(tmp_path: Path, plain: Runner, trapped: Runner) -> None:
    words = ("/usr/bin/python3", "-c", HOLDS_EVERYTHING_BACK, str(tmp_path / "file"))
    expected, ran = plain(*words), trapped(*words)
    assert ran.code == expected.code == 128 + 31
    assert ran.out.splitlines()[1:] == expected.out.splitlines()[1:] == [b"102"]
    assert ran.out.splitlines()[0] == b"[<Signals.SIGSYS: 31>]"  # what docs/interposer.md says can be noticed


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_a_static_program_is_trapped_from_its_first_instruction(compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    source, program, out, stats = (tmp_path / name for name in ("program.c", "program", "out", "stats.json"))
    source.write_text(
        LIBRARY
        + "#include <fcntl.h>\nint main(int argc, char **argv) { int fd = open(argv[1], O_WRONLY | O_CREAT, 0600);"
        "for (int i = 0; i < 500; i++) raw_write(fd, argv[0], 1); return argc; }\n"
    )
    subprocess.run([compiler, "-static", "-o", program, source], check=True)
    words = [sys.executable, "-m", "peephole", "improve", "--engine", "sud", "--rules", "coalesce_writes", "--allow"]
    done = subprocess.run([*words, "all", "--stats", stats, "--", program, out], timeout=60)
    told = json.loads(stats.read_text())
    assert (done.returncode, len(out.read_bytes()), told["not_covered"]) == (2, 500, [])
    assert told["rules"]["coalesce_writes"]["hits"] >= 500
    assert told["sites_patched"] == 0


def test_a_switch_of_programs_keeps_the_engine(tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    words = [sys.executable, "-m", "peephole", "improve", "--engine", "sud", "--rules", "none", "--stats", str(stats)]
    done = subprocess.run(
        [*words, "--", "sh", "-c", "echo a | cat; exec env -i /bin/echo b"],
        capture_output=True,
        env=os.environ,
        timeout=60,
    )
    told = json.loads(stats.read_text())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\nb\n", b"")
    assert told["processes"] == 4 and told["sites_patched"] == 0 and told["calls_passed"] > 0
