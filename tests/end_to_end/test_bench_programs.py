"""The benches of real programs: every one runs, compares outputs, and finds nothing wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--pairs", "1", "--no-control")


def bench(*words: str) -> dict[str, Any]:
    """Figures and conditions of a short bench; skips with its reason where a program can't be had."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")}
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, *SHORT, "--json"],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=290,
    )
    if "not installed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    trouble = {name: why for name, why in found["conditions"].items() if name.endswith(".trouble")}
    assert not trouble, trouble
    return found


@pytest.mark.slow
def test_squid_serves_every_byte_under_the_interposer() -> None:
    found = bench("squid", "--load", "mixed", "--clients", "8", "--scale", "0.1")["figures"]
    assert found["wrong_bytes"] == 0 and found["mixed_8c.verdict"] in ("gain", "no-gain", "loss")
    assert 10 < found["mixed_8c.calls_before"] < 60


@pytest.mark.slow
def test_tune_finds_what_squid_wastes() -> None:
    found = bench("squid", "--load", "tuned", "--clients", "8", "--scale", "0.5")
    assert found["figures"]["wrong_bytes"] == 0
    assert {"gather_sends", "epoll_shadow"} <= found["conditions"]["tuned_8c.rules"].keys()


@pytest.mark.slow
def test_postgresql_stays_consistent_under_the_interposer() -> None:
    found = bench("postgresql", "--load", "tpcb", "--clients", "8", "--scale", "0.1")["figures"]
    assert found["tpcb_8c.tps_ratio"] > 0 and found["flush_ms"] > 0
    assert 20 < found["tpcb_8c.calls_before"] < 100


@pytest.mark.long
@pytest.mark.parametrize("load", ["memory_hit", "disk_hit", "store_evict", "connect_bulk", "connect_small"])
def test_every_load_of_squid_is_right(load: str) -> None:
    found = bench("squid", "--load", load, "--scale", "0.1")["figures"]
    assert found["wrong_bytes"] == 0 and found[f"{load}_1c.calls_before"] > 0 and found[f"{load}_8c.cpu_ratio"] > 0


@pytest.mark.long
@pytest.mark.parametrize("load", ["select", "prepared", "insert", "seqscan"])
def test_every_load_of_postgresql_runs(load: str) -> None:
    found = bench("postgresql", "--load", load, "--scale", "0.1")["figures"]
    assert found[f"{load}_1c.cpu_ratio"] > 0 and found[f"{load}_8c.tps_ratio"] > 0


@pytest.mark.long
def test_xpdf_shows_the_same_pixels() -> None:
    found = bench("xpdf")["figures"]
    assert found["xpdf.differing_pages"] == 0 and found["pdfimages.syscalls_before"] > 40_000


@pytest.mark.long
def test_firefox_loads_its_pages() -> None:
    found = bench("firefox", "--load", "fresh")["figures"]
    assert found["fresh.bytes_before"] > 1 << 20


@pytest.mark.long
def test_ecasound_renders_the_same_and_jack_runs() -> None:
    found = bench("audio")["figures"]
    assert found["ecasound_clip.wall_before"] > 0.4 and found["jack.xruns_before"] >= 0


@pytest.mark.long
@pytest.mark.root
def test_an_improved_squid_can_be_stopped_killed_and_attached_to() -> None:
    found = bench("squid", "--load", "clean_stop", "--load", "kill", "--load", "attach", "--moments", "3")["figures"]
    assert found["wrong_bytes"] == 0 and found["attach.failed"] == 0
    assert found["clean_stop.hit_share"] > 0.9 and found["clean_stop.invalid_entries"] == 0
    assert found["kill.moments"] == 3 and found["kill.invalid_entries"] == 0 and found["kill.failed_after"] == 0


@pytest.mark.long
@pytest.mark.root
def test_an_improved_postgresql_comes_back_with_all_that_it_acknowledged() -> None:
    words = ("--load", "kill", "--load", "power_cut", "--moments", "2")
    found = bench("postgresql", *words, "--rules", "coalesce_writes,truncate_in_place")["figures"]
    assert found["kill.acknowledged"] > 0 and found["kill.lost"] == 0
    assert found["power_cut.acknowledged"] > 0 and found["power_cut.lost"] == 0


@pytest.mark.long
@pytest.mark.root
def test_no_page_of_an_improved_postgresql_overtakes_its_log() -> None:
    found = bench("postgresql", "--load", "hostile", "--moments", "4", "--rules", "sync_window")["figures"]
    assert found["hostile.acknowledged"] > 0 and found["hostile.pages_too_new"] == 0
