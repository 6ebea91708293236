"""peek_pipe on real shells: what is read, by whom, and when the pipe is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from peephole.improve.arm import arm

LINES = 6000
COUNT = f'seq {LINES} | {{ n=0; while read -r x; do n=$((n + x)); done; echo "$n"; }}'

#: In a session of its own. A process of the same session that may not be looked into, such as one that started the
#: tests and has more capabilities than they, could have any pipe; the rule leaves pipes alone then.
APART: dict[str, Any] = {"start_new_session": True}


def both(*command: str) -> tuple[bytes, bytes, dict[str, Any]]:
    """What a command prints, plain and with the rule; and what the rule did."""
    plain = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    with arm(["peek_pipe"]) as armed:
        env = armed.environment(os.environ)
        improved = subprocess.run(command, capture_output=True, timeout=60, check=True, env=env, **APART).stdout
        return plain, improved, dict(armed.stats()["rules"]["peek_pipe"])


def shell(script: str) -> dict[str, Any]:
    plain, improved, stats = both("bash", "-c", script)
    assert improved == plain and plain
    return stats


def test_a_loop_over_lines_reads_from_memory() -> None:
    stats = shell(COUNT)
    assert stats["hits"] > 20_000 and stats["switched_off"] is None


@pytest.mark.parametrize(
    "script",
    [
        "seq 20000 | { for i in $(seq 1500); do read -r x; done; echo $x; exec cat; }",
        "seq 20000 | { for i in $(seq 1500); do read -r x; done; head -n 1; read -r y; echo $x $y; cat | tail -n 1; }",
        "seq 20000 | { for i in $(seq 1500); do read -r x; done; ( read -r z; echo $z ); read -r y; echo $x $y; }",
        "seq 20000 | { for i in $(seq 1500); do read -r x; done; exec 5<&0; for i in $(seq 300); do read -r x;"
        " read -r -u 5 y; done; echo $x $y; }",
        "seq 20000 | { for i in $(seq 1500); do read -r x; done; read -r -N 100000 y; read -r z; echo $z; }",
        "seq 20000 | { for i in $(seq 1500); do read -r x; done; read -r -t 5 y; exec 7<&0 0</dev/null; read -r -u 7 z;"
        " echo $x $y $z; }",
        "seq 9000 | { trap 'read -r t; echo t $t' USR1; for i in $(seq 1500); do read -r x; done; kill -USR1 $BASHPID;"
        " read -r y; echo $y; }",
        "{ seq 3000; sleep 0.3; seq 3; } | { while read -r x; do y=$x; done; echo $y; }",
    ],
    ids=["exec", "a command", "a subshell", "a second number", "a large read", "a move", "a trap", "a slow writer"],
)
def test_nobody_misses_a_byte_or_gets_one_twice(script: str) -> None:
    assert shell(script)["hits"] > 1000


def test_two_readers_share_a_pipe_without_the_rule() -> None:
    reader = "while read -r x; do n=$((n + 1)) s=$((s + ${#x})); done; echo $n $((s + ${#x}))"
    script = f"seq {LINES} | {{ n=0 s=0; {{ {reader}; }} <&0 & {reader}; wait; }}"
    with arm(["peek_pipe"]) as armed:
        env = armed.environment(os.environ)
        said = subprocess.run(
            ["bash", "-c", script], capture_output=True, timeout=60, env=env, text=True, **APART
        ).stdout
        hits = armed.stats()["rules"]["peek_pipe"]["hits"]
    read = [[int(word) for word in line.split()] for line in said.splitlines()]
    # Lines are torn between the two, but each byte goes to one of them.
    assert [sum(column) for column in zip(*read, strict=True)] == [LINES, len("".join(map(str, range(1, LINES + 1))))]
    assert len(read) == 2 and all(lines > 100 for lines, _ in read) and hits == 0


#: reads single bytes from a pipe that it is handed as standard input
READ = """
import os, sys
out = []
while c := os.read(0, 1):
    out.append(c)
print(len(out), hash(b"".join(out)) & 0xFFFF)
"""


def run_reader(write: Any, flags: int = 0) -> tuple[str, int]:
    """A reader of single bytes under the rule, with `write` at the pipe's other end: what it says, and the hits."""
    ends = os.pipe2(flags)
    with arm(["peek_pipe"]) as armed:
        env = armed.environment(os.environ) | {"PYTHONHASHSEED": "1"}
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", READ], stdin=ends[0], stdout=subprocess.PIPE, env=env, text=True, **APART
        ) as child:
            os.close(ends[0])
            write(ends[1])
            os.close(ends[1])
            said = child.communicate(timeout=60)[0]
        return said, armed.stats()["rules"]["peek_pipe"]["hits"]


