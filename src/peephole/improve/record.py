"""Recording without root: the interposer in every program writes its calls to a ring that we read."""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from peephole import native
from peephole.errors import CaptureError, EngineError, MissingToolError, PeepholeError
from peephole.improve.arm import arm, examine
from peephole.observe import facts
from peephole.observe.capture import full_disk, workplace, write_capture
from peephole.observe.launch import Launch, check_command, exit_code, run
from peephole.observe.records import CALL, RECORD_VERSION
from peephole.observe.redact import Redactor
from peephole.observe.ring import DEFAULT_BYTES, new_ring, starts
from peephole.observe.signatures import SIGNATURES
from peephole.observe.syscalls import NAMES
from peephole.trace import Capture, Meta

_SHARED = Path("/dev/shm")
_TABLE_SIZE = 512


@dataclass(frozen=True)
class Inprocess:
    """Records by the interposer."""

    NAME: str = "inprocess"

    def why_not(self) -> str | None:
        """Why this engine can't be used here, or None."""
        if os.uname().machine != "x86_64":
            return "it knows x86-64 only"
        source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        if not source.exists() or source.read_text().strip() not in ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page"):
            return "the kernel does not trust this machine's time stamp counter"
        if "rdtscp" not in Path("/proc/cpuinfo").read_text().split():
            return "this processor has no rdtscp"
        try:
            native.path("libpeephole.so")
            with arm([], runtime_dir=_runtime_dir()):
                return None
        except (MissingToolError, PeepholeError) as e:
            return str(e)

    def record(
        self, launch: Launch, out: Path, why_not_better: str | None = None, ring_bytes: int = DEFAULT_BYTES
    ) -> tuple[Capture, int]:
        """Record the command; its capture at `out`, and its exit code. `ring_bytes` is what each CPU gets."""
        if launch.joins:
            raise EngineError(f"{launch.joins}: --engine=inprocess records commands only; use --engine=ebpf or ptrace")
        if launch.stacks:
            raise EngineError("only --engine=ebpf takes stacks; leave --stacks out")
        file = Path(check_command(launch))
        env = dict(os.environ if launch.env is None else launch.env)
        target = examine(Path(launch.cwd or ".") / file if "/" in str(file) else file)
        with workplace(out) as made:
            spill = made / "spill"
            spill.mkdir(mode=0o700)
            with arm([], runtime_dir=_runtime_dir(), target=target) as armed:
                ring = new_ring(armed.folder / "ring", spill, ring_bytes, launch.grace)
                try:
                    armed.start_recording(ring.path)
                    started_ns = time.monotonic_ns()
                    code = run(launch.command, replace(launch, env=armed.environment(env, target)), is_command=True)
                    numbers = ring.finish()
                except OSError as e:
                    if e.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise CaptureError(full_disk(out)) from e
                    raise EngineError(f"what the programs wrote of their calls can't be read: {e.strerror}") from e
                finally:
                    ring.close()
                covered = armed.stats()
            status = -code if code < 0 else code << 8
            end = _finish(spill, numbers, started_ns, status)
            meta_facts = {
                "hook": self.NAME,
                "paths_unread": sum(cpu[3] for cpu in end["cpus"]),
                "sites_patched": covered["sites_patched"],
                "sites_unpatched": covered["sites_unpatched"],
                "not_covered": covered["not_covered"],
                "not_covered_seen": covered["not_covered_seen"],
                "unseen": "calls before a program's own start, and from code other than libc and ld.so",
            }
            return self._publish(spill, made, launch, out, why_not_better, end, meta_facts)

    def _publish(
        self,
        spill: Path,
        made: Path,
        launch: Launch,
        out: Path,
        why_not_better: str | None,
        end: dict[str, Any],
        meta_facts: dict[str, Any],
    ) -> tuple[Capture, int]:
        from peephole.observe.convert import convert

        tables = convert(spill)
        code = exit_code(end["status"])
        meta = Meta(
            command=list(launch.command),
            engine=self.NAME,
            started_ns=end["started_ns"],
            ended_ns=end["ended_ns"],
            events=tables.events,
            lost=tables.lost,
            machine=facts.machine() | meta_facts,
            mounts=facts.mounts(),
            environment=facts.environment(launch.env),
            exit_status=code,
            why_not_better=why_not_better,
            left=end["left"],
        )
        hide = Redactor() if launch.redact else None
        capture = write_capture(out, tables.calls, tables.processes, tables.gaps, meta, made, tables.extra, hide)
        return capture, code


def _runtime_dir() -> Path | None:
    """In memory where programs may be run from there: the ring is written to no disk then."""
    try:
        flags = os.statvfs(_SHARED).f_flag
    except OSError:
        return None
    usable = os.access(_SHARED, os.W_OK | os.X_OK) and not flags & (os.ST_NOEXEC | os.ST_RDONLY)
    return _SHARED if usable else None


def _finish(spill: Path, numbers: dict[str, Any], started_ns: int, status: int) -> dict[str, Any]:
    """Make a spill of what the ring's reader left: images, events, counts."""
    from peephole.observe.images import assign

    size = (spill / "calls.raw").stat().st_size
    calls: Any = np.memmap(spill / "calls.raw", dtype=CALL, mode="r+") if size else np.zeros(0, CALL)
    (spill / "events.raw").write_bytes(assign(calls, list(starts(spill)), status))
    (spill / "samples.raw").write_bytes(b"")
    arity = "".join(str(len(SIGNATURES[name])) if (name := NAMES.get(nr)) in SIGNATURES else "6" for nr in range(512))
    begin = {"version": RECORD_VERSION, "hook": "inprocess", "started_ns": started_ns, "arity": arity}
    end = {**begin, **numbers, "ended_ns": time.monotonic_ns(), "status": status, "missed": 0}
    (spill / "begin.json").write_text(json.dumps(begin))
    (spill / "end.json").write_text(json.dumps(end))
    return end


INPROCESS = Inprocess()
