"""How the improved side of a measurement is armed, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from peephole.evaluate.result import GivenUp, RuleUse
from peephole.evaluate.warnings import Warning
from peephole.evaluate.workload import Workload, find_program
from peephole.improve.launch import Target
from peephole.improve.plan import Plan


class Arming:
    """A plan's rules, ready to act in one command. A context manager, as `peephole.improve.arm.Armed`."""

    def __init__(self, plan: Plan, workload: Workload) -> None:
        from peephole.improve.arm import arm

        self._target = target_of(workload)
        self._armed = arm(
            plan.names(),
            mounts=plan.mounts,
            target=self._target,
            owner=workload.user,
            prices=plan.prices(),
            trusts=plan.trusts(),
            sources=plan.sources(),
        )

    def environment(self, base: dict[str, str]) -> dict[str, str]:
        """`base` with the runtime in it; the supervisor opens the streams for the command alone."""
        return self._armed.environment(base, self._target, own=(1, 2))

    def stats(self) -> Any:
        """What the runtime counted, see `peephole.improve.control.Stats`."""
        return self._armed.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._armed.close()


def target_of(workload: Workload) -> Target:
    """The file that the workload's command runs, and whether the runtime can enter it."""
    from peephole.improve.launch import examine

    return examine(Path(find_program(workload.command[0], workload.cwd, workload.env)))


def arming(plan: Plan, workload: Workload) -> Callable[[], Any]:
    """A function that arms the plan's rules in the workload's command."""
    return lambda: Arming(plan, workload)


def given_up(plan: Plan) -> list[GivenUp]:
    """What the plan gives up, for the result."""
    return [GivenUp(g.guarantee, g.bound, g.profile or None, list(g.rules), list(g.where)) for g in plan.given_up()]


def stories(plan: Plan) -> list[dict[str, Any]]:
    """The counterexamples in the certificates: how a lost guarantee can show. Each rule and guarantee once."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    known = {rule.name: rule.losses() for rule in plan.rules}
    for mount in plan.mounts:
        for name in mount.rules:
            losses = known[name]
            for guarantee in losses.on(mount.profile):
                story = losses.stories.get((mount.profile, guarantee))
                if story:
                    found.setdefault((name, guarantee), {"rule": name, "guarantee": guarantee, "story": story})
    return list(found.values())


def proofs(plan: Plan) -> list[dict[str, Any]]:
    """What was proved of the plan's rules on the profiles of its mounts: each guarantee, kept or given up."""
    from peephole.prove.certificate import load_certificate

    found = []
    for rule in plan.rules:
        if rule.trust != "verified":
            continue
        proof = load_certificate(rule.word)
        profiles = dict.fromkeys(mount.profile for mount in plan.mounts if rule.name in mount.rules)
        about = {"rule": proof.name, "digest": proof.digest, "seconds": proof.seconds, "queries": proof.queries}
        found.append(about | {"guarantees": {p: proof.guarantees[p] for p in profiles}})
    return found


def used(plan: Plan, armed: Any, runs: Path) -> dict[str, Any]:
    """What the rules did in the improved runs, whose folders are in `runs`, and which processes were not covered."""
    stats = armed.stats() if armed is not None else {"rules": {}, "not_covered": []}
    found: dict[str, Any]
    rules = []
    for rule in plan.rules:
        seen = stats["rules"].get(rule.name, {})
        why_not = {why: count for why, count in seen.get("why_not", {}).items() if count}
        rules.append(
            RuleUse(
                rule.name,
                rule.trust,
                seen.get("hits", 0),
                seen.get("settled", 0),
                why_not,
                seen.get("switched_off"),
            )
        )
    if plan.ahead is not None:
        rules.append(_read_ahead(runs))
    found = {"rules": rules, "not_covered": not_covered(stats)}
    found["warnings"] = [Warning("trusted-rule", said) for said in plan.on_trust()]
    if rules and not any(rule.hits for rule in rules):
        advice = "no rule acted in any improved run; see why under the rules, and what was not covered"
        found["warnings"].append(Warning("no-hits", advice))
    return found


def _read_ahead(runs: Path) -> RuleUse:
    """What was read ahead beside the improved runs: a hit is a file that was cold."""
    from peephole.evaluate.run import BESIDE
    from peephole.improve.ahead import NAME, said

    told = [said(path.read_bytes()) for path in sorted(runs.glob(f"*/{BESIDE}"))]
    why_not = {why: sum(one.get(why, 0) for one in told) for why in ("warm", "gone")}
    killed = sum(one["ended"] == "killed" for one in told)
    return RuleUse(NAME, "isolated", sum(one.get("cold", 0) for one in told), 0, why_not | {"killed": killed})


#: peephole.improve.control.UNCOVERED in words
WHY_NOT_COVERED = {
    "sites": "a call site that matters could not be patched",
    "secure": "set-uid, set-gid or with capabilities",
    "static": "static: it has no dynamic linker",
    "foreign": "not an x86-64 program for this dynamic linker",
    "library": "the runtime can't be reached from there (chroot or mount namespace)",
    "sandbox": "it runs, or was started, under a seccomp filter",
    "unknown_libc": "no list of call sites for its libc",
}


def not_covered(stats: Any) -> list[dict[str, Any]]:
    """Processes in which no rule could act, each program and reason once."""
    found = {(one["exe"], one["why"]): one for one in stats["not_covered"]}
    return [dict(one) | {"why": WHY_NOT_COVERED.get(one["why"], one["why"])} for one in found.values()]
