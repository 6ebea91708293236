"""Measure a workload before and after, and judge."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peephole.errors import RunError
from peephole.evaluate import conditions, recorders, same, statistics, warnings
from peephole.evaluate.pairs import Differs, Failed, Pairs
from peephole.evaluate.result import Result
from peephole.evaluate.workload import Workload


@dataclass
class Evaluation:
    """One evaluation in progress: `result()` is right at any time, also after an interruption."""

    workload: Workload
    pairs: Pairs
    verdict: str = "failed"
    reason: str = "interrupted before the first pair"
    figures: dict[str, statistics.Figure] = field(default_factory=dict)
    differences: list[same.Difference] = field(default_factory=list)
    extra_warnings: list[warnings.Warning] = field(default_factory=list)
    recorders: list[str] = field(default_factory=list)
    begun_s: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Measure until the answer is clear; failures and differing outputs become the verdict."""
        self.recorders += recorders.attached()
        try:
            self.figures = self.pairs.measure()
        except Failed as e:
            self._end("failed", str(e))
        except RunError as e:
            self._end("failed", str(e))
        except Differs as e:
            self.differences = e.found
            first = str(e.found[0])
            if e.unstable:
                self._end(
                    "different",
                    f"two unchanged runs of the command already differ ({first}); "
                    "leave that out with --same, or make the command repeatable with --fresh",
                )
            else:
                self._end("different", f"outputs before and after differ: {first}")
        except (KeyboardInterrupt, SystemExit):
            self._end("failed", f"interrupted after {len(self.pairs.done)} pairs")
            raise
        else:
            self.verdict, self.reason = statistics.verdict(self.figures, self.pairs.primary)
            self.recorders += recorders.attached()

    def _end(self, verdict: str, reason: str) -> None:
        self.verdict, self.reason = verdict, reason
        self.figures = self.pairs.figures()

    def result(self) -> Result:
        """What is known now."""
        held = conditions.of_workload(self.pairs.workload)
        return Result(
            verdict=self.verdict,
            reason=self.reason,
            command=list(self.workload.command),
            primary=self.pairs.primary,
            figures=self.figures,
            pairs=len(self.pairs.done),
            differences=self.differences,
            ratios=[
                _ratios(pair.number, pair.first, pair.before.figures, pair.after.figures) for pair in self.pairs.done
            ],
            warnings=self._warnings(held["file_systems"]),
            conditions=conditions.machine() | held | conditions.of_pairs(self.pairs),
            self_cost=own_cost(self.begun_s, self.pairs.runs),
        )

    def _warnings(self, mounts: list[dict[str, str]]) -> list[warnings.Warning]:
        if not self.pairs.done:
            return warnings.of_environment(self.workload.env) + self.extra_warnings
        return [
            *warnings.of_environment(self.workload.env),
            *warnings.of_recorders(self.recorders),
            *warnings.of_file_systems(mounts),
            *warnings.of_figures(self.figures, self.pairs.primary),
            *warnings.of_pairs(self.pairs),
            *self.extra_warnings,
        ]


def _ratios(number: int, first: str, before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    ratios = {name: after[name] / value for name, value in before.items() if value > 0 and name in after}
    return {"pair": number, "first": first, "ratios": ratios}


def own_cost(begun_s: float, runs: int) -> dict[str, Any]:
    """What Peephole itself took: seconds in all, its own process's CPU, how often it ran the command."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(time.monotonic() - begun_s, 3),
        "cpu_s": round(used.ru_utime + used.ru_stime, 3),
        "runs": runs,
    }


@contextmanager
def sides(workload: Workload, arm: Callable[[], Any] | None) -> Iterator[tuple[dict[str, str], dict[str, str], Any]]:
    """The environments before and after, and what is armed: None for the control without the interposer."""
    if arm is None:
        yield workload.env, workload.env, None
        return
    with arm() as armed:
        yield workload.env, armed.environment(workload.env), armed


_OPTIONAL = {"capture": "capture", "plan": "plan.toml"}


def with_paths(result: Result, folder: Path) -> Result:
    """The result with the places of its files."""
    return replace(
        result,
        paths={
            "folder": str(folder),
            "result": str(folder / "result.json"),
            "report": str(folder / "report.html"),
            "runs": str(folder / "runs"),
        }
        | {name: str(folder / file) for name, file in _OPTIONAL.items() if (folder / file).exists()},
    )
