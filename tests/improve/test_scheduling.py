"""Real-time priority from outside, for threads that wake on a period."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from peephole.improve import scheduling

PEEPHOLE = [sys.executable, "-m", "peephole"]
#: wakes 500 times a second for a while, then says how it is scheduled
PERIODIC = """
import os, sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and not os.sched_getscheduler(0): time.sleep(0.002)
print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(0).sched_priority, flush=True)
child = os.fork()
if child == 0:
    print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
BUSY = """
import os, time
end = time.monotonic() + 1.5
while time.monotonic() < end: pass
print(os.sched_getscheduler(0))
"""

needs_priority = pytest.mark.skipif(
    not scheduling.may_schedule(), reason="real-time priority needs CAP_SYS_NICE or ulimit -r"
)


def improve(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PEEPHOLE, "improve", "--rules", "realtime_audio", *words], capture_output=True, text=True, timeout=60
    )


@needs_priority
def test_a_thread_that_wakes_on_a_period_gets_priority_and_its_children_do_not(tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    done = improve("--allow", "timing", "--stats", str(stats), "--", sys.executable, "-I", "-S", "-c", PERIODIC, "20")
    assert done.returncode == 0, done.stderr
    mine, child = done.stdout.splitlines()
    assert mine == f"{os.SCHED_FIFO} {scheduling.PRIORITY}" and child == str(os.SCHED_OTHER)
    (given,) = json.loads(stats.read_text())["scheduling"]
    assert given["kind"] == "scheduling" and given["wakes_per_s"] > 50 and given["taken_back"] is None


@needs_priority
def test_a_busy_thread_gets_nothing() -> None:
    done = improve("--allow", "timing", "--", sys.executable, "-I", "-S", "-c", BUSY)
    assert done.returncode == 0 and done.stdout.strip() == str(os.SCHED_OTHER)


def test_without_consent_it_is_refused() -> None:
    done = improve("--", "true")
    assert done.returncode == 125 and "--allow timing" in done.stderr and "Traceback" not in done.stderr


@needs_priority
def test_attach_gives_and_detach_takes_back() -> None:
    wait = "import time\nwhile True: time.sleep(0.002)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", wait]) as running:
        try:
            words = ["attach", str(running.pid), "--rules", "realtime_audio", "--allow", "timing", "--json"]
            deadline_s = time.monotonic() + 30
            given: list[object] = []
            while not given and time.monotonic() < deadline_s:  # on a busy machine a second may not be steady
                done = subprocess.run([*PEEPHOLE, *words], capture_output=True, text=True, check=True)
                given = json.loads(done.stdout)["scheduling"]
            assert os.sched_getscheduler(running.pid) == scheduling.POLICY
            subprocess.run([*PEEPHOLE, "detach", str(running.pid)], check=True, capture_output=True)
            assert os.sched_getscheduler(running.pid) == os.SCHED_OTHER
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("windows", "expected"), [([20, 20], False), ([20, 21, 19], True), ([5, 5, 5], False), ([100, 10, 90], False)]
)
def test_periodic_means_often_and_steadily(windows: list[int], expected: bool) -> None:
    assert scheduling.periodic(windows) is expected
