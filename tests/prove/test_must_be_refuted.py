"""What every prover of such rewrites has to refute: each entry is a wrong neighbour of some rule, and is refuted."""

from __future__ import annotations

from pathlib import Path

import pytest

from peephole.errors import RuleError
from peephole.prove import change
from peephole.prove.certificate import refute
from peephole.prove.language import load_rule, neighbours_of
from peephole.prove.model.dispatch import dispatch
from peephole.prove.model.kernel import EBADF, EINVAL, Call
from peephole.prove.model.machine import DESCRIPTIONS, IDEAL, Machine, start_state

#: the rewrite that is wrong -> the neighbour that makes it
REFUTED = {
    "a write by a private mapping": "truncate_in_place/mmap_private",
    "fsync elided on a descriptor that is only a path": "skip_sync/answers_for_o_path",
    "lseek and write become pwrite, with a live offset": "coalesce_writes/pwrite_leaves_the_offset",
    "writes gathered across fork and _exit": "coalesce_writes/lost_at_the_end",
    "writes gathered across exec": "coalesce_writes/lost_at_exec",
    "O_TRUNC dropped without ftruncate": "truncate_in_place/nothing_is_cut",
    "O_TRUNC dropped without dropping O_APPEND": "truncate_in_place/appends_to_the_old_end",
    "a hole beyond the written end left with old bytes": "truncate_in_place/a_hole_keeps_old_bytes",
    "pwrite deferred to an fdatasync that never comes": "coalesce_writes/waits_for_fdatasync",
    "unlink elided, then open without O_CREAT": "exchange_rename/unlink_is_elided",
    "what a folder lacks is remembered while another process makes it, as strict": "cache_absent/claimed_as_strict",
    "an attribute's absence remembered whatever the file's change time": "absent_xattr/whatever_its_time",
    "an attribute's absence remembered of a file that has just changed": "absent_xattr/changed_just_now",
    "what a link leads to asked of the link": "absent_xattr/links_are_followed",
    "EAGAIN answered under an edge-triggered interest": "epoll_shadow/drained_under_an_edge",
    "a lock elided with a second opener": "shadow_descriptor/lock_is_elided",
    "bytes moved past a program that reads its buffer": "read_window/memory_is_not_filled",
}


@pytest.mark.parametrize("entry", REFUTED)
def test_a_rewrite_that_is_known_to_be_wrong_is_refuted(entry: str) -> None:
    rule, neighbour = REFUTED[entry].split("/")
    found, why = refute(neighbours_of(load_rule(rule))[neighbour])
    assert found, why
    assert len(found.story) >= 2


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_a_sync_of_a_pipe_or_of_what_is_closed_reaches_no_rule(call: str) -> None:
    rule = load_rule("skip_sync")
    state = start_state(rule)
    closed = Machine(dict(state), rule)
    assert dispatch(closed, Call(call, 0), IDEAL) == -EBADF
    pipe = Machine(state | {"d0.refs": 1, "d0.ino": 0, "d0.wr": True, "i0.special": True}, rule)
    assert not any(pipe.state[f"d{d}.h"] for d in range(DESCRIPTIONS))
    assert dispatch(pipe, Call(call, 0), IDEAL) == -EINVAL


RULE = "a = 1\nb = 2\n    c = 3\na = 1\n"


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        ("-a = 1\n+a = 7", "a = 7\nb = 2\n    c = 3\na = 7\n"),
        (" a = 1\n-b = 2", "a = 1\n    c = 3\na = 1\n"),
        ("-    c = 3\n+    c = 4\n a = 1\n\n-b = 2", "a = 1\n    c = 4\na = 1\n"),
    ],
)
def test_a_neighbour_is_its_rule_with_lines_changed(tmp_path: Path, changes: str, becomes: str) -> None:
    path = tmp_path / "wrong.change"
    path.write_text(f"Breaks contents.\n\nSo it is.\n\n{changes}\n")
    assert change.apply(RULE, path) == (becomes, "Breaks contents.\n\nSo it is.")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("", "changes nothing"),
        (" a = 1", "begin with"),
        ("+a = 1", "begin with"),
        ("-a = 1\nb = 2\n+a = 3", "begin with"),
        ("-a = 5\n+a = 6", "does not have this line"),
        ("-    c\n+    d", "does not have this line"),
        ("-b = 2\n\n-b = 2", "does not have this line"),
    ],
)
def test_a_change_that_does_not_fit_its_rule_is_one_error(tmp_path: Path, changes: str, says: str) -> None:
    path = tmp_path / "wrong.change"
    path.write_text(f"Breaks contents.\n\n{changes}\n")
    with pytest.raises(RuleError, match=says):
        change.apply(RULE, path)
