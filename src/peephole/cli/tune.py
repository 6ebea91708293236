"""`peephole tune`: all five stages, one answer."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Any

import click

from peephole.cli.options import COMMAND_SETTINGS, measure_options, say, take, workload_of


@click.command(context_settings=COMMAND_SETTINGS)
@click.option("--once", is_flag=True, help="Observe and diagnose only: COMMAND runs once.")
@click.option("--dry-run", is_flag=True, help="Stop before anything is applied: COMMAND runs once, and a plan is made.")
@measure_options
def command(once: bool, dry_run: bool, **values: Any) -> int:
    """Find, prove, apply and measure what makes COMMAND cheaper.

    COMMAND is run several times: once observed, then in pairs with and without the rules that --allow covers.
    """
    options = take(values)
    from peephole.cli.folders import result_folder
    from peephole.cli.measure import Session
    from peephole.improve import consent

    allowed = consent.parse(options.allow)
    folder = result_folder(options.out, options.command[0])
    session = Session(options, workload_of(options, folder), folder)
    say(_announcement(session, once or dry_run))
    with session.running(1 if once or dry_run else session.usual_runs() + 2):
        _Tuning(session, allowed, once, dry_run).run()
    return session.finish()


def _announcement(session: Any, only_once: bool) -> str:
    name = shlex.join(session.workload.command)
    if only_once:
        return f"peephole: {name} will be run once, observed"
    return (
        f"peephole: {name} will be run {session.how_often(2)}: once observed, then (if anything is worth changing) "
        f"in at most {session.evaluation.pairs.most()} pairs after a warm-up, and once more observed"
    )


class _Tuning:
    """The five stages over one session."""

    def __init__(self, session: Any, allowed: Any, once: bool, dry_run: bool) -> None:
        self.session = session
        self.allowed = allowed
        self.once = once
        self.dry_run = dry_run

    def run(self) -> None:
        """Observe, diagnose, plan, and measure what the plan changes."""
        from peephole.improve import ahead

        recorded = self.session.observe()
        if recorded is None:
            return
        diagnosis = self._diagnose(recorded)
        if self.once:
            self.session.conclude("no-gain", "observed and diagnosed only (--once)")
            return
        plan = self._plan(diagnosis, recorded)
        names = [*plan.names(), *([ahead.NAME] if plan.ahead else [])]
        if not names:
            self.session.conclude("no-gain", self._why_nothing(recorded.capture.meta.lost, diagnosis.withheld))
        elif self.dry_run:
            self.session.conclude("no-gain", f"nothing was applied (--dry-run); the plan has {', '.join(names)}")
        elif plan.rules and (why := self._why_not_here()) is not None:
            self.session.conclude("no-gain", f"no rule can act in this program: {why}")
        else:
            self.session.measure_plan(plan)

    def _why_not_here(self) -> str | None:
        """Why the runtime can't enter the command, if so; then it is not covered."""
        from peephole.cli.arming import WHY_NOT_COVERED, target_of

        target = target_of(self.session.workload)
        if target.why is None:
            return None
        why = WHY_NOT_COVERED.get(target.why, target.why)
        self.session.extra["not_covered"] = [{"pid": 0, "exe": str(target.program or target.path), "why": why}]
        return why

    def _diagnose(self, recorded: Any) -> Any:
        from peephole.diagnose.engine import diagnose
        from peephole.improve.armed import prices_for

        self.session.step("diagnosing")
        diagnosis = diagnose([recorded.capture], prices_for)
        self.session.extra["findings"] = [asdict(finding) for finding in diagnosis.findings]
        return diagnosis

    def _plan(self, diagnosis: Any, recorded: Any) -> Any:
        from peephole.improve import places, plan, plan_file
        from peephole.improve.losses import losses_of

        for name in dict.fromkeys(rule for finding in diagnosis.findings for rule in plan.wanted_by(finding)):
            # The first time takes a while; the certificate is kept.
            self.session.step(f"proving {name}")
            losses_of(name)
        self.session.step("planning")
        touched = places.touched(recorded.capture, self.session.workload.cwd)
        chosen, declined = plan.choose(diagnosis.findings, touched, self.allowed, self.session.workload.command)
        chosen, more = plan.with_ahead(chosen, diagnosis.findings, recorded.capture, self.session.folder / "plan.toml")
        declined += more
        plan_file.save(chosen, self.session.folder / "plan.toml")
        self.session.extra["declined"] = [declined_json(one) for one in declined]
        return chosen

    def _why_nothing(self, lost: int, withheld: int) -> str:
        if any(one["missing"] for one in self.session.extra["declined"]):
            return "nothing worth changing without consent"
        if lost:
            return (
                f"nothing worth changing in what was seen, but {lost:,} events were lost and {withheld:,} findings "
                "that rest on them withheld; try again when the machine has less to do"
            )
        return "nothing worth changing"


def declined_json(one: Any) -> dict[str, Any]:
    """A declined rule for the result, with what the missing consent would be expected to buy."""
    from peephole.report.words import amount

    why = one.why
    if one.missing and one.saving is not None:
        low, high = amount(one.saving.low / 1e9, "s"), amount(one.saving.high / 1e9, "s")
        why += (
            f"; --allow {','.join(one.missing)} is expected to save {amount(one.saving.ns / 1e9, 's')} of CPU a run "
            f"({low} to {high})"
        )
    return asdict(one) | {"why": why}
