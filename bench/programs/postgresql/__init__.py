"""PostgreSQL: Debian's package, unmodified, under pgbench. `python -m bench postgresql`.

    select    pgbench -S, simple protocol        prepared  the same, prepared
    tpcb      pgbench's own transaction          insert    one INSERT a transaction
    seqscan   a sequential scan of a table that the page cache holds, but shared_buffers does not

    kill       SIGKILL at random moments (--moments, default 10): what was acknowledged is there afterwards
    power_cut  the same, and what had not reached the disk is gone; says how old the oldest lost commit was
    hostile    the same, but all that was written to data files has reached the disk; only the log is cut

Each load with 1 and 8 clients. Commits are shown beside the disk's flush latency and beside `synchronous_commit=off`,
which gives up the same and needs no Peephole: the honest comparison.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench import servers
from bench.servers import Bench, Ground, Load, NoBench, Options

LOADS = ("select", "prepared", "tpcb", "insert", "seqscan")
CHECKS = ("kill", "power_cut", "hostile")
COMMITS = ("tpcb", "insert")
IMAGE_BYTES = 1500 << 20
SCALE = 10  # of pgbench: a million accounts
WIDE_ROWS = 300_000  # 40 MB in a table of its own; read through the page cache, past shared_buffers
TRANSACTIONS = {"select": 20000, "prepared": 25000, "tpcb": 2500, "insert": 8000, "seqscan": 16}
RULES: dict[str, tuple[str, ...] | None] = {
    "select": None,  # nothing gains: `tune` must find that out, and decline
    "prepared": None,
    "tpcb": ("sync_window",),
    "insert": ("sync_window",),
    "seqscan": ("scan_mapping",),
}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "logging_collector": "off",
    "max_connections": "40",
}
#: what must hold in pgbench's tables whatever was done
CONSISTENT = """
SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
   AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
   AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
"""
INSERT = "INSERT INTO bench_insert(what) VALUES ('0123456789012345678901234567890123456789');\n"
SCAN = "SELECT count(*) FROM bench_wide;\n"  # nothing is computed of a row


def binaries() -> Path:
    """The folder of the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise NoBench("no PostgreSQL server is installed; apt-get install postgresql-15")
    return found[-1]


