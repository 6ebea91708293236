"""Processes that prove: two that share out the calls, and one beside them.

A process is a copy of this one where it has no other thread that could hold a lock just then.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from peephole.errors import RuleError

_T = TypeVar("_T")
_A = TypeVar("_A")
PROVING = 2
TIMEOUT_S = 900.0


class Workers:
    """`proving` look at the calls, `beside` searches meanwhile."""

    def __init__(self, what: Path) -> None:
        import z3  # noqa: F401 - once here, and not in each process

        alone = len(list(Path("/proc/self/task").iterdir())) == 1
        context = multiprocessing.get_context("fork" if alone else "spawn")
        every = [ProcessPoolExecutor(1, mp_context=context, initializer=_end_at_once) for _ in range(PROVING + 1)]
        self.what, self.proving, self.beside = what, every[:PROVING], every[PROVING]

    def result(self, future: Future[_T]) -> _T:
        """What a process has found. Raises RuleError when it takes too long, or what went wrong there."""
        try:
            return future.result(timeout=TIMEOUT_S)
        except TimeoutError:
            raise self.late() from None

    def late(self) -> RuleError:
        return RuleError(f"{self.what}: not proved within {TIMEOUT_S:.0f} s")

    def spread(
        self, work: Callable[[_A], _T], on: Sequence[_A], done: Callable[[int], None], beside: bool = True
    ) -> list[_T]:
        """One thing after another, by whichever process has nothing to do; results in the order of `on`."""
        left = list(enumerate(on))[::-1]
        found: dict[int, _T] = {}
        running: dict[Future[_T], tuple[int, ProcessPoolExecutor]] = {}
        idle = [*self.proving, self.beside] if beside else [*self.proving]
        while left or running:
            while left and idle:
                i, one = left.pop()
                process = idle.pop()
                running[process.submit(work, one)] = (i, process)
            ready, _ = wait(running, TIMEOUT_S, FIRST_COMPLETED)
            if not ready:
                raise self.late()
            for future in ready:
                i, process = running.pop(future)
                found[i] = future.result()
                idle.append(process)
            done(len(found))
        return [found[i] for i in range(len(on))]

    def end(self) -> None:
        for pool in (*self.proving, self.beside):
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(cancel_futures=True)


@contextmanager
def workers(what: Path) -> Iterator[Workers]:
    """Processes for as long as something is proved; `what` is named where it takes too long."""
    made = Workers(what)
    try:
        yield made
    finally:
        made.end()


def _end_at_once() -> None:
    """A worker is ended by its parent, perhaps while it reads half a message: it has nothing to say to that.

    What goes wrong in its work travels back as the work's result. Terms make no cycles: looking for such among a
    million of them would cost a sixth of a proof.
    """
    gc.disable()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the worker lives


__all__ = ["Workers", "workers"]
