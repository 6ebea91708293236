"""Servers whose sends are gathered: their peers get every byte in order, nobody waits for ever, failures are told."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peephole.improve.arm import arm

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
LIMIT_S = 60
#: os.read and os.write are read(2) and write(2), which the rule handles; socket.send would be sendto(2)
SERVER = r"""
import os, random, select, signal, socket, sys, time
mode = sys.argv[1]
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(16)
print(listener.getsockname()[1], flush=True)

def pieces(data, rng):
    while data:
        n = rng.choice([1, 7, 100, 1000, 4096, 20000])
        yield data[:n]
        data = data[n:]

def loop():
    rng = random.Random(1)
    epoll, waiting, sockets = select.epoll(), {}, {}
    epoll.register(listener, select.EPOLLIN)
    while True:
        for fd, what in epoll.poll(30):
            if fd == listener.fileno():
                s = listener.accept()[0]
                s.setblocking(False)
                sockets[s.fileno()], waiting[s.fileno()] = s, []
                epoll.register(s, select.EPOLLIN)
                continue
            if what & select.EPOLLIN:
                asked = os.read(fd, 65536)
                if not asked:
                    epoll.unregister(fd)
                    sockets.pop(fd).close()
                    continue
                waiting[fd] += list(pieces(asked * 3, rng))
            if what & select.EPOLLOUT and waiting[fd]:
                try:
                    n = os.write(fd, waiting[fd][0])
                    waiting[fd][0] = waiting[fd][0][n:]
                except BlockingIOError:
                    pass
                if waiting[fd] and not waiting[fd][0]:
                    waiting[fd].pop(0)
            epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if waiting[fd] else 0))

if mode == "loop":
    loop()
s = listener.accept()[0]
fd = s.fileno()
if mode == "asks":           # says something small, then waits for an answer to it
    for i in range(200):
        os.write(fd, b"%04d" % i)
        got = os.read(fd, 4)
        assert got == b"%04d" % i, got
elif mode == "sleeps":
    os.write(fd, b"before")
    time.sleep(30)
elif mode == "forks":
    os.write(fd, b"parent ")
    if os.fork() == 0:
        os.write(fd, b"child ")
        os._exit(0)
    os.wait()
    os.write(fd, b"parent again")
elif mode == "computes":     # what is kept leaves when the buffer is full, and at the end
    for i in range(3000):
        os.write(fd, b"%099d\n" % i)
elif mode == "answers":      # heads by writev, bodies by sendfile, from a file that it opens each time
    rng = random.Random(4)
    for i in range(300):
        size = rng.choice([0, 1, 500, 5000, 70000])
        with open(sys.argv[2], "rb") as body:
            os.writev(fd, [b"%06d" % i, b" %06d\n" % size])
            sent = 0
            while sent < size:
                n = os.sendfile(fd, body.fileno(), sent, size - sent)
                assert n > 0
                sent += n
        if i % 7 == 0:
            os.write(fd, b"more\n")
elif mode == "logs":         # to a file, and to the peer, before it opens another file
    log = os.open(sys.argv[2] + ".log", os.O_WRONLY | os.O_CREAT, 0o600)
    for i in range(200):
        os.write(log, b"%06d\n" % i)
        os.write(fd, b"%06d " % i)
        body = os.open(sys.argv[2], os.O_RDONLY)
        os.write(fd, os.read(body, 100))
        os.close(body)
elif mode == "opens":        # a FIFO that the peer opens when it has read what was sent
    os.write(fd, b"before")
    with open(sys.argv[2], "rb") as fifo:
        os.write(fd, fifo.read())
elif mode == "relays":       # what it reads upstream is an answer to what it has sent here
    up = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for i in range(200):
        os.write(fd, b"%03d" % i)
        os.write(fd, b".")
        got = os.read(up.fileno(), 4)
        assert got == b"%03d." % i, got
elif mode == "gone":
    os.write(fd, b"x" * 10)
    os.read(fd, 1)
    try:
        for i in range(200):
            os.write(fd, b"y" * 1000)
            time.sleep(0.001)
    except OSError as e:
        print(type(e).__name__, flush=True)