def flush_ms(folder: Path, count: int = 200) -> float:
    """Median milliseconds of write and fdatasync of 8 KB in `folder`."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for i in range(count):
            os.pwrite(file.fileno(), b"x" * 8192, i * 8192)
            begin_ns = time.monotonic_ns()
            os.fdatasync(file.fileno())
            took.append(time.monotonic_ns() - begin_ns)
    return median(took) / 1e6


class Postgres:
    """Where everything is: programs, port, cluster."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.port = servers.free_port()
        self.programs = binaries()
        for name, text in (("insert.sql", INSERT), ("scan.sql", SCAN)):
            (bench.folder / name).write_text(text)

    def command(self, data: Path, **settings: str) -> tuple[str, ...]:
        """The server's words."""
        given = SETTINGS | {"unix_socket_directories": str(self.bench.folder)} | settings
        words = [w for name, value in given.items() for w in ("-c", f"{name}={value}")]
        return (str(self.programs / "postgres"), "-D", str(data), "-p", str(self.port), *words)

    def client(self, name: str, *words: str) -> tuple[str, ...]:
        """A client's words; all connect over the socket in the bench's folder."""
        where = ("-h", str(self.bench.folder), "-p", str(self.port), "-U", "postgres")
        return (str(self.programs / name), *where, *words)

    def wait(self) -> None:
        """Until the server takes connections, which it may refuse for a while after its port answers."""
        for _ in range(300):
            if subprocess.run(self.client("pg_isready", "-q")).returncode == 0:
                return
            time.sleep(0.1)
        raise NoBench(f"the server at port {self.port} takes no connections")

    def ask(self, words: str) -> str:
        """What a plain client is answered."""
        return self.bench.who.run(self.client("psql", "-qAt", "-d", "postgres", "-c", words)).stdout.strip()

    def fill(self, top: Path) -> None:
        """A cluster with pgbench's tables and ours, shut down."""
        who, data = self.bench.who, top / "data"
        data.mkdir(mode=0o700)
        os.chown(data, who.uid, who.gid)
        initdb = str(self.programs / "initdb")
        who.run([initdb, "-A", "trust", "-U", "postgres", "-N", "--no-locale", "-E", "UTF8", str(data)], cwd=top)
        with servers.running(self.command(data, fsync="off"), who, self.port):
            self.wait()
            who.run(self.client("pgbench", "-i", "-q", "-s", str(SCALE), "postgres"))
            wide = (
                "CREATE TABLE bench_wide AS SELECT i, repeat(md5(i::text), 3) AS filler "
                f"FROM generate_series(1, {WIDE_ROWS}) AS i; VACUUM FREEZE bench_wide; "
                "CREATE TABLE bench_insert(id bigserial PRIMARY KEY, what text); CHECKPOINT"
            )
            for one in wide.split("; "):
                who.run(self.client("psql", "-q", "-d", "postgres", "-c", one))

    def drive(self, name: str, clients: int) -> tuple[str, ...]:
        """pgbench's words for a load."""
        each = max(1, round(TRANSACTIONS[name] * self.bench.asked.scale) // clients)
        kind = {
            "select": ("-S",),
            "prepared": ("-S", "-M", "prepared"),
            "tpcb": (),
            "insert": ("-f", str(self.bench.folder / "insert.sql")),
            "seqscan": ("-f", str(self.bench.folder / "scan.sql")),
        }[name]
        own = ("-n", "-c", str(clients), "-j", "1", "-t", str(each), *kind, "postgres")
        return self.client("pgbench", *own)

    def load(self, name: str, clients: int, ground: Ground, **settings: str) -> Load:
        """A load on a fresh cluster; pgbench's sums are checked after every run."""
        # The table must not fit; and one process reads it, of which there is a figure.
        small = {"shared_buffers": "16MB", "max_parallel_workers_per_gather": "0"} if name == "seqscan" else {}
        ask = f'test "$({shlex.join(self.client("psql", "-qAt", "-d", "postgres", "-c", CONSISTENT))})" = t'
        warm = self.client("pgbench", "-n", "-S", "-t", "200", "postgres")
        return Load(
            name=f"{name}_{clients}c",
            command=self.command(ground.folder / "data", **(small | settings)),
            ready="exec:" + shlex.join(self.client("pg_isready", "-q")),
            drive=self.drive(name, clients),
            warm=(shlex.join(warm),),
            check=(shlex.join(["sh", "-c", ask]),) if name == "tpcb" else (),
            rules=RULES[name],
            fresh=ground.fresh(),
        )

    def measure(self, name: str, clients: int, ground: Ground) -> None:
        """One load; a commit's also with synchronous_commit=off instead of rules."""
        bench = self.bench
        load = self.load(name, clients, ground)
        bench.load(load)
        figures = bench.figures
        if f"{load.name}.throughput_ratio" in figures:
            figures[f"{load.name}.tps_ratio"] = figures.pop(f"{load.name}.throughput_ratio")
        if name in COMMITS and bench.asked.controls:
            plain = [figures.get(f"{load.name}.{what}") for what in ("requests_per_s_before", "cpu_us_before")]
            off = replace(load, command=self.command(ground.folder / "data", synchronous_commit="off"))
            found = bench.measured(off, "off")["figures"]
            for what, before in zip(("requests_per_s", "server_cpu_us"), plain, strict=True):
                short = "tps" if what == "requests_per_s" else "cpu"
                if before and f"driver.{what}" in found:
                    ratio = found[f"driver.{what}"]["before"] / before
                    figures[f"{load.name}.synchronous_commit_off_{short}_ratio"] = ratio

    def check(self, name: str, ground: Ground) -> None:
        """One of CHECKS, with the rules asked for, or all that any load has."""
        from bench.programs.postgresql import checks, hostile

        asked = self.bench.asked.rules
        named = asked.split(",") if asked else sorted({r for rules in RULES.values() for r in rules or ()})
        rules = [r for r in named if r in servers.known_rules()]
        beside = {"synchronous_commit": "off"}
        for prefix, acting, settings in ((f"{name}.", rules, {}), (f"{name}.synchronous_commit_off_", [], beside)):
            if settings and (name == "kill" or not self.bench.asked.controls):
                continue
            if name == "hostile":
                found = hostile.die(self, ground, acting, self.bench.asked.moments, **settings)
            else:
                found = checks.die(self, ground, acting, self.bench.asked.moments, name == "power_cut", **settings)
            self.bench.figures |= {prefix + what: value for what, value in found.items()}
        if name == "hostile" and self.bench.asked.controls:
            self.bench.figures["hostile.fsync_off_pages_too_new"] = hostile.without_sync(self, ground)
        self.bench.conditions[f"{name}.rules"] = ",".join(rules) or "none"


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `LOAD_Nc.{tps_ratio,cpu_ratio,...}` (after/before) and `flush_ms`, before and after the loads."""
    asked = asked or Options((*LOADS, *CHECKS))
    servers.installed("/usr/lib/postgresql/15/bin/postgres", packages="postgresql-15")
    with servers.bench(servers.user("postgres"), asked) as bench:
        postgres = Postgres(bench)
        disk = Path(tempfile.gettempdir())
        with servers.ground(IMAGE_BYTES, postgres.fill, bench.who, bench.folder, disk) as on:
            bench.conditions |= {"cluster": on.said(), "user": bench.who.name, "pairs": asked.pairs}
            bench.figures["flush_ms"] = flush_ms(on.folder)
            for name in asked.loads:
                if name in CHECKS:
                    postgres.check(name, on)
                    continue
                for clients in asked.clients:
                    postgres.measure(name, clients, on)
            bench.figures["flush_ms_at_end"] = flush_ms(on.folder)
        return {"figures": bench.figures, "conditions": bench.conditions | servers.machine()}


def options(words: Sequence[str]) -> Options:
    """The bench's own options."""
    return servers.options(words, (*LOADS, *CHECKS))
