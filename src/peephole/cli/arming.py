"""How the improved side of a measurement is armed, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peephole.evaluate.result import GivenUp, RuleUse
from peephole.improve.losses import losses_of
from peephole.improve.plan import Plan


def arming(plan: Plan) -> Callable[[], Any]:
    """A function that arms the plan's rules on its mounts: a context manager with environment, stats and close."""

    def arm() -> Any:
        from peephole.improve.arm import arm as arm_rules

        return arm_rules(plan.names(), mounts=plan.mounts)

    return arm


def given_up(plan: Plan) -> list[GivenUp]:
    """What the plan gives up, for the result."""
    return [GivenUp(g.guarantee, g.bound, g.profile, list(g.rules), list(g.where)) for g in plan.given_up()]


def stories(plan: Plan) -> list[dict[str, Any]]:
    """The counterexamples in the certificates: how a lost guarantee can show. Each rule and guarantee once."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for mount in plan.mounts:
        for name in mount.rules:
            losses = losses_of(name)
            for guarantee in losses.on(mount.profile):
                story = losses.stories.get((mount.profile, guarantee))
                if story:
                    found.setdefault((name, guarantee), {"rule": name, "guarantee": guarantee, "story": story})
    return list(found.values())


def used(plan: Plan, armed: Any) -> dict[str, Any]:
    """What the rules did in the improved runs, and which processes were not covered."""
    stats = armed.stats()
    rules = []
    for rule in plan.rules:
        seen = stats["rules"].get(rule.name, {})
        why_not = {why: count for why, count in seen.get("why_not", {}).items() if count}
        rules.append(
            RuleUse(
                rule.name,
                "verified",
                seen.get("hits", 0),
                seen.get("settled", 0),
                why_not,
                seen.get("switched_off"),
            )
        )
    return {"rules": rules, "not_covered": stats["not_covered"]}
