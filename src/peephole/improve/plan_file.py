"""Plans as files: TOML of the caller's own.

Reading one is a matter of trust, since what it names will be loaded into programs: a plan that somebody else owns or
could have written, or whose certificates no longer fit, is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from peephole.errors import PlanError
from peephole.files import read_toml
from peephole.improve import ahead as reading
from peephole.improve.consent import parse
from peephole.improve.losses import losses_of, recheck
from peephole.improve.places import mounted
from peephole.improve.plan import Plan, PlannedMount, PlannedRule, covered, forced, lacking_for_ahead, named
from peephole.improve.private import check_private
from peephole.trace import Saving

SCHEMA = "peephole/plan"
VERSION = 1


def to_toml(plan: Plan) -> str:
    """The plan as a file's text."""
    lines = [
        "# A plan of Peephole: which proved rules act, where, with whose consent. Edit the rules of a mount as you",
        "# like; a certificate that does not fit its rule is refused.",
        f"schema = {_quote(SCHEMA)}",
        f"version = {VERSION}",
        f"consent = {_quote(plan.consent)}",
        f"command = {_list(plan.command)}",
    ]
    for rule in plan.rules:
        lines += ["", "[[rule]]", f"name = {_quote(rule.name)}", f"certificate = {_quote(rule.certificate)}"]
        lines += [f"source = {_quote(rule.source)}"] if rule.source else []
        lines += [f"findings = {_list(rule.findings)}"]
        if rule.saving is not None:
            s = rule.saving
            lines += [f"expected_saving_ns = {{ ns = {s.ns}, low = {s.low}, high = {s.high} }}"]
        if rule.price_ns:
            lines += [f"price_ns = {rule.price_ns}"]
    for mount in plan.mounts:
        lines += ["", "[[mount]]", f"point = {_quote(mount.point)}", f"dev = {mount.dev}"]
        lines += [f"fstype = {_quote(mount.fstype)}", f"profile = {_quote(mount.profile)}"]
        lines += [f"rules = {_list(mount.rules)}"]
    if plan.ahead is not None:
        lines += ["", "[ahead]", f"list = {_quote(plan.ahead.path.name)}", f"sha256 = {_quote(plan.ahead.digest)}"]
        lines += [f"files = {plan.ahead.files}", f"findings = {_list(plan.ahead.findings)}"]
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for lone surrogates, which TOML has no way to spell.
    return json.dumps(text.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: Iterable[str]) -> str:
    return "[" + ", ".join(_quote(value) for value in values) + "]"


def save(plan: Plan, path: Path) -> None:
    """Write the plan, for its owner only. Raises PlanError where it can't be written."""
    partial = path.with_name(path.name + ".part")
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(to_toml(plan))
        partial.rename(path)
    except OSError as e:
        with suppress(OSError):
            partial.unlink()
        raise PlanError(f"{path}: {e.strerror}; choose another place for the plan") from e


def load(path: Path, *, force: Sequence[str] = (), again: bool = False) -> Plan:
    """Read a plan. Raises PlanError when it is not the caller's own, not a plan, or its certificates do not fit.

    Rules that `force` names run whatever the plan and their certificates say, also when they are not in the plan;
    `again`: the others are proved first.
    """
    check_private(path)
    try:
        found = read_toml(path)
    except OSError as e:
        raise PlanError(f"{path}: {e.strerror}; name the plan's file") from e
    except ValueError as e:
        raise PlanError(f"{path}: not a plan ({e}); make one with peephole plan") from e
    if found.get("schema") != SCHEMA:
        raise PlanError(f"{path}: not a plan of peephole; make one with peephole plan")
    if found.get("version") != VERSION:
        raise PlanError(f"{path}: a plan of version {found.get('version')!r}, and this peephole reads {VERSION}")
    try:
        plan = _parse(found, path)
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise PlanError(f"{path}: damaged ({e!r}); make it again with peephole plan") from e
    for rule in plan.rules:
        if named(rule.word).name != rule.name:
            raise PlanError(f"{path}: {rule.source} is not the folder of {rule.name}; make the plan again")
        if again and rule.name not in {named(word).name for word in force}:
            recheck(rule.word)
    _check(plan, path, force)
    return forced(plan, force, mounted())


def _parse(found: dict[str, Any], path: Path) -> Plan:
    rules = tuple(
        PlannedRule(
            _str(rule["name"]),
            _str(rule["certificate"]),
            _strs(rule.get("findings", [])),
            Saving(**rule["expected_saving_ns"]) if "expected_saving_ns" in rule else None,
            int(rule.get("price_ns", 0)),
            _str(rule.get("source", "")),
        )
        for rule in found.get("rule", [])
    )
    mounts = tuple(
        PlannedMount(int(m["dev"]), _str(m["point"]), _str(m["fstype"]), _str(m["profile"]), _strs(m["rules"]))
        for m in found.get("mount", [])
    )
    listed = None
    if (one := found.get("ahead")) is not None:
        name = path.with_name(_str(one["list"]))  # a name only: with_name refuses a path
        listed = reading.Ahead(name, _str(one["sha256"]), int(one["files"]), _strs(one.get("findings", [])))
    return Plan(rules, mounts, _str(found.get("consent", "")), _strs(found.get("command", [])), listed)


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _strs(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is not a list")
    return tuple(_str(value) for value in values)


def _check(plan: Plan, path: Path, force: Sequence[str]) -> None:
    """Certificates fit, mounts are what they were, and the consent written down covers what will be lost."""
    consent = parse(plan.consent)
    by_force = {named(word).name for word in force}
    words = {rule.name: rule.word for rule in plan.rules}
    for rule in plan.rules:
        if rule.name not in by_force and losses_of(rule.word).digest != rule.certificate:
            raise PlanError(f"{path}: the certificate of {rule.name} is not the one planned with; make the plan again")
    if plan.ahead is not None:
        plan.ahead.check()
        if missing := lacking_for_ahead(plan):
            raise PlanError(f"{path}: {reading.NAME} gives up {missing[0]}, which the plan's consent does not cover")
    now = {place.dev: place for place in mounted()}
    for mount in plan.mounts:
        place = now.get(mount.dev)
        if place is None or mount.point not in place.points or place.fstype != mount.fstype:
            raise PlanError(f"{path}: {mount.point} is not the mount it was ({mount.fstype}); make the plan again")
        if place.profile != mount.profile:
            raise PlanError(f"{path}: {mount.point} is {place.profile}, not {mount.profile}; make the plan again")
        for name in mount.rules:
            if name not in plan.names():
                raise PlanError(f"{path}: {mount.point} names {name}, which is not among the plan's rules")
            if name in by_force:
                continue
            for guarantee, bound in losses_of(words[name]).on(mount.profile).items():
                if not covered(consent, guarantee, bound, place):
                    raise PlanError(
                        f"{path}: {name} gives up {guarantee} on {mount.point}, which the plan's consent does not "
                        "cover; make the plan again with --allow"
                    )
