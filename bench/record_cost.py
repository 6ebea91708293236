"""What recording costs, ours and others', in the same interleaved rounds.

`{getppid,pread,ofrc}_ns_ENGINE` is CPU time of the recorded program a call, added to `…_ns_bare`;
`{make,tar,clone}_cpu_ratio_ENGINE` is CPU time of a whole job with its recorder over that of the bare job, the median
of the rounds' ratios (our own without the conversion, whose speed is `convert_events_per_s`). A tool that does not run
here is left out, and `conditions` says why. `--only PART,…` takes some of the parts, `--recorders NAME,…` some of the
recorders (bare is always among them).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole import native
from peephole.improve.arm import arm
from peephole.improve.record import INPROCESS
from peephole.observe.ring import new_ring

ROUNDS = 5
JOB_ROUNDS = 3
BURST = 1_000_000
#: calls of the three small loops; slow recorders get fewer
CALLS = {"getppid": 200_000, "pread": 100_000, "ofrc": 25_000}
#: make compiles so many files of so many functions, tar (some five calls a file) and clone read so many
SOURCES, FUNCTIONS, FILES, COMMITTED = 32, 150, 45_000, 4_000
JOBS = ("make", "tar", "clone")
PARTS = (*CALLS, "bystander", "burst", *JOBS)


@dataclass(frozen=True)
class Recorder:
    """A way to run a command recorded: its words before the command, and how much slower than ours it is."""

    name: str
    words: Callable[[Path], list[str]]
    slower: int = 1
    jobs: bool = True
    needs: str | None = None


def _ours(*options: str) -> Callable[[Path], list[str]]:
    def words(folder: Path) -> list[str]:
        spill = folder / "spill"
        shutil.rmtree(spill, ignore_errors=True)
        spill.mkdir()
        return [str(native.path("peephole-record")), "--out", str(spill), *options, "--"]

    return words


def _perf(folder: Path) -> list[str]:
    return ["perf", "record", "-q", "-m16M", "-e", "raw_syscalls:*", "-o", str(folder / "perf.data"), "--"]


def _bpftrace(folder: Path) -> list[str]:
    return ["bpftrace", "-q", "-e", "tracepoint:raw_syscalls:sys_exit { @[args->id] = count(); }", "-c"]


RECORDERS = (
    Recorder("bare", lambda folder: []),
    Recorder("ebpf", _ours()),
    Recorder("ebpf-full", _ours("--full")),
    Recorder("ebpf-stacks", _ours("--stacks")),
    Recorder("inprocess", lambda folder: []),  # without words: see _inprocess()
    Recorder(
        "ptrace", lambda f: ["strace", "-f", "-ttt", "-T", "-yy", "-xx", "-s", "256", "-o", str(f / "t"), "--"], 20
    ),
    Recorder("strace", lambda folder: ["strace", "-f", "-o", str(folder / "strace.txt"), "--"], 20),
    Recorder("perf", _perf, 4, needs="perf"),
    Recorder("bpftrace", _bpftrace, 2, jobs=False, needs="bpftrace"),
)


def _command(recorder: Recorder, folder: Path, command: list[str]) -> list[str]:
    words = recorder.words(folder)
    # bpftrace wants its command as one word
    return [*words, " ".join(command)] if recorder.name == "bpftrace" else [*words, *command]


def _why_not(recorder: Recorder, folder: Path) -> str | None:
    if recorder.needs and shutil.which(recorder.needs) is None:
        return f"{recorder.needs} is not installed"
    if recorder.name == "inprocess":
        return INPROCESS.why_not()
    done = subprocess.run(_command(recorder, folder, ["/bin/true"]), capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _call_ns(recorder: Recorder, what: str, folder: Path, file: Path) -> float:
    command = [str(native.path("cost_record")), what, str(CALLS[what] // recorder.slower), str(file)]
    if recorder.name == "inprocess":
        said = _inprocess(folder, command, stderr=subprocess.PIPE).stderr.decode()
    else:
        words = _command(recorder, folder, command)
        said = subprocess.run(words, capture_output=True, text=True, env=_environment()).stderr
    for line in said.splitlines():
        if line.replace(".", "", 1).isdigit():
            return float(line)
    raise RuntimeError(f"{recorder.name}: {said.strip()}")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _cpu_s(recorder: Recorder, folder: Path, command: list[str]) -> float:
    """CPU time of the command with its recorder, less what comes when it has ended."""
    before = os.times()
    if recorder.name == "inprocess":  # without Python's own start; that its reader makes rows is in it
        _inprocess(folder, command)
    else:
        words = _command(recorder, folder, command)
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment(), check=False)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _inprocess(
    folder: Path, command: list[str], stderr: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[bytes]:
    """Run the command recorded by the interposer; the spill is left as its reader made it."""
    spill = folder / "spill"
    shutil.rmtree(spill, ignore_errors=True)
    spill.mkdir()
    with arm([], runtime_dir=Path("/dev/shm")) as armed:
        ring = new_ring(armed.folder / "ring", spill)
        try:
            armed.start_recording(ring.path)
            environment = armed.environment(_environment())
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment, check=False)
            ring.finish()
            return done
        finally:
            ring.close()


@contextmanager
def _jobs(folder: Path) -> Iterator[dict[str, list[str]]]:
    sources, tree, repository = folder / "sources", folder / "tree", folder / "repository"
    for made in (sources, tree, repository):
        made.mkdir()
    names = [f"s{i}" for i in range(SOURCES)]
    for i, name in enumerate(names):
        (sources / f"{name}.c").write_text(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <pthread.h>\n#include <math.h>\n"
            + "".join(
                f'int f{i}_{j}(int x) {{ return printf("%d", x + {j}) + (int)strlen("{j}"); }}\n'
                for j in range(FUNCTIONS)
            )
        )
    rules = "".join(f"{name}.o: {name}.c\n\tcc -O1 -c -o $@ $<\n" for name in names)
    (sources / "Makefile").write_text(f"all: {' '.join(f'{name}.o' for name in names)}\n{rules}")
    for i in range(FILES):
        (tree / f"file{i}").write_bytes(b"x" * (i % 3000))
    for i in range(COMMITTED):
        (repository / f"file{i}").write_bytes(str(i).encode() * (i % 500))
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@x", "-c", "gc.auto=0"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True, stdout=subprocess.DEVNULL)
    yield {
        "make": ["make", "-B", "-j2", "-C", str(sources)],
        "tar": ["tar", "cf", str(folder / "tree.tar"), "-C", str(folder), "tree"],
        "clone": ["sh", "-c", f"rm -rf {folder}/clone && git clone -q --no-hardlinks {repository} {folder}/clone"],
    }


def _small(parts: list[str], recorders: list[Recorder], folder: Path) -> dict[str, float]:
    file = folder / "file"
    file.write_bytes(b"x" * 100_000)
    figures: dict[str, float] = {}
    for what in filter(CALLS.__contains__, parts):
        found: dict[str, list[float]] = {r.name: [] for r in recorders}
        for _ in range(ROUNDS):
            for recorder in recorders:
                found[recorder.name].append(_call_ns(recorder, what, folder, file))
        bare = min(found["bare"])
        for name, values in found.items():
            figures[f"{what}_ns_{name}"] = min(values) - (0 if name == "bare" else bare)
    return figures


def _large(parts: list[str], recorders: list[Recorder], folder: Path) -> dict[str, float]:
    figures: dict[str, float] = {}
    with _jobs(folder) as jobs:
        for job in filter(JOBS.__contains__, parts):
            command = jobs[job]
            found: dict[str, list[float]] = {r.name: [] for r in recorders if r.jobs}
            for _ in range(JOB_ROUNDS):
                for recorder in recorders:
                    if recorder.jobs:
                        found[recorder.name].append(_cpu_s(recorder, folder, command))
            for name, values in found.items():
                if name != "bare":
                    ratios = [value / bare for value, bare in zip(values, found["bare"], strict=True)]
                    figures[f"{job}_cpu_ratio_{name}"] = statistics.median(ratios)
            figures[f"{job}_cpu_s_bare"] = statistics.median(found["bare"])
        if "tar" in parts:
            figures |= _captures(recorders, folder, jobs["tar"])
    return figures


def _captures(recorders: list[Recorder], folder: Path, command: list[str]) -> dict[str, float]:
    """Bytes an event and what was lost, of a tar: our captures, and the others' files."""
    figures: dict[str, float] = {}
    files = {"strace": "strace.txt", "ptrace": "t", "perf": "perf.data"}
    calls = 1
    for recorder in recorders:
        subprocess.run(_command(recorder, folder, command), capture_output=True)
        if recorder.name.startswith("ebpf"):
            events, size, lost = _convert(folder / "spill", folder / f"{recorder.name}.capture")
            calls = events
            figures["tar_calls"] = events
            figures[f"bytes_per_event_{recorder.name}"] = size / events
            figures[f"lost_{recorder.name}"] = lost
        elif recorder.name in files:
            figures[f"bytes_per_event_{recorder.name}"] = (folder / files[recorder.name]).stat().st_size / calls
    return figures


