"""Plans: which proved rules will act, where, with whose consent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from peephole.errors import PlanError, RuleError
from peephole.improve import ahead as reading
from peephole.improve.consent import Consent
from peephole.improve.losses import Losses, losses_of, recheck, unproved_losses
from peephole.improve.own import folder_of
from peephole.improve.places import Place
from peephole.trace import Capture, Finding, Saving


@dataclass(frozen=True)
class PlannedRule:
    """One rule of a plan: the digest of its certificate, the findings it is for, what it should save a run."""

    name: str
    certificate: str
    findings: tuple[str, ...] = ()
    saving: Saving | None = None
    price_ns: int = 0  # what one call costs at most that is replaced, or 0 where that is not known
    source: str = ""  # the folder of a rule of the user's own
    trust: str = "verified"  # "trusted" (--force) or "isolated" (--isolate): the caller says so; never read from a file

    def losses(self) -> Losses:
        """What it gives up. Raises RuleError for a verified one without certificate."""
        return unproved_losses(self.word) if self.trust != "verified" else losses_of(self.word)

    @property
    def word(self) -> str:
        """What proofs know it by: its name, or the folder of a rule of the user's own."""
        return self.source or self.name


@dataclass(frozen=True)
class PlannedMount:
    """One mount that rules may act on, and which of the plan's rules."""

    dev: int
    point: str
    fstype: str
    profile: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """One guarantee that a plan gives up."""

    guarantee: str
    bound: str | None
    profile: str
    rules: tuple[str, ...]
    where: tuple[str, ...]


@dataclass(frozen=True)
class Declined:
    """A rule that was not chosen: why, and the consent that would change it with what it should then save."""

    rule: str
    why: str
    missing: tuple[str, ...] = ()
    saving: Saving | None = None


@dataclass(frozen=True)
class Plan:
    """Rules, where they may act, and the consent they were chosen under."""

    rules: tuple[PlannedRule, ...] = ()
    mounts: tuple[PlannedMount, ...] = ()
    consent: str = ""
    command: tuple[str, ...] = field(default=())
    ahead: reading.Ahead | None = None  # what is read ahead beside the program

    def prices(self) -> dict[str, int]:
        """What one call costs at most that is replaced, by rule, in nanoseconds, where that is known."""
        return {rule.name: rule.price_ns for rule in self.rules if rule.price_ns}

    def names(self) -> list[str]:
        """The names of its rules."""
        return [rule.name for rule in self.rules]

    def sources(self) -> dict[str, str]:
        """The folders of the rules that are the user's own, by name."""
        return {rule.name: rule.source for rule in self.rules if rule.source}

    def trusts(self) -> dict[str, str]:
        """The rules that run unproved or without consent, because the caller says so: trusted, or isolated."""
        return {rule.name: rule.trust for rule in self.rules if rule.trust != "verified"}

    def isolated(self, words: Sequence[str]) -> Plan:
        """The plan with these of its rules not trusted: what they do is compared with the kernel while they run."""
        names = {named(word).name for word in words}
        return replace(self, rules=tuple(replace(r, trust="isolated") if r.name in names else r for r in self.rules))

    def on_trust(self) -> list[str]:
        """A line for each rule that runs on the caller's word: that it does, and what it may give up."""
        given, lines = self.given_up(), []
        for name, trust in self.trusts().items():
            lost = sorted({g.guarantee for g in given if name in g.rules})
            how = "trusted, not verified (--force)" if trust == "trusted" else "isolated, not verified (--isolate)"
            lines.append(f"{name} is {how}; it may give up {', '.join(lost) or 'nothing'}")
        return lines

    def given_up(self) -> list[Given]:
        """What the plan gives up, from the certificates: each guarantee and profile once."""
        found: dict[tuple[str, str | None, str], tuple[list[str], list[str]]] = {}
        losses = {rule.name: rule.losses() for rule in self.rules}
        for mount in self.mounts:
            for name in mount.rules:
                for guarantee, bound in losses[name].on(mount.profile).items():
                    rules, where = found.setdefault((guarantee, bound, mount.profile), ([], []))
                    rules += [name] if name not in rules else []
                    where += [mount.point] if mount.point not in where else []
        beside = [Given(g, None, "", (reading.NAME,), ()) for g in reading.GIVES_UP] if self.ahead else []
        return [
            *(Given(*key, tuple(rules), tuple(where)) for key, (rules, where) in sorted(found.items(), key=str)),
            *beside,
        ]


