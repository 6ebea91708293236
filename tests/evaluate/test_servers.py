"""Servers under a driver: what goes wrong is said in one line, and nothing is left running."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peephole.errors import RunError
from peephole.evaluate.evaluate import Evaluation
from peephole.evaluate.pairs import Pairs
from peephole.evaluate.ready import check_free, is_ready
from peephole.evaluate.run import driver_figures, said_bytes
from peephole.evaluate.workload import Same, Workload, parse_same

SERVER = """
import os, signal, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', int(sys.argv[1]))); s.listen()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    c, _ = s.accept()
    try: c.sendall(os.environ.get('SAYS', 'hello').encode())
    except OSError: pass
    c.close()
"""
DRIVER = """
import socket, sys
for _ in range(5):
    with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as c: print(c.recv(99).decode())
"""
FIGURES = "print('{\"requests_per_s\": %f}' % __import__('time').monotonic())"


@pytest.fixture
def port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def server(tmp_path: Path, port: int) -> list[str]:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "driver.py").write_text(DRIVER)
    return [sys.executable, "-S", "server.py", str(port)]


def evaluate(tmp_path: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "peephole", "evaluate", "--rules", "off", "-n", "2", "--json", "-o", "out", *words],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr, json.loads(done.stdout) if done.stdout else {}


def nothing_listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def running(tmp_path: Path) -> list[str]:
    """Command lines of processes that still work in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == tmp_path:
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_server_is_driven_and_its_answers_compared(tmp_path: Path, port: int) -> None:
    words = server(tmp_path, port)
    code, said, found = evaluate(
        tmp_path, "--drive", f"{sys.executable} driver.py {port}", "--ready", f"tcp:{port}", "--", *words
    )
    assert code == 0, said
    assert found["verdict"] in ("gain", "loss", "no-gain") and "driver" in found["conditions"]["same"]
    assert (tmp_path / "out" / "runs" / "01-A" / "driver.stdout").read_text() == "hello\n" * 5
    assert nothing_listens(port) and not running(tmp_path)


def test_a_driver_that_fails_is_named_with_what_it_said(tmp_path: Path, port: int) -> None:
    words = server(tmp_path, port)
    drive = "sh -c 'echo no such page >&2; exit 3'"
    code, _, found = evaluate(tmp_path, "--drive", drive, "--ready", f"tcp:{port}", "--", *words)
    assert (code, found["verdict"]) == (1, "failed")
    assert "the driver of" in found["reason"] and "code 3 (no such page); see" in found["reason"]
    assert "runs/00-A/driver.stderr" in found["reason"]
    assert nothing_listens(port) and not running(tmp_path)


def test_a_driver_that_is_not_there_is_said_before_anything_starts(tmp_path: Path, port: int) -> None:
    words = server(tmp_path, port)
    code, said, _ = evaluate(tmp_path, "--drive", "./nosuch 1", "--ready", f"tcp:{port}", "--", *words)
    assert code == 1 and said.splitlines()[-1].startswith("peephole: --drive ./nosuch: not found"), said
    assert nothing_listens(port)


def test_a_server_that_is_never_ready_is_named_and_stopped(tmp_path: Path, port: int) -> None:
    code, _, found = evaluate(
        tmp_path, "--drive", "true", "--ready", f"tcp:{port}", "--ready-timeout", "0.3",
        "--", "sh", "-c", "echo still loading >&2; sleep 600 & wait",
    )  # fmt: skip
    assert (code, found["verdict"]) == (1, "failed")
    assert "sh: the server was not ready after 0.3 s (still loading); see" in found["reason"]
    assert not running(tmp_path)


def test_a_port_in_use_is_named_with_who_has_it(tmp_path: Path, port: int) -> None:
    words = server(tmp_path, port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        code, _, found = evaluate(tmp_path, "--drive", "true", "--ready", f"tcp:{port}", "--", *words)
    assert (code, found["verdict"]) == (1, "failed")
    assert f"port {port} is in use already, by " in found["reason"] and f"({os.getpid()})" in found["reason"]
    assert not running(tmp_path)


def test_what_is_ready_too_early_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "up").write_text("")
    job = Workload(("true",), tmp_path, dict(os.environ), drive=("true",), ready=("file", "up"))
    with pytest.raises(RunError, match="is there before the server starts; let --fresh remove it"):
        check_free(job)
    early = Workload(("true",), tmp_path, dict(os.environ), drive=("true",), ready=("exec", ("true",)))
    with pytest.raises(RunError, match="succeeds before the server starts"):
        check_free(early)


