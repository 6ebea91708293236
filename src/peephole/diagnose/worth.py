"""Which findings are worth saying."""

from __future__ import annotations

from peephole.diagnose.gives_up import exists, gives_up
from peephole.diagnose.prices import Beside
from peephole.diagnose.sums import Sum
from peephole.diagnose.times import Time
from peephole.trace import Finding, Saving

#: a finding that saves less than this share of its program's time is not worth saying
WORTH_SHARE = 0.01
#: or less than this share of what all captured programs took: nobody waits for that
WORTH_SHARE_OF_ALL = 0.002
#: nor are all of a program together, when they save less than this once the program was armed: what rests on prices is
#: no better known than that (the figure is half of what a wrong "nothing" may hide)
WORTH_SHARE_TOGETHER = 0.05
#: unless it waits for this share of its program's life
WORTH_BLOCKED_SHARE = 0.05
#: nor is one of fewer calls than this: it is not a habit, and attaching costs more
WORTH_CALLS = 50


def finding_of(part: Sum, times: dict[str, Time], all_ns: int) -> Finding | None:
    """The finding, or None where it is not worth saying."""
    detector = part.detector
    before, after = part.before, part.after
    saved = before[1] - after[1]
    spread = (before[1] - before[0]) + (after[2] - after[1])
    time = times.get(part.program, Time())
    waits = part.blocked_ns > WORTH_BLOCKED_SHARE * time.alive_ns > 0
    if part.calls < WORTH_CALLS and not (detector.waiting and waits):
        return None
    if not waits and (saved <= 0 or saved < max(WORTH_SHARE * (time.busy_ns or 0), WORTH_SHARE_OF_ALL * all_ns)):
        return None
    saving = Saving(round(saved), round(max(0.0, saved - spread)), round(max(saved, before[2] - after[0])))
    rule, advice = _removed_by(part)
    return Finding(
        slug=detector.slug,
        kind=detector.kind,
        program=part.program,
        pids=sorted(part.pids),
        object=part.objects.name(),
        layer=part.layer or list(detector.layer),
        calls=part.calls,
        bytes=part.bytes,
        kernel_ns=round(before[1]),
        kernel_ns_estimated=True,
        blocked_ns=part.blocked_ns,
        saving=None if detector.waiting or saved <= 0 else saving,
        rule=rule,
        gives_up=sorted({g for one in (rule, *detector.needs) for g in gives_up(one)}) if rule else [],
        advice=advice,
        overlaps=dict(part.overlaps.most_common()),
        needs=list(detector.needs) if rule else [],
    )


def _removed_by(part: Sum) -> tuple[str | None, str]:
    """The rule that removes it here, and the advice; a rule that there is none of yet is only spoken of."""
    rule, advice = part.detector.rule, part.detector.advice
    if rule is None:
        return None, advice
    if not exists(rule):
        return None, f"{advice}; the rule {rule}, which would do it, is not part of this Peephole"
    if not part.handled:
        return None, f"{advice}; {rule} leaves it alone, since {part.detector.left_alone}"
    return rule, advice


def arming_of(told: list[tuple[Sum, Finding]], times: dict[str, Time]) -> dict[str, int]:
    """What the interposer costs each program beside what its rules do."""
    with_rule = [(part, finding) for part, finding in told if finding.rule]
    beside: dict[str, Beside] = {}
    for part, finding in with_rule:
        times.setdefault(finding.program, Time()).found += finding.calls
        beside[finding.program] = beside.get(finding.program, Beside()) | part.beside
    return {program: time.arming_ns(beside.get(program, Beside())) for program, time in times.items()}


def worth_together(findings: list[Finding], times: dict[str, Time], arming: dict[str, int]) -> list[Finding]:
    """Without those of programs for which all findings together save too little to be seen."""
    saved: dict[str, int] = {}
    for finding in findings:
        saved[finding.program] = saved.get(finding.program, 0) + (finding.saving.ns if finding.saving else 0)
    gained = {program: ns - arming.get(program, 0) for program, ns in saved.items()}
    return [f for f in findings if _shows(f, gained[f.program], times.get(f.program, Time()))]


def _shows(finding: Finding, gained_ns: int, time: Time) -> bool:
    if time.busy_ns is None or gained_ns >= WORTH_SHARE_TOGETHER * time.busy_ns:
        return True
    return finding.blocked_ns > WORTH_BLOCKED_SHARE * time.alive_ns > 0
