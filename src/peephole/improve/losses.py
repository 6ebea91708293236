"""What a rule gives up, as its certificate says: the link between proofs and consent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from peephole.errors import RuleError


@dataclass(frozen=True)
class Losses:
    """The guarantees that one rule gives up on each profile, with bounds (`10ms`; None: without bound)."""

    rule: str
    digest: str
    by_profile: dict[str, dict[str, str | None]]
    stories: dict[tuple[str, str], list[str]]

    def on(self, profile: str) -> dict[str, str | None]:
        """Losses on a profile. Raises RuleError when nothing was proved for it."""
        if profile not in self.by_profile:
            raise RuleError(f"{self.rule}: nothing is proved for the profile {profile}; run peephole prove {self.rule}")
        return self.by_profile[profile]


@cache
def losses_of(name: str) -> Losses:
    """What the certificate of rule `name` says it gives up. Raises RuleError when there is no valid one."""
    from peephole.prove.certificate import load_certificate

    certificate = load_certificate(name)
    lost = {
        profile: {g: one["bound"] for g, one in by_name.items() if not one["kept"]}
        for profile, by_name in certificate.guarantees.items()
    }
    stories = {
        (profile, g): list(one["story"])
        for profile, by_name in certificate.guarantees.items()
        for g, one in by_name.items()
        if one.get("story")
    }
    return Losses(name, certificate.digest, lost, stories)
