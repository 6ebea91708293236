"""What --allow says."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from peephole.errors import UsageError
from peephole.improve.consent import RELAXABLE, parse


def test_nothing_is_allowed_unless_said() -> None:
    assert not parse(None).allowances and not parse("").allowances
    assert not parse(None).covers("visibility", None)


def test_all_covers_every_guarantee_that_can_be_given_up() -> None:
    consent = parse("all")
    assert all(consent.covers(name, None) for name in RELAXABLE)
    assert not consent.covers("contents", None) and not consent.covers("results", None)


def test_a_bound_covers_what_is_shorter() -> None:
    consent = parse("durability:10ms,visibility:1s")
    assert consent.covers("durability", 10) and consent.covers("visibility", 999.5)
    assert not consent.covers("durability", 11) and not consent.covers("durability", None)
    assert parse("durability:unbounded").covers("durability", None) and parse("durability").covers("durability", None)


def test_a_path_covers_what_lies_below_it() -> None:
    consent = parse("visibility@/var/lib/pg")
    assert consent.covers("visibility", None, PurePosixPath("/var/lib/pg/base"))
    assert not consent.covers("visibility", None, PurePosixPath("/var/lib/pgother"))
    assert not consent.covers("visibility", None)
    assert parse("all@/srv").covers("crash", None, PurePosixPath("/srv"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("contents", "can never be given up"),
        ("results@/tmp", "can never be given up"),
        ("visbility", "no such guarantee"),
        ("crash:10ms", "has no bound"),
        ("all:10ms", "all has no bound"),
        ("durability:soon", "a bound is a time"),
        ("durability:", "a bound is a time"),
        ("visibility@tmp", "an absolute path"),
        ("visibility,,crash", "no such guarantee"),
    ],
)
def test_wrong_words_are_usage_errors(words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        parse(words)
    assert error.value.exit_code == 2


def test_consent_reads_back_as_it_is_written() -> None:
    consent = parse("durability:10ms,visibility@/srv,crash")
    assert parse(str(consent)) == consent
