"""Real programs in which nothing is worth changing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.programs.xpdf import pages

pytestmark = [pytest.mark.long, pytest.mark.root]

REDIS = """
redis-server --port 0 --unixsocket {here}/sock --save "" --appendonly no >{here}/log 2>&1 &
server=$!
for i in 1 2 3 4 5 6 7 8 9 10; do [ -S {here}/sock ] && break; sleep 0.2; done
redis-benchmark -s {here}/sock -n 20000 -c 8 -q -t set,get >{here}/said 2>&1
kill $server; wait $server
"""
POSTGRES = """
{bin}/postgres -D {here}/data >{here}/log 2>&1 &
server=$!
for i in $(seq 50); do {bin}/pg_isready -q -h {here} -p 54399 && break; sleep 0.1; done
{bin}/pgbench -n -S -h {here} -p 54399 -c 2 -t 3000 postgres >{here}/said 2>&1
kill -INT $server; wait $server
"""
SETTINGS = """
shared_buffers = 128MB
autovacuum = off
unix_socket_directories = '{here}'
listen_addresses = ''
port = 54399
"""


def _programs(command: Sequence[str], folder: Path) -> set[str]:
    """The programs that something is found in."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    peephole = [sys.executable, "-m", "peephole"]
    subprocess.run([*peephole, "observe", "-o", folder / "c", "--", *command], check=True, env=env, capture_output=True)
    out = subprocess.run([*peephole, "diagnose", folder / "c", "--json"], check=True, env=env, capture_output=True)
    return {finding["program"] for finding in json.loads(out.stdout)["findings"]}


def _need(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(f"{missing[0]} is not installed" if missing else "needs root")


@pytest.mark.parametrize("program", ["gzip", "xz"])
def test_packers_have_nothing_to_gain(program: str, tmp_path: Path) -> None:
    _need(program)
    (tmp_path / "text").write_text("".join(f"{n * 7919} a line of text\n" for n in range(200_000)))
    assert _programs([program, "-1", str(tmp_path / "text")], tmp_path) == set()


def test_pdftotext_has_nothing_to_gain(tmp_path: Path) -> None:
    _need("pdftotext")
    book = tmp_path / "pictures.pdf"  # of which it reads the little text
    pages.write(book, 60)
    assert _programs(["pdftotext", str(book), str(tmp_path / "out")], tmp_path) == set()


def test_redis_without_fsync_has_nothing_to_gain(tmp_path: Path) -> None:
    _need("redis-server", "redis-benchmark")
    found = _programs(["sh", "-c", REDIS.format(here=tmp_path)], tmp_path)
    # The server's threads show it under its other name, too: Debian's redis-server is a link to redis-check-rdb.
    assert not found & {"redis-server", "redis-check-rdb"}


def test_postgresql_that_only_reads_has_nothing_to_gain(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _need("pg_config" if shutil.which("pg_config") else "psql", "runuser")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not versions:
        pytest.skip("no PostgreSQL server is installed")
    # Not below pytest's folder, which every other pytest closes to other users.
    here, tools = Path(tempfile.mkdtemp(prefix="peephole-test-")), versions[-1]
    request.addfinalizer(lambda: shutil.rmtree(here, ignore_errors=True))
    shutil.chown(here, "postgres")
    as_postgres = ["runuser", "-u", "postgres", "--"]

    def run(*words: str) -> None:
        subprocess.run([*as_postgres, *words], check=True, capture_output=True, cwd=here)

    run(f"{tools}/initdb", "-A", "trust", "-D", f"{here}/data")
    with (here / "data" / "postgresql.conf").open("a") as conf:
        conf.write(SETTINGS.format(here=here))
    run(f"{tools}/pg_ctl", "-w", "-D", f"{here}/data", "-l", f"{here}/log", "start")
    run(f"{tools}/pgbench", "-q", "-i", "-s", "2", "-h", str(here), "-p", "54399", "postgres")
    run(f"{tools}/pg_ctl", "-w", "-D", f"{here}/data", "stop")
    found = _programs([*as_postgres, "sh", "-c", POSTGRES.format(here=here, bin=tools)], tmp_path)
    assert "postgres" not in found
