"""What a rule gives up, as its certificate says: the link between proofs and consent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from peephole.errors import RuleError

if TYPE_CHECKING:
    from peephole.prove.certificate import Proof


@dataclass(frozen=True)
class Losses:
    """The guarantees that one rule gives up on each profile, with bounds (`10ms`; None: without bound)."""

    rule: str
    digest: str  # of the certificate
    by_profile: dict[str, dict[str, str | None]]
    stories: dict[tuple[str, str], list[str]]

    def on(self, profile: str) -> dict[str, str | None]:
        """Losses on a profile. Raises RuleError when nothing was proved for it."""
        if profile not in self.by_profile:
            raise RuleError(f"{self.rule}: nothing is proved for the profile {profile}; run peephole prove {self.rule}")
        return self.by_profile[profile]


@cache
def losses_of(name: str) -> Losses:
    """What the certificate of rule `name` (or folder) says it gives up. Raises RuleError when there is no valid one."""
    from peephole.prove.certificate import load_certificate

    return _of(name, load_certificate(name))


def recheck(name: str) -> None:
    """Prove rule `name` (or folder) again, whatever certificate there is. Raises RuleError when it is not proved."""
    from peephole.prove.certificate import load_certificate

    load_certificate(name, again=True)
    losses_of.cache_clear()


@cache
def unproved_losses(name: str) -> Losses:
    """What a rule that runs on trust gives up: all that there is, unless a certificate at hand says less."""
    from peephole.prove.certificate import find_certificate
    from peephole.prove.vocabulary import GUARANTEES, PROFILES

    proof = find_certificate(name)
    if proof is not None and proof.proved:
        return _of(name, proof)
    return Losses(name, "", {profile: dict.fromkeys(GUARANTEES) for profile in PROFILES}, {})


def _of(name: str, certificate: Proof) -> Losses:
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
    return Losses(name, certificate.certificate, lost, stories)
