"""Choosing a recorder, and `observe()`: what other stages call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from peephole.errors import EngineError, UsageError
from peephole.observe import ebpf, ptrace
from peephole.observe.capture import check_target
from peephole.observe.launch import Launch, check_command
from peephole.trace import Capture


class Engine(Protocol):
    """A way to record; the modules `ebpf` and `ptrace` are two."""

    NAME: str

    def why_not(self) -> str | None: ...

    def record(self, launch: Launch, out: Path, why_not_better: str | None = None) -> tuple[Capture, int]: ...


#: best first
ENGINES: tuple[Engine, ...] = (ebpf, ptrace)
NAMES = ("auto", *(engine.NAME for engine in ENGINES))


def choose(name: str = "auto") -> tuple[Engine, str | None]:
    """The engine called `name`, or with "auto" the best that works here; and why a better one does not.

    Raises EngineError when it, or none, can be used.
    """
    reasons: list[str] = []
    for engine in ENGINES:
        if name not in ("auto", engine.NAME):
            continue
        reason = engine.why_not()
        if reason is None:
            return engine, "; ".join(reasons) or None
        reasons.append(f"{engine.NAME}: {reason}")
    if not reasons:
        raise UsageError(f"{name}: no such engine; there are {', '.join(NAMES)}")
    raise EngineError(f"nothing can record here: {'; '.join(reasons)}; `peephole doctor` says more")


def observe(
    command: Sequence[str],
    out: Path | str,
    engine: str = "auto",
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    timeout: float | None = None,
) -> tuple[Capture, int]:
    """Run `command`, record every system call of its process tree, and put the capture at `out`.

    Streams, `env`, `cwd` and `timeout` (seconds) are as for subprocess.Popen and wait. Returns the capture and the
    command's exit code, 128+n when signal n ended it. Raises CommandError when it can't be started, CaptureError when
    `out` can't be written, EngineError when nothing can record here, RunError when the time is over. The capture's
    meta.why_not_better says why a better engine was not used.

        capture, code = observe(["make", "-j2"], Path("make.capture"))
    """
    out = Path(out)
    launch = Launch(list(command), stdin, stdout, stderr, env, cwd, timeout)
    check_target(out)
    check_command(launch)
    chosen, why_not_better = choose(engine)
    return chosen.record(launch, out, why_not_better)
