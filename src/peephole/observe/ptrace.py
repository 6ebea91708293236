"""Recording by ptrace: strace runs the command, observe/strace.py reads its text. Slow, but needs no right."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.errors import CaptureError, EngineError
from peephole.observe import facts
from peephole.observe.capture import full_disk, workplace, write_capture
from peephole.observe.launch import Launch, check_command, descendants, run
from peephole.observe.redact import Redactor
from peephole.trace import Capture, Meta

NAME = "ptrace"
#: every thread and child, times, descriptors' files, strings as bytes; written data is cut short, arguments of exec fit
FLAGS = ["-f", "-ttt", "-T", "-yy", "-xx", "-s", "256"]


def why_not() -> str | None:
    """Why this engine can't be used here, or None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    true = shutil.which("true")
    if true is None:
        return "there is no true to try it on"
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", true], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return f"the kernel refuses ptrace ({lines[0] if lines else done.returncode})"


@contextmanager
def _spooled(pipe: Path, text: Path) -> Iterator[threading.Event]:
    """Copy what strace writes to `pipe` into `text`; sets the event when the disk is full.

    strace itself complains of a full disk once a line, on the command's own stderr.
    """
    full = threading.Event()
    os.mkfifo(pipe, 0o600)
    source = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(source, True)
    # While we hold it open for writing there is no end of file, whether strace has come yet or not.
    keeper = os.open(pipe, os.O_WRONLY)
    target = os.open(text, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def copy() -> None:
        while block := os.read(source, 1 << 20):
            try:
                while block and not full.is_set():
                    block = block[os.write(target, block) :]
            except OSError:
                full.set()

    worker = threading.Thread(target=copy)
    worker.start()
    try:
        yield full
    finally:
        os.close(keeper)
        worker.join()
        os.close(source)
        os.close(target)


def _monotonic(table: Any, offset_ns: int) -> Any:
    """The table with its times of day turned into CLOCK_MONOTONIC, the clock of every capture."""
    import pyarrow.compute as pc

    for at, name in enumerate(table.column_names):
        if name.endswith("_ns"):
            table = table.set_column(at, table.schema.field(at), pc.subtract(table.column(at), offset_ns))
    return table


def _target(launch: Launch) -> list[str]:
    if launch.cgroup is not None:
        raise EngineError(f"{launch.joins}: only --engine=ebpf can join a cgroup; name the processes with -p")
    if launch.stacks:
        raise EngineError("only --engine=ebpf takes stacks; leave --stacks out")
    if launch.pid is not None:
        return [word for pid in (launch.pid, *descendants(launch.pid)) for word in ("-p", str(pid))]
    check_command(launch)
    return ["--", *launch.command]


def record(launch: Launch, out: Path, why_not_better: str | None = None) -> tuple[Capture, int]:
    """Record the command, or the processes that `launch` joins; its capture at `out`, and its exit code."""
    from peephole.observe.strace import parse

    target = _target(launch)
    strace = shutil.which("strace")
    if strace is None:
        raise EngineError("strace is not installed; install it, or use --engine=ebpf")
    with workplace(out) as made:
        text = made / "strace.txt"
        started_ns = time.monotonic_ns()
        offset_ns = time.time_ns() - started_ns
        with _spooled(made / "pipe", text) as full:
            code = run([strace, *FLAGS, "-o", str((made / "pipe").resolve()), *target], launch)
        ended_ns = time.monotonic_ns()
        if full.is_set():
            raise CaptureError(full_disk(out))
        name = launch.joins or launch.command[0]
        try:
            with text.open("rb") as lines:
                tables = parse(lines)
        except CaptureError as e:
            raise CaptureError(f"{name}: strace could not record it: {e}") from e
        exit_code = 128 - code if code < 0 else code
        meta = Meta(
            command=list(launch.command),
            engine=NAME,
            started_ns=started_ns,
            ended_ns=ended_ns,
            events=tables.calls.num_rows,
            lost=tables.lost,
            machine=facts.machine(),
            mounts=facts.mounts(),
            environment=[] if launch.joins else facts.environment(launch.env),
            exit_status=None if launch.joins else exit_code,
            why_not_better=why_not_better,
            joined=launch.joins,
        )
        calls, processes, gaps = (_monotonic(t, offset_ns) for t in (tables.calls, tables.processes, tables.gaps))
        hide = Redactor() if launch.redact else None
        return write_capture(out, calls, processes, gaps, meta, made, hide=hide), exit_code


@dataclass(frozen=True)
class Ptrace:
    """Records by strace."""

    NAME: str = NAME

    def why_not(self) -> str | None:
        return why_not()

    def record(self, launch: Launch, out: Path, why_not_better: str | None = None) -> tuple[Capture, int]:
        return record(launch, out, why_not_better)


PTRACE = Ptrace()
