"""One measured run. The recorder is never attached here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peephole.errors import RunError
from peephole.evaluate.ready import check_free
from peephole.evaluate.workload import Workload

LAST_BYTES = 1 << 16  # a line of figures is not longer
BESIDE = "beside.stdout"  # what ran beside an improved run says
_SUPERVISOR = Path(__file__).with_name("supervisor.py")

#: figures of a run in the result's order: name -> (unit, better)
FIGURES: dict[str, tuple[str, str]] = {
    "cpu": ("s", "lower"),
    "wall": ("s", "lower"),
    "system_cpu": ("s", "lower"),
    "flush": ("s", "lower"),
    "context_switches": ("calls", "lower"),
    "page_faults": ("faults", "lower"),
    "bytes_written": ("bytes", "lower"),
}
#: figures whose mean over a side's runs is taken, not their median: counts, and what comes in coarse ticks or bursts
MEANS = ("system_cpu", "flush", "bytes_written", "context_switches", "page_faults")


@dataclass(frozen=True)
class Run:
    """What one run cost (`figures`, by name, seconds or counts) and what came out of it."""

    folder: Path
    figures: dict[str, float]
    exit_code: int  # negative: died of that signal
    timed_out: bool = False
    drive_exit: int | None = None
    left_behind: int = 0
    killed: bool = False
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def stdout(self) -> Path:
        return self.folder / "stdout"

    @property
    def stderr(self) -> Path:
        return self.folder / "stderr"


def block_devices(folders: tuple[Path, ...]) -> list[str]:
    """MAJOR:MINOR of the disks below these folders; empty when one of them has none that counts its writes."""
    found = []
    for folder in folders:
        dev = folder.stat().st_dev
        name = f"{os.major(dev)}:{os.minor(dev)}"
        if Path(f"/sys/dev/block/{name}/stat").exists():
            found.append(name)
        elif os.major(dev) != 0 or not _is_memory(folder):
            return []
    return found


def _is_memory(folder: Path) -> bool:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    kinds = {os.fsdecode(m[1]): m[2] for m in mounts}
    for parent in (folder, *folder.parents):
        if str(parent) in kinds:
            return kinds[str(parent)] in ("tmpfs", "ramfs")
    return False


def _job(workload: Workload, env: dict[str, str], folder: Path, beside: tuple[str, ...]) -> dict[str, Any]:
    return {
        "argv": list(workload.command),
        "env": env,
        "cwd": str(workload.cwd),
        "streams": [str(workload.stdin), str(folder / "stdout"), str(folder / "stderr")],
        "timeout_s": workload.timeout_s,
        "grace_s": workload.grace_s,
        "user": workload.user,
        "beside": list(beside),
        "beside_streams": [os.devnull, str(folder / BESIDE), os.devnull],
        "drive": list(workload.drive),
        "drive_env": workload.env,
        "drive_streams": [os.devnull, str(folder / "driver.stdout"), str(folder / "driver.stderr")],
        "ready": workload.ready,
        "ready_timeout_s": workload.ready_timeout_s,
        "file_systems": [str(f) for f in workload.file_systems],
        "devices": block_devices(workload.file_systems),
    }


def _supervise(job: dict[str, Any]) -> dict[str, Any]:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPERVISOR)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    ) as supervisor:  # fmt: skip
        assert supervisor.stdin is not None and supervisor.stdout is not None
        try:
            supervisor.stdin.write(json.dumps(job).encode() + b"\n")
            supervisor.stdin.flush()
            answer = supervisor.stdout.read()
        except BrokenPipeError:
            answer = b""
        finally:
            # Also on ctrl-C: the closed pipe makes the supervisor end its tree; then wait for it.
            supervisor.stdin.close()
            supervisor.wait()
    if not answer:
        raise RunError(f"the supervisor of {job['argv'][0]} died (code {supervisor.returncode}); is memory short?")
    out: dict[str, Any] = json.loads(answer)
    return out


def freshen(workload: Workload) -> None:
    """Run the workload's --fresh command. Raises RunError when it fails."""
    if not workload.fresh:
        return
    try:
        done = subprocess.run(
            workload.fresh, cwd=workload.cwd, env=workload.env, stdin=subprocess.DEVNULL, capture_output=True
        )
    except OSError as e:
        raise RunError(f"--fresh {workload.fresh[0]}: {e.strerror}; give a command that can be run") from e
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it printed no error"]
        raise RunError(f"--fresh {workload.fresh[0]} ended with code {done.returncode}: {said[0]}")


def driver_figures(path: Path) -> dict[str, float]:
    """Figures that the driver reports: its last line of standard output, when that is a JSON object of numbers."""
    found = _figures_line(path)[0]
    return {
        f"driver.{name}": float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def said_bytes(path: Path) -> int:
    """How much of a driver's standard output comes before its line of figures."""
    return _figures_line(path)[1]


def _figures_line(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON object on the last line of a file, and where that line begins; an empty one and the file's size."""
    try:
        with path.open("rb") as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(max(0, size - LAST_BYTES))
            tail = f.read().rstrip()
        line = tail.rsplit(b"\n", 1)[-1]
        found = json.loads(line)
        begin = max(0, size - LAST_BYTES) + len(tail) - len(line)
    except FileNotFoundError:
        return {}, 0
    except (OSError, ValueError):
        return {}, size
    return (found, begin) if isinstance(found, dict) else ({}, size)


def unit_of(figure: str) -> tuple[str, str]:
    """Unit and which way is better. A driver's figure named `..._per_s` is better higher, any other lower."""
    if figure in FIGURES:
        return FIGURES[figure]
    return ("1/s", "higher") if figure.endswith("_per_s") else ("", "lower")


def run(workload: Workload, env: dict[str, str], folder: Path, beside: tuple[str, ...] = ()) -> Run:
    """Run the workload once in environment `env`; its streams go to fresh files in `folder`. `beside`, a command that
    ends with the process whose number is its last word, runs beside it; what it costs counts, too.

    The state is made fresh first. A command that fails or is killed by the timeout is a Run all the same: the caller
    judges. Raises RunError when it could not be started, or a server did not become ready.
    """
    folder.mkdir(parents=True, exist_ok=True)
    freshen(workload)
    check_free(workload)
    out = _supervise(_job(workload, env, folder, beside))
    if out["trouble"] is not None:
        raise RunError(f"{workload.command[0]}: {out['trouble']}{_hint(out, folder)}")
    figures = {
        "cpu": out["cpu_ns"] / 1e9,
        "wall": out["wall_ns"] / 1e9,
        "system_cpu": out["system_cpu_ns"] / 1e9,
        "flush": out["flush_ns"] / 1e9,
        "context_switches": float(out["context_switches"]),
        "page_faults": float(out["page_faults"]),
        "bytes_written": float(out["written"]),
    }
    if workload.drive:
        figures |= driver_figures(folder / "driver.stdout")
    return Run(
        folder, figures, out["exit"], out["timed_out"], out["drive_exit"], out["left_behind"], out["killed"], out
    )


def last_words(stderr: Path) -> str:
    """The last line that a failed program printed, for a message: ` (like this)`, or nothing."""
    try:
        with stderr.open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = f.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f" ({lines[-1][:200]})" if lines else ""


def _hint(out: dict[str, Any], folder: Path) -> str:
    return f"{last_words(folder / 'stderr')}; see {folder / 'stderr'}" if out["started"] else ""