#: reads single bytes until rules know the pipe, then makes random calls on it, and says what each gave
RANDOM = """
import array, fcntl, os, random, select, sys, termios
rng = random.Random(int(sys.argv[1]))
for _ in range(5000): os.read(0, 1)
fds, other = [0], os.memfd_create("x")
def tell(*words): print(*words, flush=rng.random() < 0.1)
def child(fd):
    sys.stdout.flush()
    if pid := os.fork(): return os.waitpid(pid, 0)[1]
    tell("child", os.read(fd, rng.randint(1, 9)))
    sys.stdout.flush()
    os._exit(0)
def waiting(fd):
    n = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, n)
    return n[0]
def seek(fd):
    try: os.lseek(fd, 0, 1)
    except OSError as e: return e.errno
def renumber(fd):
    fds.append(os.dup(fd))
    if len(fds) > 4: os.close(fds.pop(rng.randrange(1, 4)))
calls = [
    (300, lambda fd: os.read(fd, 1)), (40, lambda fd: os.read(fd, rng.randint(2, 70))), (9, waiting), (40, seek),
    (9, lambda fd: os.readv(fd, [bytearray(3), bytearray(2)])), (5, renumber), (0.15, child),
    (9, lambda fd: os.isatty(fd)), (9, lambda fd: os.write(other, b"y")), (3, lambda fd: os.read(fd, 3000)),
    (9, lambda fd: os.splice(fd, other, 5)), (9, lambda fd: select.select([fd], [], [], 0)[0] != []),
    (9, lambda fd: fcntl.fcntl(fd, fcntl.F_GETFL)),
]
for _ in range(6000):
    fd = rng.choice(fds)
    tell(rng.choices([c for _, c in calls], [n for n, _ in calls])[0](fd))
"""


@pytest.mark.parametrize("seed", range(3))
def test_random_calls_on_a_pipe_give_the_same(seed: int, tmp_path: Path) -> None:
    script = tmp_path / "calls.py"
    script.write_text(RANDOM)
    # All of it is in the pipe before the first call, so that nothing depends on who runs when.
    feed = "import os, fcntl\nr, w = os.pipe()\nfcntl.fcntl(w, 1031, 1 << 20)\n"
    feed += "os.write(w, bytes(i * 7 % 251 for i in range(1 << 20)))\nos.close(w)\nos.dup2(r, 0)\nos.close(r)\n"
    feed += f"os.execv({sys.executable!r}, ['python', '-I', '-S', {str(script)!r}, '{seed}'])\n"
    plain, improved, stats = both(sys.executable, "-I", "-S", "-c", feed)
    assert improved == plain and plain.count(b"\n") >= 6000
    assert stats["hits"] > 500 and stats["switched_off"] is None


def test_packets_are_read_one_by_one() -> None:
    def write(fd: int) -> None:
        for _ in range(6000):
            os.write(fd, b"x")
        for _ in range(3):
            os.write(fd, b"a packet of which all but a byte is lost")

    said, hits = run_reader(write, os.O_DIRECT)
    assert said.split()[0] == "6003" and hits < 100  # where only a packet of one byte is there, nothing is lost


def test_a_pipe_with_a_name_is_left_alone(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert shell(f"seq {LINES} > {fifo} & while read -r x; do y=$x; done < {fifo}; echo $y")["hits"] == 0


def test_who_writes_waits_no_longer_than_a_moment_for_a_reader_that_computes() -> None:
    spin = "import os, time\nfor _ in range(6000): os.read(0, 1)\nend = time.monotonic() + 3\n"
    spin += "while time.monotonic() < end: pass\nwhile os.read(0, 65536): pass\n"
    ends = os.pipe()
    with arm(["peek_pipe"]) as armed:
        env = armed.environment(os.environ)
        with subprocess.Popen([sys.executable, "-I", "-S", "-c", spin], stdin=ends[0], env=env, **APART) as child:
            os.close(ends[0])
            begin = time.monotonic()
            os.write(ends[1], b"x" * 65536)
            os.write(ends[1], b"x" * 4096)  # fits once some was taken out
            waited = time.monotonic() - begin
            os.close(ends[1])
            child.wait(timeout=60)
        hits = armed.stats()["rules"]["peek_pipe"]["hits"]
    assert child.returncode == 0 and hits > 1000
    assert waited < 3  # else it would have waited for the reader to end


#: reads a pipe by the byte without what it takes to look into its parent, which is of the same session or not
LESS = """
import os, subprocess, sys
words = ["setpriv", "--bounding-set=-sys_ptrace,-chown", sys.executable, "-I", "-S", "-c", sys.argv[2]]
r, w = os.pipe()
with subprocess.Popen(words, stdin=r, start_new_session=sys.argv[1] == "apart") as child:
    os.close(r)
    os.write(w, b"x" * 20000)
    os.close(w)
"""


@pytest.mark.root
@pytest.mark.parametrize(("where", "acts"), [("apart", True), ("together", False)])
def test_who_may_not_be_looked_into_could_have_the_pipe_if_of_the_session(where: str, acts: bool) -> None:
    with arm(["peek_pipe"]) as armed:
        env = armed.environment(os.environ) | {"PYTHONHASHSEED": "1"}
        words = [sys.executable, "-I", "-S", "-c", LESS, where, READ]
        said = subprocess.run(words, capture_output=True, timeout=60, env=env, text=True, check=True, **APART).stdout
        hits = armed.stats()["rules"]["peek_pipe"]["hits"]
    assert said.split()[0] == "20000"
    assert (hits > 10_000) if acts else hits == 0
