"""Commands measured by `peephole evaluate`, with figures `LOAD.{cpu,wall,syscalls,bytes}_ratio`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import servers
from bench.servers import NoBench, Options


@dataclass(frozen=True)
class Job:
    """One command to measure; `rules` are those that might help, where they exist."""

    name: str
    command: tuple[str, ...]
    rules: tuple[str, ...]
    same: tuple[str, ...] = ("exit",)
    fresh: str | None = None
    primary: str = "cpu"
    pairs: int | None = None  # fewer than asked, for long ones
    plan: Path | None = None  # instead of the rules by name
    program: str | None = None  # of several that run: the one whose calls are counted by themselves, too


@dataclass
class Commands:
    """A bench of commands in progress. The bytes written are those of the file systems in `same`."""

    asked: Options
    figures: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)

    def measure(self, job: Job) -> None:
        """Measure one command, and its control when asked for."""
        chosen = self.asked.rules or ",".join(r for r in job.rules if r in servers.known_rules()) or "none"
        result = evaluate(job, chosen, self.asked)
        self.figures |= {f"{job.name}.{name}": value for name, value in figures_of(result).items()}
        self.conditions[f"{job.name}.rules"] = {rule["name"]: rule["hits"] for rule in result["rules"]} or chosen
        if result["not_covered"]:
            self.conditions[f"{job.name}.not_covered"] = [f"{n['exe']}: {n['why']}" for n in result["not_covered"]]
        if result["verdict"] in ("failed", "different"):
            self.conditions[f"{job.name}.trouble"] = result["reason"]
        if self.asked.controls:
            control = evaluate(job, "off", self.asked)["figures"]
            for name in ("cpu", "wall"):
                if name in control:
                    self.figures[f"{job.name}.aa_{name}_ratio"] = control[name]["ratio"]


def evaluate(job: Job, rules: str, asked: Options) -> dict[str, Any]:
    """The result of `peephole evaluate` on a job, with `program_calls`. Raises NoBench when it gives none."""
    with memory_folder() as out:
        pairs = min(asked.pairs, job.pairs or asked.pairs)
        words = [sys.executable, "-m", "peephole", "evaluate", "--json"]
        words += ["--rules", rules, "--allow", "all"] if job.plan is None else ["--plan", str(job.plan)]
        words += ["-n", str(pairs), "--primary", job.primary, "--timeout", str(servers.RUN_S), "-o", str(out)]
        for same in job.same:
            words += ["--same", same]
        words += ["--fresh", job.fresh] if job.fresh else []
        # Results and temporary files lie in memory: only what the command writes reaches a disk.
        env = {n: v for n, v in servers.os.environ.items() if n not in servers.SKEWING} | {"TMPDIR": str(out.parent)}
        with subprocess.Popen(
            [*words, "--", *job.command], cwd=out.parent, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        ) as child:  # fmt: skip
            try:
                said, errors = child.communicate()
            except BaseException:
                child.send_signal(signal.SIGINT)
                child.wait()
                raise
        if asked.keep:
            shutil.copytree(out, asked.keep / f"{job.name}-{rules[:40]}", dirs_exist_ok=True)
        try:
            result = dict(json.loads(said))
            if job.program:
                result["program_calls"] = [calls_of(out / side, job.program) for side in ("capture", "after")]
            return result
        except ValueError:
            raise NoBench(f"peephole evaluate: {(errors.strip() or 'no answer').splitlines()[-1]}") from None


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder for results, in memory where there is one."""
    memory = Path("/dev/shm")
    base = memory if servers.os.access(memory, servers.os.W_OK) else Path(tempfile.gettempdir())
    top = Path(tempfile.mkdtemp(prefix="peephole-bench-", dir=base))
    try:
        yield top / "result"
    finally:
        shutil.rmtree(top, ignore_errors=True)


def calls_of(capture: Path, program: str) -> int | None:
    """The calls that a capture has of the program with this file name; None without a capture."""
    if not capture.exists():
        return None
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    images = pq.read_table(capture / "processes.parquet", columns=["image", "exe"]).to_pylist()
    wanted = [one["image"] for one in images if Path(os.fsdecode(one["exe"] or b"")).name == program]
    column = pq.read_table(capture / "calls.parquet", columns=["image"]).column("image")
    return int(pc.sum(pc.is_in(column, pa.array(wanted, column.type))).as_py() or 0)


def figures_of(result: dict[str, Any]) -> dict[str, Any]:
    """The contract's figures of one command."""
    found: dict[str, Any] = {"verdict": result["verdict"], "pairs": result["pairs"]}
    before, after = result.get("program_calls", (None, None))
    if before and after:
        found |= {"program_syscalls_ratio": after / before, "program_syscalls_before": before}
    short = {"cpu": "cpu", "wall": "wall", "syscalls": "syscalls", "bytes_written": "bytes", "system_cpu": "system_cpu"}
    for name, as_ in short.items():
        figure = result["figures"].get(name)
        if figure:
            found[f"{as_}_ratio"] = figure["ratio"]
            if as_ in ("syscalls", "bytes", "wall"):
                found |= {f"{as_}_before": figure["before"], f"{as_}_after": figure["after"]}
            if as_ == "cpu":
                found |= {"cpu_low": figure["low"], "cpu_high": figure["high"]}
    return found


def run(words: Sequence[str | Path], **more: Any) -> None:
    """Run a command that prepares something. Raises NoBench."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, stdin=subprocess.DEVNULL, **more)
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()[-1:] or [f"code {done.returncode}"]
        raise NoBench(f"{words[0]}: {said[0]}")
