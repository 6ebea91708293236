"""An interrupted `bench predict` leaves nothing behind but the figures it had."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench.predict import judged, told

ROOT = Path(__file__).parents[2]


def test_a_pair_is_told_with_whether_it_counts() -> None:
    found = {"before": 1.0, "saved": 0.5, "low": 0.48, "high": 0.52}
    assert told(judged(0.45, True, found)) == "estimated 0.450 s, saved 0.500 s (0.480 to 0.520): within 20 %"
    assert "outside" in told(judged(0.2, True, found))
    assert "too wide" in told(judged(0.5, True, found | {"low": 0.1}))


@pytest.mark.long
@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting an image needs root")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_unmounts_and_stops_what_it_measures(tmp_path: Path, number: signal.Signals) -> None:
    saved = tmp_path / "so-far.json"
    words = [sys.executable, "-m", "bench", "predict", "--only", "dd_512,gzip", "--save", str(saved), "--json"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    bench = subprocess.Popen(words, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert bench.stderr is not None and bench.stdout is not None
    place = ""
    for line in bench.stderr:
        place = line.split("working in ")[-1].strip() if "working in " in line else place
        if "gzip" in line:
            break  # the one before is done
    bench.send_signal(number)
    out, rest = bench.communicate(timeout=120)
    assert bench.returncode == 128 + number, rest
    assert out == ""
    kept = json.loads(saved.read_text())
    assert kept["complete"] is False
    assert "dd_512.saved_s" in kept["figures"] or "dd_512" in kept["conditions"]["skipped"]
    assert place and not Path(place).exists()
    assert place not in Path("/proc/mounts").read_text()
    assert [path.name for path in tmp_path.iterdir()] == [saved.name]
