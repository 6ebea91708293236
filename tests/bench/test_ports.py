"""Where a bench's servers listen."""

from __future__ import annotations

import socket
from pathlib import Path

from bench.servers import free_port


def test_a_port_is_free_and_none_that_a_connection_may_get() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1
    for port in ports:
        assert port < lowest or lowest <= 1024
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))
