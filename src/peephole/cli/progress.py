"""A progress bar on a terminal, nothing on a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Progress:
    """Counts steps on standard error; use as a context manager.

    `total` is the most steps there will be; `step(what)` tells what begins now.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._bar: Any = None
        self._task: Any = None
        self._begun = False

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            self._bar = Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self.total)
        return self

    def step(self, what: str) -> None:
        """The step before is done; `what` begins."""
        if self._bar is not None:
            self._bar.update(self._task, description=what, advance=1 if self._begun else 0)
        self._begun = True

    def at_most(self, total: int) -> None:
        """There will be at most so many steps after all."""
        if total != self.total:
            self.total = total
            if self._bar is not None:
                self._bar.update(self._task, total=total)

    def tell(self, what: str) -> None:
        """Something else goes on, which is no step."""
        if self._bar is not None:
            self._bar.update(self._task, description=what)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
