"""The launcher: signals, stops, streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def start(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "peephole", "improve", "--rules", "none", "--", *command], stdout=subprocess.PIPE
    )


def line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "QUIT"])
def test_a_signal_reaches_the_command(name: str) -> None:
    process = start("sh", "-c", f"trap 'echo got; exit 5' {name}; echo ready; while :; do sleep 0.05; done")
    assert line(process) == b"ready\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert line(process) == b"got\n"
    assert process.wait(30) == 5


def test_death_by_a_signal_is_reported() -> None:
    process = start("sh", "-c", "echo ready; exec sleep 60")
    assert line(process) == b"ready\n"
    time.sleep(0.2)
    process.terminate()
    assert process.wait(30) == 128 + 15


def test_an_ignored_sigchld_does_not_lose_the_exit_code() -> None:
    words = [sys.executable, "-m", "peephole", "improve", "--rules", "none", "--", "sh", "-c", "exit 6"]
    run = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    assert subprocess.run([sys.executable, "-c", run, *words], timeout=60).returncode == 6


def test_a_stopped_command_stops_the_launcher_and_goes_on_with_it() -> None:
    process = start("sh", "-c", "echo ready; kill -STOP $$; echo on")
    assert line(process) == b"ready\n"
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    assert line(process) == b"on\n"
    assert process.wait(30) == 0


def test_streams_and_mask_are_the_callers(tmp_path: Path) -> None:
    ask = "grep -h -E 'SigBlk|SigIgn' /proc/self/status; ls /proc/self/fd | wc -l"
    plain = subprocess.run(["sh", "-c", ask], stdout=subprocess.PIPE).stdout
    process = start("sh", "-c", ask)
    assert process.communicate()[0] == plain


LAYOUT = """
#include <stddef.h>
#include <stdio.h>
#include <peephole/abi_control.h>
#include <peephole/abi_sites.h>
int main(void)
{
    printf("%zu %zu %zu %zu %d %d\\n", sizeof(struct ph_control), offsetof(struct ph_control, rules),
           offsetof(struct ph_control, mounts), offsetof(struct ph_control, uncovered), PH_WHY_COUNT,
           PH_UNCOVERED_SANDBOX);
    return 0;
}
"""


def test_the_control_page_is_laid_out_as_in_c(tmp_path: Path) -> None:
    import ctypes

    from peephole.improve import control

    header = Path(__file__).resolve().parents[2] / "core" / "include"
    source, program = tmp_path / "layout.c", tmp_path / "layout"
    source.write_text(LAYOUT)
    subprocess.run(["gcc", "-I", str(header), "-o", str(program), str(source)], check=True)
    said = subprocess.run([str(program)], capture_output=True, check=True).stdout.split()
    page = control.Page
    offsets = [ctypes.sizeof(page), page.rules.offset, page.mounts.offset, page.uncovered.offset]
    assert [int(word) for word in said] == [*offsets, len(control.WHYS), len(control.UNCOVERED) - 1]