def test_a_server_on_ipv6_alone_is_ready_too(tmp_path: Path, port: int) -> None:
    with socket.socket(socket.AF_INET6) as s:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            s.bind(("::1", port))
        except OSError as e:
            pytest.skip(f"no IPv6 on loopback: {e.strerror}")
        s.listen()
        job = Workload(("true",), tmp_path, dict(os.environ), drive=("true",), ready=("tcp", str(port)))
        assert is_ready(job)


def driven(tmp_path: Path, port: int, driver: str, after: dict[str, str], same: tuple[Same, ...]) -> Evaluation:
    words = server(tmp_path, port)
    (tmp_path / "driver.py").write_text(driver)
    (tmp_path / "runs").mkdir()
    env = dict(os.environ)
    job = Workload(
        tuple(words), tmp_path, env, same=same, drive=(sys.executable, "driver.py", str(port)), ready=("tcp", str(port))
    )
    one = Evaluation(job, Pairs(job, env, env | after, tmp_path / "runs", seed=5, fixed=1))
    one.run()
    return one


def test_one_byte_of_a_servers_answer_is_the_verdict(tmp_path: Path, port: int) -> None:
    one = driven(tmp_path, port, DRIVER + FIGURES, {"SAYS": "hellO"}, parse_same((), driven=True))
    assert one.verdict == "different", one.reason
    assert (one.differences[0].what, one.differences[0].offset) == ("driver", 4)


def test_figures_may_differ_where_answers_must_not(tmp_path: Path, port: int) -> None:
    one = driven(tmp_path, port, DRIVER + FIGURES, {}, parse_same((), driven=True))
    assert one.verdict == "no-gain", one.reason
    assert "driver.requests_per_s" in one.figures
    assert not [w for w in one.result().warnings if w.name == "driver-varies"]


def test_a_driver_that_never_repeats_itself_is_left_out_unless_asked_for(tmp_path: Path, port: int) -> None:
    clock = DRIVER + "import time; print('took', time.monotonic(), 's')"
    one = driven(tmp_path, port, clock, {}, parse_same((), driven=True))
    assert one.verdict == "no-gain", one.reason
    assert "driver-varies" in [w.name for w in one.result().warnings]
    assert "driver" not in one.result().conditions["same"]
    (tmp_path / "again").mkdir()
    asked = driven(tmp_path / "again", port, clock, {}, parse_same(("driver",), driven=True))
    assert asked.verdict == "different" and "two unchanged runs" in asked.reason


def test_only_the_last_line_may_hold_figures(tmp_path: Path) -> None:
    out = tmp_path / "driver.stdout"
    out.write_text('{"a": 1}\nbody\n{"requests_per_s": 5}\n')
    assert driver_figures(out) == {"driver.requests_per_s": 5.0}
    assert out.read_bytes()[: said_bytes(out)] == b'{"a": 1}\nbody\n'
    out.write_text("no figures\n[1]\n")
    assert driver_figures(out) == {} and said_bytes(out) == len("no figures\n[1]\n")


FILES = """
import os, sys
for i in range(1200):
    with open('tree/f%04d' % i, 'w') as f: f.write('x' * 100)
with open('tree/f0999', 'r+') as f:
    f.seek(57); f.write(os.environ.get('BYTE', 'x'))
"""


def test_one_byte_in_the_thousandth_file_is_named_with_its_offset(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "runs").mkdir()
    env = dict(os.environ)
    tree = tmp_path / "tree"
    job = Workload((sys.executable, "-S", "-c", FILES), tmp_path, env, same=(Same("files", str(tree)),))
    one = Evaluation(job, Pairs(job, env, env | {"BYTE": "y"}, tmp_path / "runs", seed=5, fixed=1))
    one.run()
    assert one.verdict == "different"
    assert one.reason == f"outputs before and after differ: files:{tree}: {tree}/f0999, at byte 57"
    assert not list((tmp_path / "runs").rglob("files.blob"))