def choose(
    findings: Iterable[Finding], places: Sequence[Place], consent: Consent, command: Sequence[str] = ()
) -> tuple[Plan, list[Declined]]:
    """The rules that remove `findings` on `places` and that `consent` covers there; and those that were declined.

    A rule acts on whole mounts only: consent below a path counts where the mount lies below it, by all its names.
    """
    rules: list[PlannedRule] = []
    declined: list[Declined] = []
    allowed: dict[int, list[str]] = {}
    for name, about in _by_rule(findings).items():
        saving = _sum(finding.saving for finding in about if finding.rule == name)
        try:
            losses = losses_of(name)
        except RuleError as e:
            declined.append(Declined(name, f"it is not proved here: {e}", (), saving))
            continue
        devs, refusal = _where(name, losses, places, consent, saving)
        if refusal is not None:
            declined.append(refusal)
        if devs:
            slugs = tuple(dict.fromkeys(finding.slug for finding in about))
            price_ns = _price(finding for finding in about if finding.rule == name)
            rules.append(PlannedRule(name, losses.digest, slugs, saving, price_ns))
            for dev in devs:
                allowed.setdefault(dev, []).append(name)
    mounts = [
        PlannedMount(place.dev, place.points[0], place.fstype, place.profile or "", tuple(allowed[place.dev]))
        for place in places
        if place.dev in allowed
    ]
    return Plan(tuple(rules), tuple(mounts), str(consent), tuple(command)), declined


def with_ahead(plan: Plan, findings: Iterable[Finding], capture: Capture, path: Path) -> tuple[Plan, list[Declined]]:
    """`plan`, which will lie at `path`, with a list beside it of what to read ahead, where findings ask for that.

    Raises PlanError when the list can't be written.
    """
    slugs = tuple(dict.fromkeys(finding.slug for finding in findings if finding.rule == reading.NAME))
    if not slugs:
        return plan, []
    if missing := lacking_for_ahead(plan):
        why = f"it gives up more than is allowed; --allow {','.join(missing)}"
        return plan, [Declined(reading.NAME, why, missing)]
    return replace(plan, ahead=reading.write_list(capture, path.with_suffix(".ahead"), slugs)), []


def lacking_for_ahead(plan: Plan) -> tuple[str, ...]:
    from peephole.improve.consent import parse

    return tuple(g for g in reading.GIVES_UP if not parse(plan.consent).covers(g, None))


def of_rules(
    names: Sequence[str], places: Sequence[Place], consent: Consent, force: Sequence[str] = (), again: bool = False
) -> Plan:
    """A plan of named rules, and of those that `force` adds, on all places whatever they give up.

    `again`: prove them first, whatever certificate there is. Raises PlanError when consent is missing everywhere,
    RuleError for an unknown rule.
    """
    rules: list[PlannedRule] = []
    allowed: dict[int, list[str]] = {}
    by_force = {rule.name for rule in map(named, force)}
    for rule in dict.fromkeys(map(named, names)):
        name = rule.name
        if name in by_force:
            continue
        if again:
            recheck(rule.word)
        losses = losses_of(rule.word)
        devs, refusal = _where(name, losses, places, consent, None)
        if not devs:
            allow = f"; --allow {','.join(refusal.missing)}" if refusal and refusal.missing else ""
            raise PlanError(f"{name}: {refusal.why if refusal else 'no mount to act on'}{allow}")
        rules.append(replace(rule, certificate=losses.digest))
        for dev in devs:
            allowed.setdefault(dev, []).append(name)
    mounts = [
        PlannedMount(p.dev, p.points[0], p.fstype, p.profile or "", tuple(allowed[p.dev]))
        for p in places
        if p.dev in allowed
    ]
    return forced(Plan(tuple(rules), tuple(mounts), str(consent)), force, places)


def forced(plan: Plan, names: Sequence[str], places: Sequence[Place]) -> Plan:
    """`plan` with the rules `names` on every place that has a crash profile, trusted: nobody asks for a proof."""
    if not names:
        return plan
    rules_named = {rule.name: rule for rule in map(named, names)}
    chosen = tuple(rules_named)
    kept = tuple(rule for rule in plan.rules if rule.name not in chosen)
    on = {mount.dev: mount for mount in plan.mounts}
    for place in places:
        if place.profile is not None:
            had = on[place.dev].rules if place.dev in on else ()
            rules = (*(name for name in had if name not in chosen), *chosen)
            on[place.dev] = PlannedMount(place.dev, place.points[0], place.fstype, place.profile, rules)
    old = {rule.name: rule for rule in plan.rules}
    added = tuple(replace(old.get(name, rules_named[name]), trust="trusted") for name in chosen)
    return replace(plan, rules=kept + added, mounts=tuple(on.values()))


