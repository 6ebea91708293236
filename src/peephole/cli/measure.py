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

from peephole.cli.arming import arming, given_up, proofs, stories, used
from peephole.cli.options import MeasureOptions, say
from peephole.cli.progress import Progress
from peephole.errors import PeepholeError, RunError
from peephole.evaluate.counts import Recorded, by_name, figure, record
from peephole.evaluate.evaluate import Evaluation, sides, with_paths
from peephole.evaluate.pairs import Pairs
from peephole.evaluate.result import Result
from peephole.evaluate.warnings import Warning
from peephole.evaluate.workload import Workload, fs_folders
from peephole.improve.places import Place, written
from peephole.improve.plan import Plan


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
            repeat=options.repeat,
            on_run=self._step,
        )
        (folder / "runs").mkdir(exist_ok=True)
        self.evaluation = Evaluation(workload, pairs)
        self.extra: dict[str, Any] = {}
        self.recorded_runs = 0
        self._progress: Progress | None = None

    @property
    def workload(self) -> Workload:
        return self.evaluation.workload

    def usual_runs(self) -> int:
        """How often timed runs run a command that is not short: two a pair, and the warm-up."""
        return 2 * (1 + self.evaluation.pairs.most() * (self.options.repeat or 1))

    def how_often(self, more: int) -> str:
        """How often the command may be run, in words, with `more` runs beside the timed ones."""
        usual, most = self.usual_runs() + more, self.evaluation.pairs.most_runs() + more
        short = "" if usual == most else f" (or, when it is short and its runs scatter, up to {most} times)"
        return f"up to {usual} times{short}"

    def _step(self, what: str) -> None:
        if self._progress is not None:
            repeat = self.evaluation.pairs.repeat or 1
            if repeat > (self.options.repeat or 1):
                self._progress.at_most(self.evaluation.pairs.most_runs() + self.recorded_runs + 1)
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
        except OSError as e:
            # Streams and the log of pairs are written there; an error of a buffered file has no name.
            where = e.filename or self.folder
            raise RunError(f"{where}: {e.strerror}; make room, or choose another place with -o") from e
        finally:
            self._progress = None

    def step(self, what: str) -> None:
        """Show what goes on between runs."""
        if self._progress is not None:
            self._progress.tell(what)

    def _warn(self, name: str, advice: str) -> None:
        self.extra.setdefault("warnings", []).append(Warning(name, advice))

    def conclude(self, verdict: str, reason: str) -> None:
        """The answer without any pair."""
        self.evaluation.verdict, self.evaluation.reason = verdict, reason

    def observe(self) -> Recorded | None:
        """Record one unchanged run; None when it failed, which is then the answer."""
        self._step("observing")
        streams = self.folder / "runs" / "observed"
        try:
            recorded = record(self.workload, self.workload.env, self.folder / "capture", streams)
        except PeepholeError as e:
            self.conclude("failed", str(e))
            return None
        self.recorded_runs += 1
        self._flush_also(written(recorded.capture))
        self.extra["calls"] = {"before": by_name(recorded.capture)}
        meta = recorded.capture.meta
        self.extra["conditions"] = {
            "recorded_by": meta.engine + (f" ({meta.why_not_better})" if meta.why_not_better else "")
        }
        if meta.lost:
            self._warn("lost-events", f"{meta.lost} events were lost; nothing is claimed about the time around them")
        if recorded.exit_code == 0:
            return recorded
        name, see = self.workload.command[0], self.folder / "runs" / "observed" / "stderr"
        code = recorded.exit_code - 128 if recorded.exit_code > 128 else recorded.exit_code
        how = f"signal {code}" if recorded.exit_code > 128 else f"code {code}"
        self.conclude("failed", f"{name} (observed) ended with {how}; see {see}")
        return None

    def _flush_also(self, places: list[Place]) -> None:
        """The file systems that the command was seen to write to are flushed after each run, too."""
        folders = [*self.workload.file_systems, *(Path(place.points[0]) for place in places)]
        workload = replace(self.workload, file_systems=fs_folders(folders))
        self.evaluation.workload = self.evaluation.pairs.workload = workload

    def measure_plan(self, plan: Plan) -> None:
        """Measure the pairs with the plan's rules, then count the improved calls."""
        self.extra["given_up"] = given_up(plan)
        self.extra["stories"] = stories(plan)
        self.extra["proofs"] = proofs(plan)

        def after(armed: Any) -> None:
            found = used(plan, armed, self.folder / "runs")
            found["warnings"] = [*self.extra.get("warnings", []), *found.get("warnings", [])]
            self.extra |= found

        if plan.ahead is not None:
            self.evaluation.pairs.beside = plan.ahead.helper()
        # What is only read ahead needs nothing in the program, and changes no call.
        arm = arming(plan, self.workload) if plan.rules or plan.ahead is None else None
        self.measure(arm, after)
        if arm is not None and self.evaluation.verdict not in ("failed", "different"):
            self.count(arm)

    def count(self, arm: Callable[[], Any] | None) -> None:
        """Record one improved run (one unchanged first, unless there is one) and compare the calls."""
        if "calls" not in self.extra:
            verdict, reason = self.evaluation.verdict, self.evaluation.reason
            failed = self.observe() is None
            if failed:
                self._warn("no-count", f"calls could not be counted: {self.evaluation.reason}")
            self.evaluation.verdict, self.evaluation.reason = verdict, reason
            if failed:
                return
        self._step("counting calls")
        streams = self.folder / "runs" / "observed-after"
        try:
            with sides(self.workload, arm) as (_, armed_env, _armed):
                recorded = record(self.workload, armed_env, self.folder / "after", streams)
        except PeepholeError as e:
            self._warn("no-count", f"calls could not be counted: {e}")
            return
        self.recorded_runs += 1
        before, after = self.extra["calls"]["before"], by_name(recorded.capture)
        self.extra["calls"] = {"before": before, "after": after}
        self.extra["figures"] = {"syscalls": figure(before, after)}

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
        self_cost = found.self_cost | {"runs": found.self_cost["runs"] + self.recorded_runs}
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
