"""Files that are examined again: what the tree has changed is seen at once, what others change soon."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from peephole.improve.arm import Armed, arm

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
MEMORY = Path("/dev/shm")

BEGIN = """
import ctypes, mmap, os, signal, subprocess, sys, threading, time
os.chdir(sys.argv[1])
def truth(path):
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)
def said(st):
    return [getattr(st, n) for n in dir(st) if n.startswith("st_") and "atime" not in n]
def check(path, what):
    assert said(os.lstat(path)) == said(truth(path)), (what, path, os.lstat(path), truth(path))
def put(path, text):
    with open(path, "w") as f:
        f.write(text)
def known(path="d/x"):  # the keeper has the time to examine it, and then is asked
    for _ in range(3):
        os.lstat(path)
        time.sleep(0.05)
    check(path, "before")
def storm():  # of signals, whose handler writes to a pipe
    end = os.pipe()[1]
    os.set_blocking(end, False)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
def begin():
    subprocess.run(["rm", "-rf", "d", "e", "y", "s"], check=True)
    os.mkdir("d")
    put("d/x", "x")
"""
#: what the tree does with d/x, after which d/x, or what is named behind it, must be told as it is
OWN = {
    "a write by a descriptor": 'f = os.open("d/x", os.O_WRONLY); known(); os.write(f, b"longer"); os.close(f)',
    "a write at a place": 'f = os.open("d/x", os.O_WRONLY); known(); os.pwrite(f, b"longer", 9); os.close(f)',
    "an append": 'f = os.open("d/x", os.O_WRONLY | os.O_APPEND); known(); os.writev(f, [b"lon", b"ger"]); os.close(f)',
    "an open that empties": 'known(); os.close(os.open("d/x", os.O_WRONLY | os.O_TRUNC))',
    "a cut": 'known(); os.truncate("d/x", 77)',
    "a cut by a descriptor": 'f = os.open("d/x", os.O_RDWR); known(); os.ftruncate(f, 78); os.close(f)',
    "a mode": 'known(); os.chmod("d/x", 0o640)',
    "a mode by a descriptor": 'f = os.open("d/x", os.O_RDONLY); known(); os.fchmod(f, 0o604); os.close(f)',
    "a time": 'known(); os.utime("d/x", (5, 6))',
    "a time by a descriptor": 'f = os.open("d/x", os.O_RDONLY); known(); os.utime(f, (5, 7)); os.close(f)',
    "an owner": 'known(); os.chown("d/x", os.getuid(), os.getgid())',
    "another in its place": 'put("y", "another"); known(); os.rename("y", "d/x")',
    "away and back": 'known(); os.rename("d/x", "y"); put("d/x", "new")',
    "removed, and made": 'known(); os.remove("d/x"); put("d/x", "made")',
    "another name": 'known(); os.link("d/x", "y")',
    "one name less": 'os.link("d/x", "y"); known(); os.remove("y")',
    "written by another name": 'os.link("d/x", "y"); known(); put("y", "by y"); os.remove("y")',
    "another folder": 'os.mkdir("e"); put("e/x", "in e"); known(); os.rename("d", "y"); os.rename("e", "d")',
    "a link to a folder": 'os.mkdir("e"); put("e/x", "in e"); known(); os.rename("d", "y"); os.symlink("e", "d")',
    "stores through a mapping": (
        'f = os.open("d/x", os.O_RDWR); m = mmap.mmap(f, 1); known(); m[0] = 65; m.flush(); m.close(); os.close(f)'
    ),
    "a child": 'known(); p = os.fork() or (put("d/x", "by a child"), os._exit(0)); os.wait()',
    "a shell": 'known(); subprocess.run(["sh", "-c", "echo longer >> d/x"], check=True)',
    "a thread": 'known(); t = threading.Thread(target=put, args=("d/x", "by a thread")); t.start(); t.join()',
    "copied to": 'known(); subprocess.run(["cp", "/etc/passwd", "d/x"], check=True)',
    "a place that is asked for": 'f = os.open("d/x", os.O_RDWR); known(); os.posix_fallocate(f, 0, 9000); os.close(f)',
    "it goes elsewhere": 'os.mkdir("e"); os.mkdir("e/d"); put("e/d/x", "in e"); known(); os.chdir("e")',
    "it goes elsewhere by a descriptor": (
        'os.mkdir("e"); os.mkdir("e/d"); put("e/d/x", "in e"); known(); f = os.open("e", 0); os.fchdir(f); os.close(f)'
    ),
}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory, where files of any age are answered for."""
    if not os.access(MEMORY, os.W_OK):
        pytest.skip("no tmpfs here")
    with tempfile.TemporaryDirectory(prefix="peephole-test-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def armed() -> Iterator[Armed]:
    with arm(["cache_stat"]) as one:
        yield one


def hits(armed: Armed) -> int:
    return int(armed.stats()["rules"]["cache_stat"]["hits"])


def run(armed: Armed, code: str, place: Path, *words: str) -> str:
    command = [PYTHON, "-I", "-S", "-c", BEGIN + code, str(place), *words]
    done = subprocess.run(command, env=armed.environment(os.environ), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_tree_changes_is_seen_at_once(place: Path, armed: Armed) -> None:
    code = "".join(
        f'begin()\n{change}\ncheck("d/x", {what!r})\nos.chdir(sys.argv[1])\n' for what, change in OWN.items()
    )
    rounds = f"for i in range(2):\n  {'  '.join(code.splitlines(keepends=True))}  storm()\n"
    run(armed, rounds + "signal.setitimer(signal.ITIMER_REAL, 0)", place)
    assert hits(armed) >= len(OWN)  # else all of it was asked of the kernel


def test_what_others_change_is_seen_soon(place: Path, armed: Armed) -> None:
    code = """
begin(); known(); print("ready", flush=True)
for line in sys.stdin:
    time.sleep(0.2); check("d/x", line); known(); print("ready", flush=True)
"""
    changes = (
        "printf longer >> d/x",
        "touch d/x",
        "mv d y; mkdir d; echo > d/x",
        "echo z > z; mv z d/x",
        "chmod 600 d/x",
    )
    words = [PYTHON, "-I", "-S", "-c", BEGIN + code, str(place)]
    env = armed.environment(os.environ)
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout
        for change in changes:
            assert child.stdout.readline() == "ready\n"
            subprocess.run(["sh", "-c", change], cwd=place, check=True)
            child.stdin.write(f"{change}\n")
            child.stdin.flush()
        assert child.stdout.readline() == "ready\n"
        child.stdin.close()
        assert child.wait(60) == 0
    assert hits(armed) >= 2 * len(changes)


def test_more_changes_than_inotify_can_tell_are_seen(place: Path, armed: Armed) -> None:
    other = (
        "import os, sys; os.chdir(sys.argv[1])\n"
        "for i in range(20000): os.close(os.open('d/%d' % (i % 50), 65, 0o600)); os.unlink('d/%d' % (i % 50))\n"
        "open('d/x', 'w').write('the last of all')"
    )
    code = """
begin(); known(); print('ready', flush=True); sys.stdin.readline()
time.sleep(0.3); check('d/x', 'all'); known()
"""
    words = [PYTHON, "-I", "-S", "-c", BEGIN + code, str(place)]
    env = armed.environment(os.environ)
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout
        assert child.stdout.readline() == "ready\n"
        subprocess.run([PYTHON, "-I", "-S", "-c", other, place], check=True)
        child.stdin.close()
        assert child.wait(60) == 0
    assert hits(armed) >= 2


def test_paths_that_are_not_plain_are_asked_of_the_kernel(place: Path, armed: Armed) -> None:
    code = """
begin(); os.symlink("x", "d/link"); os.mkdir("d/folder"); os.symlink("d", "s")
libc = ctypes.CDLL(None, use_errno=True)
def raw(path, buffer=None, flags=0):
    buffer = ctypes.create_string_buffer(144) if buffer is None else buffer
    r = libc.syscall(262, -100, path, buffer, flags)
    return (r, ctypes.get_errno() if r else buffer.raw[:72] + buffer.raw[88:])  # without the time of the last read
paths = [b"d/x", b"d/link", b"d/folder", b"d//x", b"./d/x", b"d/./x", b"d/../d/x", b"s/x", b"d/x/", b"", b"d/none",
         b"n" * 255 + b"/x", b"n" * 256, b"d/" * 300 + b"x", os.fsencode(os.path.abspath("d/x"))]
def all():
    return [raw(p, flags=f) for p in paths for f in (0, 0x100, 0x800, 0x1000, 0x40)] + [raw(b"d/x", ctypes.c_void_p(8))]
first = all()
for i in range(5):
    time.sleep(0.06)
    assert all() == first
print(raw(b"d/x", ctypes.c_void_p(8)), raw(ctypes.c_void_p(8)))
"""
    assert run(armed, code, place) == "(-1, 14) (-1, 14)\n"
    assert 4 <= hits(armed) <= 5 * 4 + 4


class Shell:
    """An improved shell, and what it says to a command."""

    def __init__(self, armed: Armed | None, folder: Path) -> None:
        env = dict(os.environ) | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "LC_ALL": "C"}
        self.process = subprocess.Popen(
            ["sh"], cwd=folder, env=armed.environment(env) if armed else env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def says(self, command: str) -> str:
        streams: tuple[IO[str] | None, IO[str] | None] = (self.process.stdin, self.process.stdout)
        assert streams[0] and streams[1]
        streams[0].write(f"{command}; echo END\n")
        streams[0].flush()
        return "".join(iter(streams[1].readline, "END\n"))

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=60)


@pytest.mark.parametrize("threads", ["true", "false"])
def test_git_says_the_same_command_after_command(place: Path, armed: Armed, threads: str) -> None:
    subprocess.run(["git", "init", "-q", place], check=True)
    for i in range(1500):
        (place / f"folder{i // 100}").mkdir(exist_ok=True)
        (place / f"folder{i // 100}/{i}").write_text(f"{i}\n")
    status = f"git -c core.preloadIndex={threads} status --porcelain"
    with Shell(armed, place) as shell:
        assert (
            shell.says("git add -A; git -c user.name=a -c user.email=a@b commit -qm all; git status --porcelain") == ""
        )
        for _ in range(3):
            time.sleep(0.3)
            assert shell.says(status) == ""
        answered = hits(armed)
        assert answered >= 1500
        assert shell.says(f"echo more >> folder3/301; {status}") == " M folder3/301\n"
        assert shell.says(f"rm folder4/401; touch new; {status}") == " M folder3/301\n D folder4/401\n?? new\n"
        assert shell.says(f"git checkout -q folder3 folder4; rm new; {status}") == ""
        (place / "folder5/501").write_text("by another\n")  # this test is no process of the tree
        time.sleep(0.3)
        assert shell.says(status) == " M folder5/501\n"
        (place / "folder6").rename(place / "folder66")
        time.sleep(0.3)
        assert shell.says(f"{status} | grep -c '^ D'; git checkout -q folder5; {status} | grep folder5") == "100\n"
    assert hits(armed) > answered


@pytest.mark.root
def test_a_file_system_that_the_keeper_looks_into_can_be_unmounted(place: Path, armed: Armed) -> None:
    code = """
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("m")
for i in range(20):
    if libc.mount(b"none", b"m", b"tmpfs", 0, None):
        print(os.strerror(ctypes.get_errno())); break
    for j in range(500):
        os.makedirs(f"m/{j % 50}", exist_ok=True); put(f"m/{j % 50}/{j}", "x")
    for j in range(500):
        os.lstat(f"m/{j % 50}/{j}")
    time.sleep(i / 1000)
    assert libc.umount2(b"m", 0) == 0, os.strerror(ctypes.get_errno())
"""
    if said := run(armed, code, place):
        pytest.skip(f"no mounts here: {said}")