def named(word: str) -> PlannedRule:
    """The rule that a word of a list names: one that comes with Peephole, or a folder. Raises RuleError for none."""
    folder = folder_of(word)
    if folder is not None:
        return PlannedRule(folder.name, "", source=str(folder))
    if not known_rules([word]):
        raise RuleError(f"{word}: stands alone, for no rule at all")
    return PlannedRule(word, "")


def known_rules(rules: Sequence[str]) -> tuple[str, ...]:
    """The rules' names, each once, in the order of their layers, which is that of the alphabet: the first is nearest to
    the program. epoll_shadow, which knows what the kernel's list does not, has to stand before gather_sends, which asks
    the kernel. Raises RuleError for one that does not exist.
    """
    names = tuple(sorted({name for name in rules if name != "none"}))
    folder = Path(__file__).resolve().parent.parent / "rules"
    for name in names:
        if "/" in name or not (folder / name / "rule.py").exists():
            raise RuleError(f"{name}: no such rule; `peephole rules` lists them")
    return names


def _by_rule(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """The findings by the rules that they ask for: those that remove them, and those that these need."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        for rule in wanted_by(finding):
            found.setdefault(rule, []).append(finding)
    return found


def wanted_by(finding: Finding) -> list[str]:
    """The rules in the program that a finding asks for."""
    return [] if finding.rule in (None, reading.NAME) else [str(finding.rule), *finding.needs]


def _price(findings: Iterable[Finding]) -> int:
    """What a call of these costs at most: more than that may no rule take to replace it."""
    priced = [(finding, finding.saving) for finding in findings if finding.saving is not None]
    calls = sum(finding.calls for finding, _ in priced)
    most_ns = sum(max(saving.high, finding.kernel_ns) for finding, saving in priced)
    return max(1, round(most_ns / calls)) if calls else 0


def _sum(savings: Iterable[Saving | None]) -> Saving | None:
    known = [saving for saving in savings if saving is not None]
    if not known:
        return None
    return Saving(sum(s.ns for s in known), sum(s.low for s in known), sum(s.high for s in known))


def _where(
    name: str, losses: Losses, places: Sequence[Place], consent: Consent, saving: Saving | None
) -> tuple[list[int], Declined | None]:
    """The devices on which the rule may act, and what keeps it from the others."""
    devs: list[int] = []
    missing: list[str] = []
    why: list[str] = []
    too_much: dict[str, list[str]] = {}  # profile -> mounts
    for place in places:
        if place.profile is None:
            why.append(f"{place.points[0]} ({place.fstype}) has no crash profile that proofs are made for")
            continue
        lost = losses.on(place.profile)
        lacking = [word(g, bound) for g, bound in lost.items() if not covered(consent, g, bound, place)]
        if not lacking:
            devs.append(place.dev)
            continue
        missing += [one for one in lacking if one not in missing]
        narrow = [g for g, bound in lost.items() if _only_elsewhere(consent, g, place)]
        if narrow:
            why.append(
                f"consent for {', '.join(narrow)} holds below a path that does not hold all of {place.points[0]}, "
                "and rules act on whole mounts"
            )
        else:
            too_much.setdefault(place.profile, []).append(place.points[0])
    why += [f"on {_some(points)} ({profile}) it gives up more than is allowed" for profile, points in too_much.items()]
    if not why and devs:
        return devs, None
    if not places:
        why = ["the command opens no regular file for writing on a mount that is still there"]
    return devs, Declined(name, "; ".join(why), tuple(missing), saving)


def _some(points: Sequence[str]) -> str:
    """A few of them: there may be a dozen mounts, and the reason is the same for all."""
    return ", ".join(points) if len(points) < 3 else f"{points[0]}, {points[1]} and {len(points) - 2} more"


def word(guarantee: str, bound: str | None) -> str:
    """A loss as a word of --allow."""
    return guarantee if bound is None else f"{guarantee}:{bound}"


def _bound_ms(bound: str | None) -> float | None:
    from peephole.improve.consent import parse_bound

    return None if bound is None else parse_bound(bound, bound)


def covered(consent: Consent, guarantee: str, bound: str | None, place: Place) -> bool:
    ms = _bound_ms(bound)
    # Every name of the mount must be covered: a file can be reached by any of them.
    return all(consent.covers(guarantee, ms, PurePosixPath(point)) for point in place.points)


def _only_elsewhere(consent: Consent, guarantee: str, place: Place) -> bool:
    words = [a for a in consent.allowances if a.guarantee == guarantee]
    return bool(words) and all(a.below is not None and not place.lies_below(a.below) for a in words)
