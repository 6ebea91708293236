"""An interest list that is kept in the process says what the kernel's would say, whatever is done with it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.improve.arm import arm

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
#: random calls on two epolls and three connections; what each says, and what many waits together say
PROGRAM = r"""
import os, random, select, socket, sys, threading, time
rng, mode = random.Random(int(sys.argv[1])), sys.argv[2]
listener = socket.create_server(("127.0.0.1", 0))
epolls = [select.epoll(), select.epoll()]
IN, OUT, ET, ONCE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET, select.EPOLLONESHOT
MASKS = [0, IN, OUT, IN | OUT, IN | OUT, IN, IN | ET, OUT | ONCE]

def connection():
    peer = socket.create_connection(listener.getsockname())
    s = listener.accept()[0]
    s.setblocking(False)
    return s, peer

def said(what):
    try:
        return what()
    except OSError as e:
        return type(e).__name__

def waits(epoll):
    told = {}
    for _ in range(20):
        for fd, mask in epoll.poll(0):
            told[fd] = told.get(fd, 0) | mask
    return sorted(told.items())

pairs = [connection() for _ in range(3)]
for s, _ in pairs:  # whatever is random, the rule acts
    epolls[0].register(s, IN)
    epolls[0].modify(s, IN | OUT)
    epolls[0].unregister(s)
for step in range(600):
    i, e = rng.randrange(3), rng.choice(epolls)
    s, peer = pairs[i]
    mask = rng.choice(MASKS)
    match rng.choice("aaammmmmmmmmmddwwwwwvpppprccofts"):
        case "a": print(step, "add", said(lambda: e.register(s, mask)))
        case "m": print(step, "mod", said(lambda: e.modify(s, mask)))
        case "d": print(step, "del", said(lambda: e.unregister(s)))
        case "w": print(step, "write", said(lambda: os.write(s.fileno(), b"x" * rng.choice([1, 100, 5000]))))
        case "v": print(step, "writev", said(lambda: os.writev(s.fileno(), [b"x" * 300, b"y" * 3000])))
        case "p": print(step, "wait", waits(e))
        case "r":
            peer.sendall(b"ping")
            time.sleep(0.002)
        case "c" if rng.random() < 0.2:
            s.close()
            peer.close()
            pairs[i] = connection()
        case "o" if rng.random() < 0.1:
            at = epolls.index(e)
            e.close()
            epolls[at] = select.epoll()
        case "f" if rng.random() < 0.1:
            sys.stdout.flush()
            child = os.fork()
            if child == 0:
                print(step, "child", waits(e), flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            pairs = [connection() for _ in range(3)]
        case "t" if mode == "threads" and step > 300 and rng.random() < 0.3:
            t = threading.Thread(target=lambda: print(step, "thread", waits(e)))
            t.start()
            t.join()
        case "s" if rng.random() < 0.2:
            second = os.dup(s.fileno())
            print(step, "dup", said(lambda: e.register(second, IN)), said(lambda: s.send(b"y")))
            os.close(second)
    while isinstance(got := said(lambda: peer.recv(1 << 20, socket.MSG_DONTWAIT)), bytes) and got:
        pass
"""


def run(seed: int, mode: str, env: dict[str, str]) -> str:
    words = [PYTHON, "-I", "-S", "-c", PROGRAM, str(seed), mode]
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("rules", [["epoll_shadow"], ["epoll_shadow", "gather_sends"]], ids="+".join)
@pytest.mark.parametrize("mode", ["alone", "threads"])
def test_random_calls_are_answered_as_by_the_kernel(rules: list[str], mode: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    plain = run(seed, mode, dict(os.environ))
    with arm(rules) as armed:
        improved = run(seed, mode, armed.environment(os.environ))
    assert improved == plain
    assert armed.stats()["rules"]["epoll_shadow"]["hits"] > 0


#: twenty connections are taken from the list and closed; what a wait then says of the last, which may be open elsewhere
LAST = r"""
import array, os, select, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
epoll = select.epoll()
here, there = socket.socketpair(socket.AF_UNIX)
for n in range(20):
    peer = socket.create_connection(listener.getsockname())
    s = listener.accept()[0]
    epoll.register(s, select.EPOLLIN)
    if n == 19:
        exec(sys.argv[1])
    epoll.unregister(s)
    if n < 19:
        epoll.register(s, select.EPOLLIN | select.EPOLLOUT)
        epoll.unregister(s)
    s.close()
peer.sendall(b"ping")
print(epoll.poll(0.05))
"""
#: how the last one stays open, and whether it does not
KEPT = {
    "nobody": ("pass", True),
    "a second number": ("other = os.dup(s.fileno())", False),
    "a child": (
        "r, w = os.pipe()\nif not os.fork(): os.close(w); os.read(r, 1); os._exit(0)\nos.close(r)",
        False,
    ),
    "an asynchronous poll": (
        "import ctypes, struct\ncall, aio = ctypes.CDLL(None).syscall, ctypes.c_ulong()\n"
        'asks = ctypes.create_string_buffer(struct.pack("QIIHhIQQqQII", 0, 0, 0, 5, 0, s.fileno(), 2, 0, 0, 0, 0, 0))\n'
        "at = ctypes.c_void_p(ctypes.addressof(asks))\n"
        "assert not call(206, 1, ctypes.byref(aio)) and call(209, aio, 1, ctypes.byref(at)) == 1",
        False,
    ),
    "a message": ('socket.send_fds(here, [b"x"], [s.fileno()])', False),
}


@pytest.mark.parametrize("keeper", KEPT)
def test_a_removal_waits_for_a_close_that_ends_the_description(keeper: str) -> None:
    keeps, all_end = KEPT[keeper]
    words = [PYTHON, "-I", "-c", LAST, keeps]
    plain = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    with arm(["epoll_shadow"]) as armed:
        env = armed.environment(os.environ)
        improved = subprocess.run(words, env=env, capture_output=True, text=True, check=True, timeout=60).stdout
    stats = armed.stats()["rules"]["epoll_shadow"]
    assert plain == improved == "[]\n"
    assert stats["hits"] >= 57 + all_end
    assert stats["settled"] == 0 or not all_end
