"""nginx: Debian's package, unmodified, serving small static files. `python -m bench nginx`.

    static    files of 1 to 64 KB as Debian sets nginx up: header by writev, file by sendfile, corked together
    buffered  the same with sendfile off: header and file from one buffer
    split     the same with sendfile and without tcp_nopush, as nginx is by default: header and file go out apart

Each with 1 and 8 connections, without an access log; every byte of every answer is compared.
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import servers
from bench.servers import Bench, Load, Options

WEB = Path(__file__).resolve().parent.parent / "web"
LOADS = ("static", "buffered", "split")
OBJECTS = 400
REQUESTS = 20000  # a run: about a second of nginx's CPU
RULES = ("gather_sends",)

CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile {sendfile};
    tcp_nopush {nopush};
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/root;
    }}
}}
"""


def fill(folder: Path, port: int) -> None:
    """The origin's objects as files."""
    (folder / "root" / "o").mkdir(parents=True)
    for i in range(OBJECTS):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/o/{i}") as answer:
            (folder / "root" / "o" / str(i)).write_bytes(answer.read())


def load(bench: Bench, name: str, clients: int, words: Sequence[str]) -> Load:
    """One load with so many connections."""
    port = servers.free_port()
    config = bench.folder / f"{name}.conf"
    sendfile = "off" if name == "buffered" else "on"
    nopush = "off" if name == "split" else "on"
    config.write_text(CONFIG.format(folder=bench.folder, port=port, sendfile=sendfile, nopush=nopush))
    requests = max(clients, round(REQUESTS * bench.asked.scale))
    asks = (words[0], str(port), "0", "get", str(clients), str(requests), str(OBJECTS))
    return Load(f"{name}_{clients}c", ("/usr/sbin/nginx", "-c", str(config)), f"tcp:{port}", asks, RULES)


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `LOAD_Nc.{cpu_ratio,calls_before,calls_after,...}` and `wrong_bytes`; ratios are after/before."""
    asked = asked or Options(LOADS)
    servers.installed("nginx", packages="nginx-light")
    who = servers.user("www-data")
    with servers.bench(who, asked) as bench:
        client = str(servers.compiled(WEB / "load.c", bench.folder))
        origin, port = str(servers.compiled(WEB / "origin.c", bench.folder)), servers.free_port()
        with servers.running([origin, str(port)], who, port):
            fill(bench.folder, port)
        for path in bench.folder.rglob("*"):
            os.chown(path, who.uid, who.gid)
        bench.conditions |= {"user": who.name, "pairs": asked.pairs, "files": "in the page cache"}
        for name in asked.loads:
            for clients in asked.clients:
                bench.load(load(bench, name, clients, [client]))
        return {"figures": bench.figures, "conditions": bench.conditions | servers.machine()}


def options(words: Sequence[str]) -> Options:
    """The bench's own options."""
    return servers.options(words, LOADS)
