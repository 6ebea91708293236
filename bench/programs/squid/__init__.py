"""Squid: Debian's package, unmodified, behind a load generator that compares every byte. `python -m bench squid`.

    memory_hit     small objects from memory          disk_hit       the same from a cache on disk
    store_evict    reloads: one store and one removal  mixed         every second request a reload
    tuned          the last one again, with what `peephole tune` finds by itself
    connect_bulk   64 MB through CONNECT (figures are for 64 KB of it)
    connect_small  4 KB messages through CONNECT

Each with 1 and 8 connections; CPU of squid and its helpers for each request, and their calls. Then what must hold:

    clean_stop  a plain squid serves every object from the cache that an improved one has left
    kill        the same after SIGKILL at random moments (--moments, default 10)
    attach      rules put into a squid under load, and taken out again, without a failed request
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import servers
from bench.servers import Bench, Ground, Load, Options

WEB = Path(__file__).resolve().parent.parent / "web"
LOADS = ("memory_hit", "disk_hit", "store_evict", "mixed", "tuned", "connect_bulk", "connect_small")
CHECKS = ("clean_stop", "kill", "attach")
IMAGE_BYTES = 600 << 20
OBJECTS = 2000  # 32 MB on disk
IN_MEMORY = 400
BULK_BYTES = 64 << 20
SMALL_BYTES = 4096
PIECE = 65536
#: requests a run: about a second of squid's CPU
REQUESTS = {"memory_hit": 10000, "disk_hit": 6000, "store_evict": 4000, "mixed": 4000, "tuned": 4000}
MESSAGES = 12000
BULKS = 16
#: those that act on connections
RULES = ("gather_sends", "epoll_shadow")
#: and on objects that are written, or read; what must hold is tried with all of them
STORING = (*RULES, "coalesce_writes", "shadow_descriptor")
ON_DISK = (*STORING, "read_whole")
BY_LOAD = {"disk_hit": ON_DISK, "mixed": ON_DISK, "store_evict": STORING, "tuned": None}

COMMON = """
http_port 127.0.0.1:{port}
http_access allow all
access_log none
cache_log {folder}/cache.log
pid_filename {folder}/squid.pid
coredump_dir {folder}
cache_store_log none
netdb_filename none
pinger_enable off
logfile_rotate 0
shutdown_lifetime 0 seconds
visible_hostname bench
max_filedescriptors 1024
server_persistent_connections on
"""
MEMORY = """
cache_mem 256 MB
maximum_object_size_in_memory 512 KB
"""
DISK = """
cache_mem 0
cache_dir ufs {cache} 128 16 16
maximum_object_size 8 MB
cache_swap_low 80
cache_swap_high 81
"""


def config(folder: Path, name: str, port: int, cache: Path | None) -> Path:
    """Write a configuration: with a cache on disk, or in memory only."""
    path = folder / f"{name}.conf"
    text = COMMON.format(port=port, folder=folder) + (DISK.format(cache=cache) if cache else MEMORY)
    path.write_text(text)
    path.chmod(0o644)
    return path


class Squid:
    """Where everything is: programs, ports, configurations."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.load = str(servers.compiled(WEB / "load.c", bench.folder))
        self.origin = str(servers.compiled(WEB / "origin.c", bench.folder))
        self.port, self.origin_port = servers.free_port(), servers.free_port()

    def command(self, conf: Path) -> tuple[str, ...]:
        return ("/usr/sbin/squid", "-N", "-f", str(conf))

    def asks(self, kind: str, clients: int, requests: int, objects: int, size: int = 0) -> tuple[str, ...]:
        """The load generator's words."""
        words = (self.load, self.port, self.origin_port, kind, clients, requests, objects, *([size] if size else []))
        return tuple(map(str, words))

    def fill(self, cache: Path) -> None:
        """Make the cache on disk and let squid store every object in it."""
        who = self.bench.who
        (cache / "cache").mkdir()
        servers.os.chown(cache / "cache", who.uid, who.gid)
        conf = config(self.bench.folder, "fill", self.port, cache / "cache")
        who.run([*self.command(conf)[:1], "-N", "-z", "-f", str(conf)])
        with servers.running(self.command(conf), who, self.port):
            who.run(self.asks("get", 8, OBJECTS, OBJECTS))

    def loads(self, ground: Ground) -> dict[str, tuple[Path, int, str, int]]:
        """By load: configuration, requests, kind of request, objects."""
        memory = config(self.bench.folder, "memory", self.port, None)
        disk = config(self.bench.folder, "disk", self.port, ground.folder / "cache")
        return {
            "memory_hit": (memory, REQUESTS["memory_hit"], "get", IN_MEMORY),
            "disk_hit": (disk, REQUESTS["disk_hit"], "get", OBJECTS),
            "store_evict": (disk, REQUESTS["store_evict"], "reload", OBJECTS),
            "mixed": (disk, REQUESTS["mixed"], "mixed", OBJECTS),
            "tuned": (disk, REQUESTS["tuned"], "mixed", OBJECTS),
            "connect_bulk": (memory, BULKS, "tunnel", 1),
            "connect_small": (memory, MESSAGES, "tunnel", 1),
        }

    def measure(self, name: str, clients: int, ground: Ground) -> None:
        """One load with so many connections."""
        conf, requests, kind, objects = self.loads(ground)[name]
        bulk = name == "connect_bulk"
        size = BULK_BYTES if bulk else SMALL_BYTES if name == "connect_small" else 0
        requests = max(clients, round(requests * self.bench.asked.scale))
        warm = self.asks("get", 4, IN_MEMORY, IN_MEMORY)
        self.bench.load(
            Load(
                name=f"{name}_{clients}c",
                command=self.command(conf),
                ready=f"tcp:{self.port}",
                drive=self.asks(kind, clients, requests, objects, size),
                warm=(servers.shlex.join(warm),) if name == "memory_hit" else (),
                rules=BY_LOAD.get(name, RULES),
                fresh=ground.fresh() if conf.stem == "disk" else None,
                per=BULK_BYTES / PIECE if bulk else 1.0,
            )
        )

    def check(self, name: str, ground: Ground) -> None:
        """One of CHECKS, with the rules asked for, or all of ON_DISK that there are."""
        from bench.programs.squid import checks

        asked = self.bench.asked.rules
        rules = [r for r in (asked.split(",") if asked else ON_DISK) if r in servers.known_rules()]
        memory, disk = (self.loads(ground)[load][0] for load in ("memory_hit", "disk_hit"))
        if name == "clean_stop":
            found = checks.clean_stop(self, disk, ground, rules, OBJECTS)
        elif name == "kill":
            found = checks.kill(self, disk, ground, rules, OBJECTS, self.bench.asked.moments)
        else:
            requests = round(REQUESTS["memory_hit"] * self.bench.asked.scale)
            found = checks.under_load(self, memory, rules, requests, IN_MEMORY)
        self.bench.figures |= {f"{name}.{what}": value for what, value in found.items()}
        self.bench.figures["wrong_bytes"] = self.bench.figures.get("wrong_bytes", 0) + found["wrong_bytes"]
        self.bench.conditions[f"{name}.rules"] = ",".join(rules) or "none"


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `LOAD_Nc.{cpu_ratio,calls_before,calls_after,...}` and `wrong_bytes`; ratios are after/before."""
    asked = asked or Options((*LOADS, *CHECKS))
    servers.installed("squid", packages="squid")
    with servers.bench(servers.user("proxy"), asked) as bench, ExitStack() as stack:
        squid = Squid(bench)
        stack.enter_context(servers.running([squid.origin, str(squid.origin_port)], bench.who, squid.origin_port))
        on = stack.enter_context(servers.ground(IMAGE_BYTES, squid.fill, bench.who, bench.folder))
        bench.conditions |= {"cache": on.said(), "user": bench.who.name, "pairs": asked.pairs}
        for name in asked.loads:
            if name in CHECKS:
                squid.check(name, on)
                continue
            for clients in asked.clients:
                squid.measure(name, clients, on)
        return {"figures": bench.figures, "conditions": bench.conditions | servers.machine()}


def options(words: Sequence[str]) -> Options:
    """The bench's own options."""
    return servers.options(words, (*LOADS, *CHECKS))
