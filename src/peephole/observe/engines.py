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
    """A way to record."""

    @property
    def NAME(self) -> str: ...

    def why_not(self) -> str | None: ...

    def record(self, launch: Launch, out: Path, why_not_better: str | None = None) -> tuple[Capture, int]: ...


#: best first; `auto` does not take those ON_REQUEST
ENGINES: tuple[Engine, ...] = (ebpf.EBPF, ebpf.EBPF_FULL, ptrace.PTRACE)
ON_REQUEST = ("ebpf-full",)
NAMES = ("auto", *(engine.NAME for engine in ENGINES))


def choose(name: str | Engine = "auto") -> tuple[Engine, str | None]:
    """The engine called `name`, or with "auto" the best that works here; and why a better one does not.

    Raises EngineError when it, or none, can be used.
    """
    if not isinstance(name, str):
        reason = name.why_not()
        if reason is not None:
            raise EngineError(f"{name.NAME} can't record here: {reason}; `peephole doctor` says more")
        return name, None
    reasons: list[str] = []
    for engine in ENGINES:
        if name != engine.NAME and (name != "auto" or engine.NAME in ON_REQUEST):
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
    engine: str | Engine = "auto",
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    timeout: float | None = None,
    stacks: bool = False,
    redact: bool = False,
    grace: float = 10.0,
) -> tuple[Capture, int]:
    """Run `command`, record every system call of its process tree, and put the capture at `out`.

    `engine` is a name of NAMES, or a way to record that a later stage has.
    Streams, `env`, `cwd` and `timeout` (seconds) are as for subprocess.Popen and wait. Processes that outlive the
    command are followed for `grace` seconds. With `stacks`, some calls come with who made them, and CPU time is
    sampled; with `redact`, paths and arguments are hashes. Returns the capture and the command's exit code, 128+n when
    signal n ended it. Raises CommandError when it can't be started, CaptureError when `out` can't be written,
    EngineError when nothing can record here, RunError when the time is over. The capture's meta.why_not_better says
    why a better engine was not used.

        capture, code = observe(["make", "-j2"], Path("make.capture"))
    """
    out = Path(out)
    launch = Launch(list(command), stdin, stdout, stderr, env, cwd, timeout, stacks=stacks, redact=redact, grace=grace)
    check_target(out)
    check_command(launch)
    chosen, why_not_better = choose(engine)
    return chosen.record(launch, out, why_not_better)


def join(
    out: Path | str,
    pid: int | None = None,
    cgroup: Path | str | None = None,
    engine: str | Engine = "auto",
    stacks: bool = False,
    redact: bool = False,
    timeout: float | None = None,
) -> Capture:
    """Record the process `pid` with its descendants, or all processes of `cgroup` and below it, while they run.

    Ends with the last of the process's tree, after `timeout` seconds, or when a signal asks to (ctrl-C). Raises
    UsageError when there is no such process or cgroup, and otherwise as observe().
    """
    out = Path(out)
    place = None if cgroup is None else Path(cgroup)
    launch = Launch([], pid=pid, cgroup=place, stacks=stacks, redact=redact, timeout=timeout)
    check_target(out)
    if launch.cgroup is not None and not (launch.cgroup / "cgroup.procs").exists():
        raise UsageError(f"{cgroup}: not a cgroup; give a folder below /sys/fs/cgroup")
    if pid is not None and not Path(f"/proc/{pid}").exists():
        raise UsageError(f"pid {pid}: no such process; there is nothing to observe")
    chosen, why_not_better = choose(engine)
    return chosen.record(launch, out, why_not_better)[0]