"""


@contextmanager
def server(mode: str, *rules: str, path: Path | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with arm(rules or ["gather_sends"]) as armed:
        with subprocess.Popen(
            [PYTHON, "-I", "-S", "-c", SERVER, mode, str(path)],
            env=armed.environment(os.environ),
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                assert child.stdout is not None
                yield child, int(child.stdout.readline())
            finally:
                child.kill()
        stats = armed.stats()["rules"]
        assert mode not in ("asks", "computes", "answers") or stats["gather_sends"]["hits"] > 0
        assert mode == "relays" or "epoll_shadow" not in stats or stats["epoll_shadow"]["hits"] > 0
        # An open settles what is pending on files, and leaves what is kept for peers.
        assert mode != "logs" or stats["gather_sends"]["settled"] < 20 < 200 <= stats["coalesce_writes"]["settled"]
        # What only a deadline sends, somebody has waited for.
        assert mode != "relays" or stats["gather_sends"]["why_not"]["deadline"] < 20


def connect(port: int) -> socket.socket:
    s = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def everything(s: socket.socket, most: int | None = None) -> bytes:
    got = b""
    while (most is None or len(got) < most) and (part := s.recv(65536)):
        got += part
    return got


BOTH = ("gather_sends", "epoll_shadow")  # whatever their order: epoll_shadow is nearer to the program


@pytest.mark.parametrize("rules", [("gather_sends",), BOTH], ids="+".join)
def test_an_event_loop_answers_many_peers_byte_for_byte(rules: tuple[str, ...]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    rng = random.Random(seed)
    with server("loop", *rules) as (_, port):
        peers = [connect(port) for _ in range(6)]
        for _ in range(40):
            asked = {s: rng.randbytes(rng.choice([1, 50, 3000, 30000])) for s in rng.sample(peers, rng.randint(1, 6))}
            for s, data in asked.items():
                s.sendall(data)
            for s, data in asked.items():
                assert everything(s, 3 * len(data)).replace(data, b"") == b"" or len(data) > 60000, f"seed {seed}"


def test_who_asks_and_waits_is_answered() -> None:
    with server("asks") as (child, port):
        s = connect(port)
        for _ in range(200):
            s.sendall(everything(s, 4))
        assert child.wait(LIMIT_S) == 0


def test_nothing_is_kept_while_the_program_sleeps() -> None:
    with server("sleeps") as (_, port):
        assert everything(connect(port), 6) == b"before"


def test_a_fork_keeps_the_order() -> None:
    with server("forks") as (_, port):
        assert everything(connect(port)) == b"parent child parent again"


def test_a_full_buffer_and_the_end_send_what_is_kept() -> None:
    with server("computes") as (_, port):
        assert everything(connect(port)) == b"".join(b"%099d\n" % i for i in range(3000))


@pytest.mark.parametrize("rules", [("gather_sends",), BOTH], ids="+".join)
def test_a_slow_peer_gets_everything(rules: tuple[str, ...]) -> None:
    data = random.Random(3).randbytes(50000)
    with server("loop", *rules) as (_, port):
        s = connect(port)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        for _ in range(20):
            s.sendall(data)
        time.sleep(0.3)
        got = everything(s, 60 * len(data))
        assert len(got) == 60 * len(data)


def test_that_the_peer_is_gone_is_told_and_kills_nobody() -> None:
    with server("gone") as (child, port):
        s = connect(port)
        everything(s, 10)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.sendall(b"z")
        s.close()
        assert child.stdout is not None
        assert child.stdout.readline().strip() in ("BrokenPipeError", "ConnectionResetError")
        assert child.wait(LIMIT_S) == 0 or child.returncode != -signal.SIGPIPE


def test_heads_by_writev_and_bodies_by_sendfile_arrive_in_order(tmp_path: Path) -> None:
    body = random.Random(5).randbytes(70000)
    (tmp_path / "body").write_bytes(body)
    with server("answers", "gather_sends", "shadow_descriptor", path=tmp_path / "body") as (child, port):
        stream = connect(port).makefile("rb")
        for i in range(300):
            number, size = stream.readline().split()
            assert int(number) == i
            assert stream.read(int(size)) == body[: int(size)]
            assert i % 7 or stream.readline() == b"more\n"
        assert stream.read() == b""
        assert child.wait(LIMIT_S) == 0


def test_an_open_leaves_what_is_kept_for_peers_and_makes_files_good(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"body\n")
    with server("logs", "gather_sends", "coalesce_writes", "read_whole", path=tmp_path / "body") as (child, port):
        assert everything(connect(port)) == b"".join(b"%06d body\n" % i for i in range(200))
        assert child.wait(LIMIT_S) == 0
    assert (tmp_path / "body.log").read_bytes() == b"".join(b"%06d\n" % i for i in range(200))


def test_nothing_is_kept_while_the_program_reads_from_another_peer() -> None:
    upstream = socket.create_server(("127.0.0.1", 0))
    where = Path(str(upstream.getsockname()[1]))
    with upstream, server("relays", *BOTH, path=where) as (child, port):
        s = connect(port)
        up = upstream.accept()[0]
        for _ in range(200):
            up.sendall(everything(s, 4))
        assert child.wait(LIMIT_S) == 0


def test_nothing_is_kept_while_a_fifo_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with server("opens", path=tmp_path / "fifo") as (child, port):
        s = connect(port)
        assert everything(s, 6) == b"before"
        (tmp_path / "fifo").write_bytes(b" and after")
        assert everything(s) == b" and after"
        assert child.wait(LIMIT_S) == 0