def _convert(spill: Path, out: Path) -> tuple[int, int, int]:
    from peephole.observe import ebpf
    from peephole.observe.capture import write_capture
    from peephole.observe.convert import convert
    from peephole.observe.launch import Launch

    tables = convert(spill)
    meta = ebpf.meta_of(tables, "ebpf", Launch(["bench"]), None, None)
    capture = write_capture(out, tables.calls, tables.processes, tables.gaps, meta, None, tables.extra)
    return meta.events, sum(path.stat().st_size for path in capture.folder.iterdir()), meta.lost


def _burst(folder: Path) -> dict[str, float]:
    words = [*_ours()(folder), str(native.path("calls_many")), "calls", str(BURST)]
    subprocess.run(words, check=True)
    end = json.loads((folder / "spill" / "end.json").read_text())
    importlib.import_module("peephole.observe.convert")  # what a process pays once is no event's
    importlib.import_module("pyarrow.parquet")
    begin = time.perf_counter()
    events, _, lost = _convert(folder / "spill", folder / "burst.capture")
    speed = events / (time.perf_counter() - begin)
    return {
        "burst_events": BURST,
        "burst_lost": lost,
        "burst_lost_by_the_ring": sum(cpu[1] for cpu in end["cpus"]),
        "convert_events_per_s": speed,
    }


