"""What the interposer costs: nanoseconds a call, milliseconds a start, and how many call sites it can patch.

Plain, with every site patched and no rule, with every rule acting, and other ways to interpose; all interleaved.
How long threads stand still when the runtime is put into a running process and taken out.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peephole
from peephole import native
from peephole.improve.arm import Armed, arm
from peephole.improve.live import attach, detach
from peephole.improve.sites import system_libraries

CALLS = 50_000
TRAPPED_CALLS = 2_000  # a trap takes some 2 us
ROUNDS = 9  # of each kind of call, interleaved; the least counts
STARTS = 100
COLD_STARTS = 5
ATTACHES = 25
ATTACH_THREADS = (1, 8, 40, 50)
PARTS = ("calls", "starts", "sites", "attaches", "trapped")
PEERS = {"sud_allow": CALLS, "seccomp_allow": CALLS, "sud_trap": 2000, "seccomp_notify": 500}
COMMANDS = {
    "true": ["/bin/true"],
    "bash": ["/bin/bash", "-c", ":"],
    "python": ["/usr/bin/python3", "-c", "pass"],
}


def _rules() -> list[str]:
    return sorted(path.parent.name for path in (Path(peephole.__file__).parent / "rules").glob("*/rule.py"))


def _call_ns(what: str, env: dict[str, str], file: Path, calls: int = CALLS) -> float:
    said = subprocess.run(
        [str(native.path("cost_calls")), what, str(calls), str(file)], env=env, capture_output=True, check=True
    ).stdout.split()
    return float(said[0])


def _start_ms(command: list[str], env: dict[str, str]) -> float:
    begin = time.perf_counter_ns()
    os.waitpid(os.posix_spawn(command[0], command, env), 0)
    return (time.perf_counter_ns() - begin) / 1e6


def _interleaved(
    sides: dict[str, dict[str, str]], rounds: int, measure: Callable[[dict[str, str]], float]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, env in sides.items():
            found[side].append(measure(env))
    return found


def _tiers() -> dict[str, float]:
    """How many sites of this libc, ld.so and the Go tool each kind of patch takes."""
    figures: dict[str, float] = {}
    go = shutil.which("go")
    paths = system_libraries(Path("/lib64/ld-linux-x86-64.so.2"), native.path("peephole-sites"))
    for path in [*paths, *([Path(go).resolve()] if go else [])]:
        last = subprocess.run(
            [str(native.path("peephole-sites")), str(path)], capture_output=True, text=True, check=True
        ).stdout.splitlines()[-1]
        words = last.replace(":", "").replace(";", "").replace(",", "").split()
        name = path.name.split(".")[0].split("-")[0]
        figures[f"sites_{name}"] = float(words[1])
        for tier in ("none", "T1", "T1r", "T1f", "T2"):
            figures[f"sites_{name}_{tier}"] = float(words[words.index(tier) + 1])
        figures[f"sites_{name}_coverable_share"] = 1 - figures[f"sites_{name}_none"] / figures[f"sites_{name}"]
    return figures


def _trapped(env: dict[str, str], folder: Path) -> dict[str, float]:
    """Calls that are passed and answered with `--engine sud`: in all, not what is added."""
    return {
        f"{what}_trapped_ns": min(_call_ns(what, env, folder / "file", TRAPPED_CALLS) for _ in range(3))
        for what in ("getppid", "write")
    }


def _calls(sides: dict[str, dict[str, str]], folder: Path) -> dict[str, float]:
    figures: dict[str, float] = {}
    for what in ("getppid", "syscall", "lseek", "pread", "write"):
        found = _interleaved(sides, ROUNDS, lambda env, what=what: _call_ns(what, env, folder / "file"))  # type: ignore[misc]
        for side, values in found.items():
            figures[f"{what}_{side}_ns"] = min(values)
    for peer, values in _peers(sides["plain"], folder).items():
        figures[f"getppid_{peer}_ns"] = min(values)
    figures["no_rule_ns"] = figures["getppid_none_ns"] - figures["getppid_plain_ns"]
    figures["hook_ns"] = figures["syscall_rules_ns"] - figures["syscall_plain_ns"]
    figures["forwarded_ns"] = figures["lseek_rules_ns"] - figures["lseek_plain_ns"]
    figures["answered_ns"] = figures["write_rules_ns"]
    return figures


WRAPPER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
pid_t getppid(void)
{
	static pid_t (*real)(void);
	if (!real)
		real = (pid_t (*)(void))dlsym(RTLD_NEXT, "getppid");
	return real();
}
"""


