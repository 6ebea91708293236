"""Files that are scanned through a mapping: the same bytes, also when another process cuts or extends them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from peephole.improve.arm import arm

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
BLOCK = 8192
#: scans a file block by block whenever it is told to, and says what it found and whether a window stands open
SCANS = r"""
import hashlib, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
while os.read(0, 1):
    found, at = hashlib.sha256(), 0
    while block := os.pread(fd, 8192, at):
        found.update(block)
        at += len(block)
    os.write(1, b"%d %s\n" % (at, found.hexdigest().encode()))
maps = lambda: sum(sys.argv[1] in line for line in open("/proc/self/maps"))
held = maps()
os.close(fd)
os.write(1, b"%d %d\n" % (held, maps()))
"""


def change(path: Path, number: int) -> None:
    """What another process does to the file between two scans."""
    with path.open("r+b") as f:
        match number:
            case 1:
                f.truncate(6_000_000)  # inside a page
            case 2:
                f.truncate(700 * BLOCK)
            case 3:
                f.write(b"new")
            case 4:
                f.seek(0, os.SEEK_END)
                f.write(b"tail" * 3000)
            case 5:
                f.truncate(10)


def scanned(path: Path, env: dict[str, str]) -> list[str]:
    path.write_bytes(b"".join(bytes([i % 251]) * BLOCK for i in range(9000)))  # more than one window
    words = [PYTHON, "-I", "-S", "-c", SCANS, str(path)]
    with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        said = []
        for number in range(6):
            change(path, number)
            child.stdin.write(".")
            child.stdin.flush()
            said.append(child.stdout.readline())
        child.stdin.close()
        return [*said, child.stdout.readline()]


def test_what_others_do_between_two_scans_is_seen(tmp_path: Path) -> None:
    plain = scanned(tmp_path / "data", dict(os.environ))
    with arm(["scan_mapping"]) as armed:
        improved = scanned(tmp_path / "data", armed.environment(os.environ))
    assert improved[:-1] == plain[:-1]
    assert improved[-1] == "1 0\n"  # no window outlives its descriptor
    assert armed.stats()["rules"]["scan_mapping"]["hits"] > 4000


def test_a_scan_here_and_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"x" * (64 << 20))
    jumps = "import os, sys\nfd = os.open(sys.argv[1], 0)\n"
    jumps += "for i in range(200): os.pread(fd, 8192, i * 7919 * 8192 % (64 << 20))"
    with arm(["scan_mapping"]) as armed:
        words = [PYTHON, "-I", "-S", "-c", jumps, str(path)]
        subprocess.run(words, env=armed.environment(os.environ), check=True, timeout=60)
        assert armed.stats()["rules"]["scan_mapping"]["hits"] == 0
