"""What is known of files: where the tree's changes were not told, the prover would find an answer that is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from peephole.prove import symbolic
from peephole.prove.language import load_rule
from peephole.prove.model import dispatch
from peephole.prove.model.alphabet import alphabet_of
from peephole.prove.model.kernel import Call
from peephole.prove.model.machine import Machine
from peephole.prove.model.mechanisms import examined
from peephole.prove.obligations import find_invariant, prove_call

LOST = frozenset({"freshness", "timestamps"})
CALLS = ("write", "pwrite64", "ftruncate", "copy_file_range", "opaque", "openat", "truncate", "unlink", "rename")


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Steps that were built with another twin are of no use."""
    symbolic.forget()
    yield
    symbolic.forget()


def kept(*calls: str) -> list[str]:
    """What the prover finds that holds of all that is known, across these calls of the tree."""
    rule = load_rule("cache_stat")
    shapes = [s for s in alphabet_of(rule) if s.by == "us" and s.name in (*calls, "stat")]
    labels = find_invariant(rule, shapes)
    asked = next(s for s in shapes if s.name == "stat")
    assert prove_call(rule, asked, labels, LOST).broken["results"] == (not labels)
    return labels


def test_what_is_known_stays_right() -> None:
    assert len(kept(*CALLS)) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_change_that_is_not_told_makes_an_answer_wrong(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(dispatch, "forget_examined", lambda *_: None)
    assert kept(call) == []


@pytest.mark.parametrize("call", ["truncate", "write"])
def test_a_change_told_by_the_name_alone_leaves_another_name_wrong(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(examined, "forget_inode", lambda *_: None)
    assert kept(call) == []


def test_another_file_is_still_known_after_a_write() -> None:
    """Else the rule would be right, and never act."""
    state = {"known.0": True, "known.0.ino": 0, "known.1": True, "known.1.ino": 1, "known.2": False, "known.2.ino": 2}
    state |= {"d0.refs": 1, "d0.ino": 1}
    m = Machine(dict(state))
    examined.forget_examined(m, Call("write", 0), "FD")
    assert m.state["known.0"] is True and m.state["known.1"] is False
