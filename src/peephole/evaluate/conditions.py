"""Under which conditions figures were measured: shown with every result."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from peephole import __version__
from peephole.evaluate import statistics
from peephole.evaluate.pairs import Pairs
from peephole.evaluate.run import block_devices
from peephole.evaluate.workload import Workload


def machine() -> dict[str, Any]:
    """Kernel, processors, memory, load."""
    info = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.machine())
    flags = next((line for line in info if line.startswith("flags")), "")
    return {
        "kernel": platform.release(),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": model,
        "virtual_machine": "hypervisor" in flags.split(),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "load_average": round(os.getloadavg()[0], 2),
        "peephole": __version__,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def mount_of(folder: Path) -> dict[str, str]:
    """The mount that `folder` lies on: its point, type and options."""
    rows = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    points = {_unescape(row[1]): row for row in rows}
    real = folder.resolve()
    row = next((points[str(p)] for p in (real, *real.parents) if str(p) in points), None)
    if row is None:
        return {"point": "/", "fstype": "unknown", "options": ""}
    return {"point": _unescape(row[1]), "fstype": row[2], "options": row[3], "journal": _journal(row[0], row[2])}


def _unescape(name: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        name = name.replace(code, char)
    return name


def _journal(device: str, fstype: str) -> str:
    if fstype != "ext4":
        return "unknown"
    name = Path(device).resolve().name
    has = any(entry.name.startswith(name + "-") for entry in Path("/proc/fs/jbd2").glob("*"))
    return "yes" if has else "no"


def of_workload(workload: Workload) -> dict[str, Any]:
    """What is held alike between runs, and where the figures come from."""
    return {
        "cwd": str(workload.cwd),
        "user": workload.user[0] if workload.user else os.geteuid(),
        "stdin": str(workload.stdin),
        "stdout": "a fresh regular file each run",
        "same": [str(same) for same in workload.same],
        "fresh": list(workload.fresh),
        "timeout_s": workload.timeout_s,
        "drive": list(workload.drive),
        "file_systems": [mount_of(folder) for folder in workload.file_systems],
        "bytes_written_from": "writes of " + ", ".join(block_devices(workload.file_systems))
        if block_devices(workload.file_systems)
        else "pgpgout of the whole machine",
    }


def of_pairs(pairs: Pairs) -> dict[str, Any]:
    """How the pairs were made and where their figures come from."""
    why = pairs.done[0].before.raw["no_cgroup"] if pairs.done else None
    return {
        "seed": pairs.seed,
        "order": "random within each pair, turns within a pair alternate, one warm-up pair left out",
        "recorder": "none during timed runs",
        "smallest_effect": statistics.SMALLEST_EFFECT,
        "confidence": statistics.CONFIDENCE,
        "looks": "one" if pairs.fixed is not None else f"after {', '.join(map(str, statistics.LOOKS))} pairs",
        "error_of_the_last_look": round(statistics.nominal_alpha(len(pairs.done), pairs.fixed is not None), 5),
        "runs_a_side": pairs.repeat or 1,
        "cpu_from": "cgroup cpu.stat of the tree" if why is None else f"wait4 of the tree's processes ({why})",
        "system_cpu_from": f"/proc/stat, ticks of {1000 // os.sysconf('SC_CLK_TCK')} ms, "
        "the whole machine, closing syncfs included",
        "flush_from": "syncfs of the file systems below, after each run",
    }