def _bystander(folder: Path) -> float:
    """What a process that is not observed pays a getppid while another is."""
    file = folder / "file"
    bare = Recorder("bare", lambda f: [])
    found: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(ROUNDS):
        found[False].append(_call_ns(bare, "getppid", folder, file))
        with subprocess.Popen([*_ours()(folder), "sleep", "60"]) as recorder:
            while not (folder / "spill" / "begin.json").exists():
                time.sleep(0.01)
            time.sleep(0.1)
            found[True].append(_call_ns(bare, "getppid", folder, file))
            recorder.terminate()
    return min(found[True]) - min(found[False])


def options(words: list[str]) -> argparse.Namespace:
    """`--only PART,...` and `--recorders NAME,...`: these."""
    parser = argparse.ArgumentParser(prog="python -m bench record_cost")
    names = [r.name for r in RECORDERS]
    parser.add_argument("--only", type=_among(PARTS), default=PARTS, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--recorders", type=_among(names), default=names, help=f"some of {','.join(names)}")
    return parser.parse_args(words)


def _among(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        given = text.split(",")
        odd = [name for name in given if name not in known]
        if odd:
            raise argparse.ArgumentTypeError(f"{odd[0]} is none of {', '.join(known)}")
        return given

    return names


def measure(given: argparse.Namespace | None = None) -> dict[str, Any]:
    """Run the benchmark; all of it takes about five minutes."""
    given = given or options([])
    parts = [part for part in PARTS if part in given.only]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        asked = [r for r in RECORDERS if r.name == "bare" or r.name in given.recorders]
        reasons = {r.name: _why_not(r, folder) for r in asked}
        recorders = [r for r in asked if reasons[r.name] is None]
        figures = _small(parts, recorders, folder)
        if "bystander" in parts:
            figures["bystander_ns"] = _bystander(folder)
        if "burst" in parts:
            figures |= _burst(folder)
        if set(parts) & set(JOBS):
            figures |= _large(parts, recorders, folder)
    return {
        "figures": figures,
        "conditions": {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
            "rounds": ROUNDS,
            "job_rounds": JOB_ROUNDS,
            "not_run": {name: why for name, why in reasons.items() if why},
        },
    }
