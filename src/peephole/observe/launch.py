"""Running a recorder that runs the command: signals, time limit, exit code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from peephole.errors import PeepholeError, RunError


class CommandError(PeepholeError):
    """The command could not be started: exit code 127 (not found) or 126 (not executable)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Launch:
    """What is to be recorded: a command, run as by subprocess.Popen, or (with `pid` or `cgroup`) what already runs."""

    command: Sequence[str]
    stdin: Any = None
    stdout: Any = None
    stderr: Any = None
    env: Mapping[str, str] | None = None
    cwd: Path | str | None = None
    timeout: float | None = None
    pid: int | None = None  # with its descendants
    cgroup: Path | None = None
    stacks: bool = False  # sampled stacks and cpu-clock ticks too
    redact: bool = False  # keyed hashes in place of paths and arguments
    grace: float = 10.0  # seconds that processes which outlive the command are followed

    @property
    def joins(self) -> str | None:
        """What is joined while it runs, in words; None for a command."""
        if self.pid is not None:
            return f"pid {self.pid}"
        return None if self.cgroup is None else f"cgroup {self.cgroup}"


def check_command(launch: Launch) -> str:
    """The file that would be run. Raises CommandError when there is none."""
    name = launch.command[0]
    path = (launch.env or os.environ).get("PATH", os.defpath)
    base = Path(launch.cwd or ".")
    if "/" in name:
        file = base / name
        if not file.exists():
            raise CommandError(f"{name}: not found", 127)
        if file.is_dir() or not os.access(file, os.X_OK):
            raise CommandError(f"{name}: not executable", 126)
        return name
    found = shutil.which(name, path=path)
    if found is None:
        for folder in path.split(os.pathsep):
            if (Path(folder) / name).is_file():
                raise CommandError(f"{name}: not executable", 126)
        raise CommandError(f"{name}: not found", 127)
    return found


def exit_code(status: int) -> int:
    """A wait status as a shell's exit code: 128+n for signal n."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def run(words: Sequence[str], launch: Launch, extra_fds: Sequence[int] = (), is_command: bool = False) -> int:
    """Run the recorder `words` with the command's streams; its return code, as subprocess has it.

    `is_command`: there is no recorder between, `words` are the command itself.

    Signals that reach Peephole go on to the command, and what was recorded until then is kept. Raises RunError when
    the time limit is over; the command is then dead.
    """
    # The command inherits whatever Peephole was given; Python's own descriptors close at exec.
    with (
        subprocess.Popen(
            list(words),
            stdin=launch.stdin,
            stdout=launch.stdout,
            stderr=launch.stderr,
            env=None if launch.env is None else dict(launch.env),
            cwd=launch.cwd,
            close_fds=False,
            restore_signals=True,
        ) as recorder,
        _passing_on(recorder),
    ):
        try:
            return recorder.wait(launch.timeout)
        except subprocess.TimeoutExpired:
            if launch.joins:
                recorder.terminate()
                return recorder.wait()
            kill_tree(recorder.pid)
            if is_command:
                recorder.kill()
            recorder.wait()
            raise RunError(f"{launch.command[0]}: not done after {launch.timeout:g} s; it was killed") from None


@contextmanager
def _passing_on(recorder: subprocess.Popen[bytes]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def forward(signum: int, frame: FrameType | None) -> None:
        # A terminal sends ctrl-C to the command, and to a recorder without one, by itself.
        if signum in (signal.SIGINT, signal.SIGQUIT) and _in_foreground():
            return
        with suppress(ProcessLookupError):
            recorder.send_signal(signum)

    old = {}
    for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            old[signum] = signal.signal(signum, forward)
    try:
        yield
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)


def _in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def kill_tree(root: int) -> None:
    """Kill every descendant of `root`, not `root` itself: the recorder then ends by itself."""
    for pid in _children(root):
        kill_tree(pid)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(word) for word in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, as they are now."""
    found = _children(pid)
    return found + [below for child in found for below in descendants(child)]
