"""Recording by eBPF: `peephole-record` spills, `convert` makes the tables."""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole import native
from peephole.errors import CaptureError, EngineError, MissingToolError, UsageError
from peephole.observe import facts
from peephole.observe.capture import full_disk, workplace, write_capture
from peephole.observe.launch import CommandError, Launch, check_command, exit_code, run
from peephole.observe.redact import Redactor
from peephole.trace import Capture, Meta

# core/record/main.c
_REFUSED, _NOT_STARTED, _NOT_WRITTEN, _NOT_FOUND = 3, 4, 5, 6
_SAMPLE_HZ = 499


@dataclass(frozen=True)
class Ebpf:
    """Records by BPF programs; `full` hooks the entries of calls too, for exact times."""

    NAME: str = "ebpf"
    full: bool = False

    def why_not(self, hook: str | None = None) -> str | None:
        """Why this engine can't be used here, or None."""
        try:
            recorder = native.path("peephole-record")
        except MissingToolError as e:
            return str(e)
        words = [str(recorder), "--probe", *self._options(hook)]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode == 0:
            return None
        return done.stdout.strip() or f"the recorder can't be run ({done.stderr.strip() or done.returncode})"

    def _options(self, hook: str | None) -> list[str]:
        return [*(["--hook", hook] if hook else []), *(["--full"] if self.full else [])]

    def record(
        self,
        launch: Launch,
        out: Path,
        why_not_better: str | None = None,
        ring_bytes: int | None = None,
        hook: str | None = None,
    ) -> tuple[Capture, int]:
        """Record the command, or what `launch` joins; its capture at `out`, and the command's exit code.

        `ring_bytes` is what each CPU gets; by default enough for a burst of a million calls.
        """
        recorder = native.path("peephole-record")
        with workplace(out) as made:
            spill = made / "spill"
            spill.mkdir(mode=0o700)
            words = [str(recorder), "--out", str(spill.resolve()), *self._options(hook)]
            words += ["--ring", str(ring_bytes)] if ring_bytes else []
            words += ["--stacks"] if launch.stacks else []
            words += _target(launch)
            names = facts.command_lines() if launch.joins else {}
            code = run(words, launch)
            if code < 0 and (spill / "begin.json").exists():
                _publish(self.NAME, spill, made, launch, out, why_not_better, names, f"killed by signal {-code}")
                raise EngineError(f"the recorder was killed by signal {-code}; what it had until then is in {out}")
            if code:
                raise _failure(code, spill, launch, out)
            return _publish(self.NAME, spill, made, launch, out, why_not_better, names)


def _target(launch: Launch) -> list[str]:
    if launch.pid is not None:
        return ["--pid", str(launch.pid)]
    if launch.cgroup is not None:
        return ["--cgroup", str(launch.cgroup.resolve())]
    check_command(launch)
    return ["--grace", str(launch.grace), "--", *launch.command]


def _publish(
    name: str,
    spill: Path,
    made: Path,
    launch: Launch,
    out: Path,
    why_not_better: str | None,
    names: dict[int, list[bytes]],
    incomplete: str | None = None,
) -> tuple[Capture, int]:
    from peephole.observe.convert import convert

    tables = convert(spill, names)
    meta = meta_of(tables, name, launch, why_not_better, incomplete)
    hide = Redactor() if launch.redact else None
    capture = write_capture(out, tables.calls, tables.processes, tables.gaps, meta, made, tables.extra, hide)
    return capture, meta.exit_status or 0


def meta_of(tables: Any, name: str, launch: Launch, why_not_better: str | None, incomplete: str | None) -> Meta:
    """What meta.json says of a converted spill."""
    end = tables.end
    code = exit_code(end["status"]) if "status" in end and not launch.joins else None
    return Meta(
        command=list(launch.command),
        engine=name,
        started_ns=end["started_ns"],
        ended_ns=end.get("ended_ns", tables.last_ns),
        events=tables.events,
        lost=tables.lost,
        machine=facts.machine()
        | {
            "hook": end["hook"],
            "paths_unread": sum(cpu[3] for cpu in end["cpus"]),
            "samples_lost": sum(cpu[4] for cpu in end["cpus"]),
            "stacks_unknown": end.get("stacks_unknown", 0),
        },
        mounts=facts.mounts(),
        environment=[] if launch.joins else facts.environment(launch.env),
        exit_status=code,
        why_not_better=why_not_better,
        incomplete=incomplete,
        left=max(end.get("left", 0), 0),
        joined=launch.joins,
        cpu_ns=end.get("cpu_ns") or None,
        tick_ns=1_000_000_000 // _SAMPLE_HZ if launch.stacks else None,
    )


def _failure(code: int, spill: Path, launch: Launch, out: Path) -> Exception:
    error = spill / "error"
    reason = error.read_text() if error.exists() else ""
    if code == _NOT_STARTED:
        number = int(reason or errno.ENOENT)
        if number == errno.ENOENT:
            return CommandError(f"{launch.command[0]}: not found", 127)
        return CommandError(f"{launch.command[0]}: not executable ({os.strerror(number)})", 126)
    if code == _NOT_FOUND:
        number = int(reason or errno.ESRCH)
        why = "no such process" if number == errno.ESRCH else os.strerror(number)
        return UsageError(f"{launch.joins}: {why}; there is nothing to observe")
    if code == _NOT_WRITTEN:
        if reason in ("", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT)):
            return CaptureError(full_disk(out))
        return CaptureError(f"{out}: the capture can't be written: {reason}; nothing was kept")
    if code == _REFUSED:
        return EngineError(reason or "the kernel refuses BPF")
    if code < 0:
        return EngineError(f"the recorder was killed by signal {-code} before it began; nothing was kept")
    return EngineError(f"the recorder failed ({code})")


EBPF = Ebpf()
EBPF_FULL = Ebpf("ebpf-full", full=True)

# The module is the default engine, for those who need no choice.
NAME = EBPF.NAME
why_not = EBPF.why_not
record = EBPF.record
