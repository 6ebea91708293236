"""Who makes the calls, and where the time goes, in captures that were taken with --stacks of real programs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peephole.diagnose.layers import chains
from peephole.diagnose.profile import profile
from peephole.diagnose.symbols import readable_name
from peephole.diagnose.tables import tables_of
from peephole.observe.capture import open_capture

ROOT = Path(__file__).parents[2]
SERVER = """
user root;
worker_processes 1;
error_log stderr;
pid {here}/pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    server {{ listen 127.0.0.1:18791; root {here}; }}
}}
"""
DRIVEN = """
nginx -c {here}/nginx.conf -g 'daemon off;' &
server=$!
for i in $(seq 50); do [ -s {here}/pid ] && break; sleep 0.1; done
{python} -S -c "
import http.client
c = http.client.HTTPConnection('127.0.0.1', 18791)
for _ in range(3000):
    c.request('GET', '/page'); c.getresponse().read()"
kill -QUIT $server; wait $server
"""


def _observed(command: list[str], folder: Path) -> Any:
    if os.geteuid():
        pytest.skip("needs root")
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    peephole = [sys.executable, "-m", "peephole", "observe", "--engine", "ebpf", "--stacks", "-o", folder / "c", "--"]
    done = subprocess.run([*peephole, *command], env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return open_capture(folder / "c")


def _need(*names: str) -> None:
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")


def test_names_of_functions_are_those_of_the_source() -> None:
    assert readable_name("write") == "write" and readable_name("_Zwrong") == "_Zwrong"
    assert readable_name("_ZNK7GooFile4readEPcix").startswith("GooFile::read(char*")


@pytest.mark.long
@pytest.mark.root
def test_the_layer_of_poppler_s_reads_is_its_file(tmp_path: Path) -> None:
    _need("pdfimages")
    sys.path.insert(0, str(ROOT))
    from bench.programs.xpdf import pages

    pages.write(tmp_path / "p.pdf", 20)
    capture = _observed(["pdfimages", "-all", "p.pdf", "out"], tmp_path)
    with tables_of(capture) as tables:
        known = chains(tables)
    chain = known["pdfimages", "pread64"]
    assert any(link.startswith("libpoppler.so") and "GooFile::read" in link for link in chain), chain
    assert chain[-1].startswith("libc.so.6: ") and "pread" in chain[-1]


@pytest.mark.long
@pytest.mark.root
def test_the_profile_of_a_server_adds_up_over_its_processes(tmp_path: Path) -> None:
    _need("nginx")
    (tmp_path / "nginx.conf").write_text(SERVER.format(here=tmp_path))
    (tmp_path / "page").write_text("x" * 20_000)
    tmp_path.chmod(0o755)
    capture = _observed(["sh", "-c", DRIVEN.format(here=tmp_path, python=sys.executable)], tmp_path)
    found = profile(capture)
    calls = {call.name: call for call in found.calls}
    assert calls["sendfile"].calls >= 3000 and calls["sendfile"].processes == 1
    assert calls["epoll_wait"].blocked_ns, "the worker waits for requests"
    # Each sample has one innermost function, so the exclusive times add up to all of them.
    ticks = sum(found.folded.values())
    assert ticks > 0 and sum(f.exclusive_ns for f in found.functions) == ticks
    assert all(f.exclusive_ns <= f.inclusive_ns <= ticks for f in found.functions)
    mine = {f.name: f for f in found.functions if f.library == "nginx"}
    assert mine, "the worker's own functions, or its file where it has no symbols"
    done = subprocess.run(
        [sys.executable, "-m", "peephole", "diagnose", tmp_path / "c", "--profile", "--json"], capture_output=True
    )
    (shown,) = json.loads(done.stdout)["profiles"]
    assert len(shown["functions"]) == len(found.functions) and len(shown["calls"]) == len(found.calls)
