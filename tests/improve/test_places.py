"""Programs whose files stand elsewhere than the kernel thinks: whoever shares a description finds the right place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.improve.arm import arm
from peephole.prove.language import rule_names

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
BYTES = 40000
#: os.read and os.lseek are read(2) and lseek(2); a pipe and epoll_wait tell and wait
PROGRAM = r"""
import hashlib, os, select, subprocess, sys
path, what = sys.argv[1:]
said, ends, waits = [], os.pipe(), select.epoll()
waits.register(ends[0], select.EPOLLIN)

def blocks(fd, n):
    for i in range(n):
        where = os.lseek(fd, 0, os.SEEK_CUR)
        os.lseek(fd, where, os.SEEK_SET)
        said.append(hashlib.md5(os.read(fd, 4096)).hexdigest())
        os.write(ends[1], b"x")
        waits.poll()
        os.read(ends[0], 1)

def opened():
    fd = os.open(path, os.O_RDONLY)
    blocks(fd, 3)
    return fd

if what == "again":
    for i in range(20):
        fd = opened()
        blocks(fd, 9)
        os.close(fd)
fd = opened()
if what == "forks":
    child = os.fork()
    if child == 0:
        os._exit(os.read(fd, 1)[0])
    said.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
elif what == "starts":
    os.set_inheritable(fd, True)
    said.append(subprocess.run(["head", "-c", "100"], stdin=fd, capture_output=True).stdout)
elif what == "becomes":
    os.dup2(fd, 0)
    os.write(1, repr(said).encode())
    os.execvp("tail", ["tail", "-c", "+1"])
elif what == "cuts":
    os.truncate(path, 15000)
elif what == "writes":
    other = os.open(path, os.O_WRONLY)
    os.pwrite(other, b"new" * 100, 3 * 4096)
elif what == "maps":
    import mmap
    memory = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    said.append(hashlib.md5(memory).hexdigest())
elif what == "doubles":
    other = os.dup(fd)
    blocks(other, 2)
    os.close(fd)
    fd = other
elif what == "locks":        # from where it stands
    import fcntl
    fcntl.lockf(fd, fcntl.LOCK_SH, 10, 0, os.SEEK_CUR)
    with open("/proc/locks") as locks:
        said += [words[6:8] for words in map(str.split, locks) if words[4] == str(os.getpid())]
elif what == "the end":
    said += [os.lseek(fd, 0, os.SEEK_END), os.lseek(fd, -100, os.SEEK_CUR), os.lseek(fd, 1 << 40, os.SEEK_SET)]
    try:
        os.lseek(fd, -1, os.SEEK_SET)
    except OSError as e:
        said.append(e.errno)
    os.lseek(fd, 20000, os.SEEK_SET)
blocks(fd, 2)
print(said)
"""
WAYS = ("again", "forks", "starts", "becomes", "cuts", "writes", "maps", "doubles", "locks", "the end")


def run(path: Path, what: str, env: dict[str, str]) -> bytes:
    path.write_bytes(b"".join(b"%09d\n" % i for i in range(BYTES // 10)))
    done = subprocess.run(
        [PYTHON, "-I", "-S", "-c", PROGRAM, str(path), what], env=env, capture_output=True, timeout=60, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    "rules", [("read_whole",), ("shadow_descriptor",), ("read_whole", "read_window")], ids="+".join
)
@pytest.mark.parametrize("what", WAYS)
def test_every_place_is_the_kernels_for_whoever_asks(what: str, rules: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "data"
    plain = run(path, what, dict(os.environ))
    with arm(list(rules)) as armed:
        assert run(path, what, armed.environment(os.environ)) == plain
        if what == "again":
            assert sum(rule["hits"] for rule in armed.stats()["rules"].values()) > 20 * 12


def test_all_rules_find_room_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "data"
    plain = run(path, "again", dict(os.environ))
    with arm(rule_names()) as armed:
        assert run(path, "again", armed.environment(os.environ)) == plain
        assert armed.stats()["rules"]["read_whole"]["hits"] > 0


def test_a_file_that_is_replaced_is_read_on_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "data"
    program = (
        "import os, sys\nfd = os.open(sys.argv[1], 0)\na = os.read(fd, 4096)\n"
        "os.rename(sys.argv[1] + '.new', sys.argv[1])\nprint(a == os.read(fd, 4096) == b'a' * 4096)"
    )
    path.write_bytes(b"a" * 8192)
    (tmp_path / "data.new").write_bytes(b"b" * 8192)
    with arm(["read_whole"]) as armed:
        words = [PYTHON, "-I", "-S", "-c", program, str(path)]
        done = subprocess.run(words, env=armed.environment(os.environ), capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n"
