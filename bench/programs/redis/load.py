"""load.py set|check PORT CONNECTIONS REQUESTS: sets as many keys, each once, over connections in turns; or reads them.

One request at a time on each connection. Prints one line of JSON; `wrong_bytes` counts the bytes of values that are not
what was set.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time


def value(i: int) -> bytes:
    return b"%064d" % (i * 7919)


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def connect(port: int) -> socket.socket:
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def set_all(port: int, connections: int, requests: int) -> tuple[int, float]:
    """How many failed, and the seconds it took."""
    waiting = selectors.EpollSelector()
    todo, failed, open_ = iter(range(requests)), 0, 0
    began = time.monotonic()
    for _ in range(connections):
        s = connect(port)
        i = next(todo)
        s.sendall(command(b"SET", b"key:%d" % i, value(i)))
        waiting.register(s, selectors.EVENT_READ)
        open_ += 1
    while open_:
        for key, _ in waiting.select():
            s = key.fileobj
            assert isinstance(s, socket.socket)
            failed += s.recv(64) != b"+OK\r\n"
            i = next(todo, -1)
            if i < 0:
                waiting.unregister(s)
                s.close()
                open_ -= 1
            else:
                s.sendall(command(b"SET", b"key:%d" % i, value(i)))
    return failed, time.monotonic() - began


def wrong_bytes(port: int, requests: int) -> int:
    """Read everything back."""
    s, wrong = connect(port), 0
    stream = s.makefile("rb")
    for first in range(0, requests, 100):
        keys = range(first, min(first + 100, requests))
        s.sendall(b"".join(command(b"GET", b"key:%d" % i) for i in keys))
        for i in keys:
            size = int(stream.readline()[1:])
            found = stream.read(size + 2)[:-2] if size >= 0 else b""
            wrong += sum(a != b for a, b in zip(found, value(i), strict=False)) + abs(len(value(i)) - len(found))
    return wrong


def main() -> int:
    port, connections, requests = map(int, sys.argv[2:])
    if sys.argv[1] == "check":
        wrong = wrong_bytes(port, requests)
        print(json.dumps({"requests": requests, "wrong_bytes": wrong}))
        return wrong > 0
    failed, seconds = set_all(port, connections, requests)
    print(json.dumps({"requests": requests, "requests_per_s": requests / seconds, "failed": failed}))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
