"""One measurement as the command line runs it: progress, interruption, saving, the answer."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from peephole.cli.options import MeasureOptions, say
from peephole.cli.progress import Progress
from peephole.evaluate.evaluate import Evaluation, sides, with_paths
from peephole.evaluate.pairs import Pairs
from peephole.evaluate.result import Result
from peephole.evaluate.workload import Workload


class Session:
    """Measures a workload for a verb, and keeps what was measured whatever happens.

    Fields of the result that come from other stages (findings, rules, what was given up ...) are collected in
    `extra`; they are put into the result by name.
    """

    def __init__(self, options: MeasureOptions, workload: Workload, folder: Path) -> None:
        self.options = options
        self.folder = folder
        pairs = Pairs(
            workload=workload,
            before=workload.env,
            after=workload.env,
            folder=folder / "runs",
            seed=options.chosen_seed(),
            primary=options.primary,
            fixed=options.pairs,
            on_run=self._step,
        )
        (folder / "runs").mkdir(exist_ok=True)
        self.evaluation = Evaluation(workload, pairs)
        self.extra: dict[str, Any] = {}
        self._progress: Progress | None = None

    @property
    def workload(self) -> Workload:
        return self.evaluation.workload

    def most_runs(self) -> int:
        """How often timed runs may run the command: two a pair, and the warm-up."""
        return 2 * (1 + self.evaluation.pairs.most())

    def _step(self, what: str) -> None:
        if self._progress is not None:
            self._progress.step(what)

    @contextmanager
    def running(self, runs: int) -> Iterator[None]:
        """Show progress over at most `runs` runs; on an interruption, keep what was measured and pass it on."""
        try:
            with Progress(runs) as self._progress:
                yield
        except (KeyboardInterrupt, SystemExit):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.save()
            say(f"peephole: what was measured is in {self.folder}")
            raise
        finally:
            self._progress = None

    def measure(self, arm: Callable[[], Any] | None, after: Callable[[Any], None] = lambda armed: None) -> None:
        """Run the pairs; `after` is called with what was armed, before it is taken down (also on failure)."""
        with sides(self.workload, arm) as (plain, armed_env, armed):
            self.evaluation.pairs.before, self.evaluation.pairs.after = plain, armed_env
            try:
                self.evaluation.run()
            finally:
                after(armed)

    def result(self) -> Result:
        """The result as it stands."""
        found = self.evaluation.result()
        extra = dict(self.extra)
        figures = found.figures | extra.pop("figures", {})
        self_cost = found.self_cost | extra.pop("self_cost", {})
        repeat = {"repeat": f"cd {shlex.quote(str(self.workload.cwd))} && peephole {shlex.join(sys.argv[1:])}"}
        conditions = found.conditions | extra.pop("conditions", {}) | repeat
        warnings = found.warnings + extra.pop("warnings", [])
        whole = replace(found, figures=figures, self_cost=self_cost, conditions=conditions, warnings=warnings, **extra)
        return with_paths(whole, self.folder)

    def save(self) -> Result:
        """Write result.json and report.html."""
        from peephole.report.html import write_report

        result = self.result()
        result.save(self.folder / "result.json")
        write_report(result, self.folder / "report.html")
        return result

    def finish(self) -> int:
        """Save, print the answer, and return the exit code."""
        result = self.save()
        if self.options.as_json:
            print(json.dumps(result.to_json()))
        elif result.verdict == "failed":
            say(f"peephole: {result.reason}")
        else:
            from peephole.cli.answer import print_result

            print_result(result)
        return result.exit_code