def _peers(env: dict[str, str], folder: Path) -> dict[str, list[float]]:
    """The same call under other ways to interpose; what does not work here is left out."""
    peers, calls = str(native.path("cost_peers")), str(native.path("cost_calls"))
    ways = {peer: ([peers, peer, str(n)], env) for peer, n in PEERS.items()}
    if shutil.which("strace"):
        ways["strace"] = (["strace", "-f", "-o", "/dev/null", calls, "getppid", "200", "-"], env)
    if shutil.which("gcc"):
        (folder / "wrapper.c").write_text(WRAPPER)
        library = folder / "wrapper.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, folder / "wrapper.c"], check=True)
        ways["ld_preload"] = ([calls, "getppid", str(CALLS), "-"], env | {"LD_PRELOAD": str(library)})
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for peer, (words, theirs) in ways.items():
            done = subprocess.run(words, env=theirs, capture_output=True)
            if done.returncode == 0:
                found.setdefault(peer, []).append(float(done.stdout.split()[0]))
    return found


def _attaches() -> dict[str, float]:
    """Medians of how long all threads stand still, by the number of threads; without a number: 50 of them."""
    figures: dict[str, float] = {}
    for threads in ATTACH_THREADS:
        words = [str(native.path("cost_peers")), "threads", str(threads)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline()
            changes = [(attach(process.pid, _rules()), detach(process.pid)) for _ in range(ATTACHES)]
            process.communicate()
        for i, what in enumerate(("attach", "detach")):
            figures[f"{what}_stop_{threads}_ms"] = statistics.median(pair[i]["still_ms"] for pair in changes)
            figures[f"{what}_one_thread_{threads}_ms"] = statistics.median(pair[i]["lent_ms"] for pair in changes)
            figures[f"{what}_stop_ms"] = figures[f"{what}_stop_{threads}_ms"]
    return figures


def _cold() -> dict[str, float]:
    """What a start costs more when the lists of call sites have to be made first: the least of a few."""
    took: dict[str, list[float]] = {"warm": [], "cold": []}
    before = os.environ.get("XDG_CACHE_HOME")
    for _ in range(COLD_STARTS):
        for kind, times in took.items():
            with tempfile.TemporaryDirectory() as folder:
                if kind == "cold":
                    os.environ["XDG_CACHE_HOME"] = folder
                begin = time.perf_counter_ns()
                arm(_rules()).close()
                times.append((time.perf_counter_ns() - begin) / 1e6)
            if before is None:
                os.environ.pop("XDG_CACHE_HOME", None)
            else:
                os.environ["XDG_CACHE_HOME"] = before
    return {"site_lists_cold_ms": min(took["cold"]) - min(took["warm"])}


def _starts(sides: dict[str, dict[str, str]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    cold = _cold()
    for name, command in COMMANDS.items():
        if not Path(command[0]).exists():
            continue
        found = _interleaved(sides, STARTS, lambda env, command=command: _start_ms(command, env))  # type: ignore[misc]
        medians = {side: statistics.median(values) for side, values in found.items()}
        for side, value in medians.items():
            figures[f"start_{name}_{side}_ms"] = value
        figures[f"start_{name}_warm_ms"] = medians["rules"] - medians["plain"]
        figures[f"start_{name}_every_site_ms"] = medians["none"] - medians["plain"]
        figures[f"start_{name}_cold_ms"] = figures[f"start_{name}_warm_ms"] + cold["site_lists_cold_ms"]
    return figures | cold


def options(words: list[str]) -> argparse.Namespace:
    """`--only PART,...`: these."""
    parser = argparse.ArgumentParser(prog="python -m bench interpose_cost")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    given = parser.parse_args(words)
    given.only = given.only.split(",")
    if unknown := set(given.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return given


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark. `*_ns` and `start_*_warm_ms` without a side's name are what is added; answered is absolute."""
    # These two skew Python's own start.
    unset = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
    base = {name: value for name, value in os.environ.items() if name not in unset}
    with (
        tempfile.TemporaryDirectory() as folder,
        arm([]) as none,
        arm(_rules()) as rules,
        arm(_rules(), trapping=True) as trapped,
    ):
        sides = {"plain": base, "none": none.environment(base), "rules": rules.environment(base)}
        parts: dict[str, Callable[[], dict[str, float]]] = {
            "calls": lambda: _calls(sides, Path(folder)),
            "starts": lambda: _starts(sides),
            "sites": lambda: _tiers() | {"sites_patched_share": _share(none, sides["none"])},
            "attaches": _attaches,
            "trapped": lambda: _trapped(trapped.environment(base), Path(folder)),
        }
        figures: dict[str, float] = {}
        for part in given.only:
            figures |= parts[part]()
        kind = Path(folder).stat().st_dev
    return {
        "figures": figures,
        "conditions": {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "libc": " ".join(platform.libc_ver()),
            "rules": _rules(),
            "calls": CALLS,
            "rounds": ROUNDS,
            "starts": STARTS,
            "device": f"{os.major(kind)}:{os.minor(kind)}",
        },
    }


def _share(armed: Armed, env: dict[str, str]) -> float:
    subprocess.run(["true"], env=env, check=True)
    stats = armed.stats()
    return stats["sites_patched"] / max(1, stats["sites_patched"] + stats["sites_unpatched"])
