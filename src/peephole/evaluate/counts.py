"""Recorded runs: what the calls are, before and after. They are runs of their own; nothing here is timed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peephole.errors import PeepholeError, RunError
from peephole.evaluate.ready import check_free, is_ready
from peephole.evaluate.run import freshen, last_words
from peephole.evaluate.statistics import Figure
from peephole.evaluate.supervisor import children_of
from peephole.evaluate.workload import Workload
from peephole.trace import Capture

POLL_S = 0.02
#: what `with_env` puts before a command
_GOING_BEFORE = {"setpriv", "env"}


@dataclass(frozen=True)
class Recorded:
    """A capture of one run of a workload, its exit code, and the CPU seconds of the run, the recorder's included."""

    capture: Capture
    exit_code: int
    cpu_s: float


def record(workload: Workload, env: dict[str, str], capture: Path, streams: Path) -> Recorded:
    """Record one run of the workload in environment `env`; its streams go to files in the folder `streams`.

    Raises RunError when it takes too long, a server does not become ready, or a driver fails.
    """
    freshen(workload)
    check_free(workload)
    streams.mkdir(parents=True, exist_ok=True)
    before = os.times()
    run = _driven if workload.drive else _plain
    with (
        workload.stdin.open("rb") as stdin,
        (streams / "stdout").open("wb") as stdout,
        (streams / "stderr").open("wb") as stderr,
    ):
        found, code = run(workload, lambda: _observe(workload, env, capture, stdin, stdout, stderr), streams)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM) and not workload.drive:
        # observe passes our signals on to the command: that it died of one means that we were asked to stop.
        raise KeyboardInterrupt if code == 128 + signal.SIGINT else SystemExit(code)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Recorded(found, code, cpu_s)


def _observe(
    workload: Workload, env: dict[str, str], capture: Path, stdin: object, stdout: object, stderr: object
) -> tuple[Capture, int]:
    from peephole.observe.engines import observe

    timeout_s = None if workload.drive else workload.timeout_s
    return observe(
        with_env(workload, env),
        capture,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=workload.env,
        cwd=workload.cwd,
        timeout=timeout_s,
    )


_Observing = Callable[[], tuple[Capture, int]]


def _plain(workload: Workload, observing: _Observing, streams: Path) -> tuple[Capture, int]:
    return observing()


def _driven(workload: Workload, observing: _Observing, streams: Path) -> tuple[Capture, int]:
    """Record a server while it is driven; it is stopped as in a timed run."""
    result: list[tuple[Capture, int]] = []
    errors: list[PeepholeError] = []

    def target() -> None:
        try:
            result.append(observing())
        except PeepholeError as e:
            errors.append(e)

    others = set(children_of("self"))
    thread = threading.Thread(target=target, name="recording")
    thread.start()
    try:
        trouble = _drive(workload, thread, streams)
    finally:
        _stop(thread, others, workload.grace_s)
    if errors:
        raise errors[0]
    if trouble:
        raise RunError(f"{workload.command[0]}: {trouble}; see {streams}")
    capture, code = result[0]
    # Ended by our TERM, as asked: not a failure.
    return capture, 0 if code == 128 + signal.SIGTERM else code


def _drive(workload: Workload, server: threading.Thread, streams: Path) -> str | None:
    """Wait for the server and run the driver; what went wrong, or None."""
    deadline_s = time.monotonic() + workload.ready_timeout_s
    while not is_ready(workload):
        if not server.is_alive():
            return "the server ended before it was ready"
        if time.monotonic() > deadline_s:
            return f"the server was not ready after {workload.ready_timeout_s:g} s"
        time.sleep(POLL_S)
    with (streams / "driver.stdout").open("wb") as stdout, (streams / "driver.stderr").open("wb") as stderr:
        try:
            done = subprocess.run(
                workload.drive,
                cwd=workload.cwd,
                env=workload.env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                timeout=workload.timeout_s,
            )
        except subprocess.TimeoutExpired:
            return f"the driver did not end within {workload.timeout_s:g} s"
        except OSError as e:
            return f"the driver {workload.drive[0]}: {e.strerror}"
    if done.returncode == 0:
        return None
    return f"the driver ended with code {done.returncode}{last_words(streams / 'driver.stderr')}"


def _stop(thread: threading.Thread, others: set[int], grace_s: float) -> None:
    """TERM, and after the grace KILL, to what the recorder started, until the recording has ended."""
    deadline_s = time.monotonic() + grace_s
    told: set[int] = set()
    while thread.is_alive():
        late = time.monotonic() >= deadline_s
        for recorder in set(children_of("self")) - others:
            for pid in children_of(recorder):
                if late or pid not in told:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
                told.add(pid)
        thread.join(POLL_S)


def by_name(capture: Capture) -> dict[str, int]:
    """How many calls of each name a capture holds, most frequent first; those before its own exec left out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    images = pq.read_table(capture.processes, columns=["image", "exe", "start_ns"]).sort_by("start_ns").to_pylist()
    table = pq.read_table(capture.calls, columns=["name", "image"])
    for image in images:
        if Path(os.fsdecode(image["exe"] or b"")).name not in _GOING_BEFORE & set(capture.meta.command):
            break
        table = table.filter(pc.not_equal(pc.field("image"), image["image"]))
    counted = pc.value_counts(table.column("name").combine_chunks())
    found = {str(row["values"] or "unknown"): int(row["counts"]) for row in counted.to_pylist()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def with_env(workload: Workload, env: dict[str, str]) -> list[str]:
    """The command as `env` runs it in environment `env`: the recorder itself must not be improved."""
    become: list[str] = []
    if workload.user:
        uid, gid = workload.user
        become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]
    gone = [word for name in workload.env if name not in env for word in ("-u", name)]
    new = [f"{name}={value}" for name, value in env.items() if workload.env.get(name) != value]
    changed = ["env", *gone, *new] if gone or new else []
    return [*become, *changed, *workload.command]


def figure(before: dict[str, int], after: dict[str, int]) -> Figure:
    """The figure `syscalls`: counted once on each side, so it has no interval."""
    was, now = float(sum(before.values())), float(sum(after.values()))
    return Figure("calls", "lower", was, now, now / was if was else None, None, None, None, 1)
