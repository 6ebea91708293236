"""Recording by eBPF: `peephole-record` spills, `convert` makes the tables."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from peephole import native
from peephole.errors import CaptureError, EngineError, MissingToolError
from peephole.observe import facts
from peephole.observe.capture import full_disk, workplace, write_capture
from peephole.observe.launch import CommandError, Launch, check_command, exit_code, run
from peephole.trace import Capture, Meta

NAME = "ebpf"
RING_BYTES = 64 << 20

# core/record/main.c
_REFUSED, _NOT_STARTED, _NOT_WRITTEN = 3, 4, 5


def why_not() -> str | None:
    """Why this engine can't be used here, or None."""
    try:
        recorder = native.path("peephole-record")
    except MissingToolError as e:
        return str(e)
    done = subprocess.run([recorder, "--probe"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return None
    return done.stdout.strip() or f"the recorder can't be run ({done.stderr.strip() or done.returncode})"


def record(
    launch: Launch, out: Path, why_not_better: str | None = None, ring_bytes: int = RING_BYTES, hook: str | None = None
) -> tuple[Capture, int]:
    """Run and record the command; its capture at `out`, and its exit code."""
    check_command(launch)
    recorder = native.path("peephole-record")
    with workplace(out) as made:
        spill = made / "spill"
        spill.mkdir(mode=0o700)
        words = [str(recorder), "--out", str(spill.resolve()), "--ring", str(ring_bytes)]
        words += ["--hook", hook] if hook else []
        words += ["--", *launch.command]
        code = run(words, launch)
        if code:
            raise _failure(code, spill, launch, out)
        return _publish(spill, made, launch, out, why_not_better)


def _publish(spill: Path, made: Path, launch: Launch, out: Path, why_not_better: str | None) -> tuple[Capture, int]:
    from peephole.observe.convert import convert

    tables = convert(spill)
    end = tables.end
    code = exit_code(end["status"])
    meta = Meta(
        command=list(launch.command),
        engine=NAME,
        started_ns=end["started_ns"],
        ended_ns=end["ended_ns"],
        events=tables.events,
        lost=tables.lost,
        machine=facts.machine() | {"hook": end["hook"], "paths_unread": sum(cpu[3] for cpu in end["cpus"])},
        mounts=facts.mounts(),
        environment=facts.environment(launch.env),
        exit_status=code,
        why_not_better=why_not_better,
    )
    return write_capture(out, tables.calls, tables.processes, tables.gaps, meta, made), code


def _failure(code: int, spill: Path, launch: Launch, out: Path) -> Exception:
    error = spill / "error"
    reason = error.read_text() if error.exists() else ""
    if code == _NOT_STARTED:
        number = int(reason or errno.ENOENT)
        if number == errno.ENOENT:
            return CommandError(f"{launch.command[0]}: not found", 127)
        return CommandError(f"{launch.command[0]}: not executable ({os.strerror(number)})", 126)
    if code == _NOT_WRITTEN:
        if reason in ("", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)):
            return CaptureError(full_disk(out))
        return CaptureError(f"{out}: the capture can't be written: {reason}; nothing was kept")
    if code == _REFUSED:
        return EngineError(reason or "the kernel refuses BPF")
    if code < 0:
        return EngineError(
            f"the recorder was killed by signal {-code}; the command goes on unobserved, nothing was kept"
        )
    return EngineError(f"the recorder failed ({code})")
