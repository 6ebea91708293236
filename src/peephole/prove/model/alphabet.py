"""The alphabet of the proof: every call that the model has, with unknown words for proofs and random ones for searches.

By symmetry a proof looks at a call on description 0, with description 1 as the second one, name 0 and name 1.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Any

from peephole.prove.calls import call_table
from peephole.prove.language import RuleText
from peephole.prove.model.kernel import APPEND, CREAT, NOFOLLOW, OPEN_BITS, RDWR, TRUNC, WRONLY, Call, Data, Flags
from peephole.prove.model.machine import (
    ACTION,
    CELL_MAX,
    CELLS,
    CHUNK,
    DESCRIPTIONS,
    FAR,
    INODES,
    NAMES,
    SIGNALS,
    Machine,
    Oracle,
    Sizes,
    one_of,
)
from peephole.prove.model.terms import Bool, Num, and_, bool_var, eq, le, num_var
from peephole.prove.vocabulary import NUMBERS

#: What the words of calls range over, in cells; data are cells of the program's memory.
_WORDS: dict[str, tuple[int, int]] = {
    "n": (0, CHUNK),
    "offset": (0, CELLS),
    "whence": (0, 3),
    "epoll": (0, 1),
    "op": (0, 3),
    "mask": (-1, 3),
    "tag": (0, 1),
    "command": (1, 5),
    "bits": (0, 3),  # of F_SETFD, which looks at the lowest alone
    "request": (20, 23),
    "lock": (0, 2),
    "thread": (0, 1),
    "id": (0, CELL_MAX),
    "good": (0, CHUNK),  # cells of the program's memory that can be written
    "row": (0, 3),  # how often the thread has asked for this sleep in a row; 0: its time can't be read
    "attribute": (0, 1),
    "absolute": (0, 1),  # until a time, not for a while
    "signal": (0, SIGNALS),  # the last one has no action
    "act": (0, 3),  # none; one; one that can't be read; one with flags that this kernel drops
    "old": (0, 3),  # none; room for it; memory that can't be written; where `act` is
    "bytes": (7, 8),
    **{part: (0, most) for part, most in ACTION.items()},
}


@dataclass(frozen=True)
class Shape:
    """A call's shape: which descriptions it names and which words it has."""

    name: str
    slots: str = ""  # d, de (two descriptions), dd (the same one twice)
    words: tuple[str, ...] = ()
    by: str = "us"

    @property
    def title(self) -> str:
        return self.name + (" onto itself" if self.slots == "dd" else "")


ALPHABET: tuple[Shape, ...] = (
    Shape("openat", "", ("name", "flags")),
    Shape("read", "d", ("n", "good")),
    Shape("pread64", "d", ("n", "offset", "good")),
    Shape("write", "d", ("n", "data")),
    Shape("writev", "d", ("n", "data")),
    Shape("pwrite64", "d", ("n", "data", "offset")),
    Shape("lseek", "d", ("signed", "whence")),
    Shape("fstat", "d"),
    Shape("ftruncate", "d", ("size",)),
    Shape("fsync", "d"),
    Shape("fdatasync", "d"),
    Shape("fcntl", "d", ("command", "append", "bits", "second")),
    Shape("ioctl", "de", ("request", "second")),
    Shape("ioctl", "dd", ("request", "second")),
    Shape("flock", "d", ("lock",)),
    Shape("copy_file_range", "de", ("n", "placed", "offset")),
    Shape("copy_file_range", "dd", ("n", "placed", "offset")),
    Shape("dup", "d", ("cloexec",)),
    Shape("dup2", "de", ("cloexec", "second")),
    Shape("close", "d", ("second",)),
    Shape("close_range"),
    Shape("mmap", "d"),
    Shape("opaque", "d", ("n", "data", "offset")),
    Shape("stat", "", ("name",)),
    Shape("truncate", "", ("name", "n")),
    Shape("unlink", "", ("name",)),
    Shape("rename", "", ("name", "to")),
    Shape("link", "", ("name", "to")),
    Shape("fork"),
    Shape("execve"),
    Shape("exit_group"),
    Shape("poll"),
    Shape("kill"),
    Shape("sendto"),
    Shape("futex"),
    Shape("wait4"),
    Shape("sync"),
    Shape("load", "", ("inode",), by="memory"),
    Shape("store", "", ("inode", "data", "offset"), by="memory"),
    Shape("other_reads", "", ("inode",), by="other"),
    Shape("other_writes", "", ("inode", "data", "append", "offset"), by="other"),
    Shape("other_truncates", "", ("inode", "n"), by="other"),
    Shape("unlink", "", ("name",), by="other"),
    Shape("rename", "", ("name", "to"), by="other"),
    Shape("link", "", ("name", "to"), by="other"),
    Shape("other_moves", "d", ("offset", "append"), by="other"),
)

#: What may be between a call that is answered and the exec of another thread, for rules that keep bits back.
THREADS: tuple[Shape, ...] = (Shape("thread_begins"), Shape("thread_execs", by="other"))
#: Calls about the process itself: they matter to rules that have state of it, and to no other.
PROCESS: tuple[Shape, ...] = (
    Shape("getpid"),
    *[Shape(name, "", ("thread",)) for name in ("getuid", "geteuid", "getgid", "getegid")],
    *[
        Shape(name, "", ("thread", "id"))
        for name in ("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid")
    ],
    Shape("umask", "", ("id",)),
    Shape("fork_child", "", ("thread", "id", "placed")),
    Shape("other_maps", by="other"),
)
#: Sleeps, for rules that handle them.
SLEEPS: tuple[Shape, ...] = (
    Shape("nanosleep", "", ("n", "row")),
    Shape("clock_nanosleep", "", ("n", "row", "absolute")),
)


#: What happens to the actions of signals, for rules that handle it.
ACTIONS: tuple[Shape, ...] = (
    Shape("rt_sigaction", "", ("signal", "act", "old", "bytes", *ACTION)),
    Shape("signal_comes", "", ("signal",), by="other"),
    Shape("signal_waits", "", ("signal",), by="other"),
    Shape("exec_begins"),
)

#: Calls about stream sockets, for rules that have state of them.
STREAMS: tuple[Shape, ...] = (
    Shape("accept4"),
    Shape("socket"),
    Shape("epoll_wait"),
    Shape("sendmsg", "d", ("n", "data")),
    Shape("sendfile", "de", ("n", "placed", "offset")),
    Shape("sendfile", "dd", ("n", "placed", "offset")),
)
#: That a pipe turns out to be this process's alone, for rules that have state of pipes.
PIPES: tuple[Shape, ...] = (Shape("pipe2"),)
#: Calls about interest lists, for rules that have state of a socket's place in one.
INTEREST: tuple[Shape, ...] = (
    Shape("accept4"),
    Shape("epoll_ctl", "d", ("epoll", "op", "mask", "tag")),
    Shape("epoll_wait", "", ("epoll",)),
    Shape("socket"),
    Shape("close_epoll", "", ("epoll",)),
    Shape("thread_begins"),
    Shape("sendmsg", "d", ("n", "data")),
    Shape("other_waits", "", ("epoll",), by="other"),
    Shape("other_controls", "d", ("epoll", "op", "mask", "tag"), by="other"),
)
#: Calls about attributes and change times, for rules that remember what files lack.
ATTRIBUTES: tuple[Shape, ...] = (
    Shape("statx", "", ("name", "how", "asked")),
    Shape("lgetxattr", "", ("name", "attribute")),
    Shape("getxattr", "", ("name", "attribute")),
    Shape("lsetxattr", "", ("name", "attribute", "placed")),
    Shape("lsetxattr", "", ("name", "attribute", "placed"), by="other"),
    Shape("time_passes", "", ("n",), by="other"),
    Shape("other_learns", "", ("inode", "attribute"), by="other"),
)


def alphabet_of(rule: RuleText) -> tuple[Shape, ...]:
    """The calls that a proof of this rule looks at; the first is the one that gives state."""
    about = INTEREST if rule.interest else STREAMS if rule.streams else PIPES if rule.pipes else ()
    known = (ATTRIBUTES if "lacked" in rule.mechanisms else about) + ALPHABET
    return (
        known
        + (THREADS if rule.sets_bits else ())
        + (PROCESS if rule.process else ())
        + (SLEEPS if rule.about_sleep else ())
        + (ACTIONS if rule.about_actions else ())
    )


def opaque_calls() -> list[str]:
    """Calls of class FD that the model does not spell out: `opaque` stands for each of them."""
    modelled = {s.name for s in ALPHABET}
    return sorted(r.name for r in call_table().values() if r.kind in ("FD", "MAPS") and r.name not in modelled)


def unknown_sizes(rule: RuleText) -> tuple[Sizes, Bool]:
    """The rule's constants and capacity as unknowns, and what is known of them: their order."""
    if not rule.scales:
        return Sizes(dict(rule.constants), CHUNK), True
    capacity = num_var("capacity", CHUNK)
    real = sorted([(v, n) for n, v in rule.constants.items()] + ([(rule.buffer[1], "")] if rule.buffer else []))
    terms: dict[str, Num] = {"": capacity}
    terms.update({n: num_var(f"const.{n}", 100) for n in rule.constants})
    facts: list[Bool] = [le(1, capacity), le(capacity, CHUNK)]
    for (a, x), (b, y) in itertools.pairwise(real):
        facts.append(eq(terms[x], terms[y]) if a == b else le(terms[x], terms[y]))
    facts += [and_(le(1 if rule.constants[n] else 0, terms[n]), le(terms[n], 100)) for n in rule.constants]
    return Sizes({n: terms[n] for n in rule.constants}, capacity), and_(*facts)


def plain_sizes(rule: RuleText) -> Sizes:
    """The constants scaled to the model's few cells, for runs on plain values."""
    if not rule.scales:
        return Sizes(dict(rule.constants), CHUNK)
    return Sizes({n: min(value, CHUNK) for n, value in rule.constants.items()}, CHUNK)


def unknown_call(shape: Shape) -> tuple[Call, Bool]:
    """A call of this shape with unknown words, and the words' ranges."""
    words: dict[str, Any] = {}
    facts: list[Bool] = []
    for word in shape.words:
        if word in ("name", "inode"):
            words[word] = 0
        elif word == "to":
            words[word] = 1
        elif word in ("append", "placed", "asked", "cloexec", "second"):
            words[word] = bool_var(f"arg.{word}")
        elif word == "how":
            words["flags"] = Flags({NOFOLLOW: bool_var("arg.nofollow")})
        elif word == "flags":
            words[word] = Flags({b: bool_var(f"arg.flag{b}") for b in OPEN_BITS})
        elif word == "data":
            cells = tuple(num_var(f"arg.data{k}", CELL_MAX) for k in range(CHUNK))
            good = num_var("arg.good", CHUNK)
            words[word] = Data(cells, good)
            facts += [le(0, good), le(good, CHUNK), *[and_(le(1, c), le(c, CELL_MAX)) for c in cells]]
        else:
            key = {"signed": "offset", "size": "n"}.get(word, word)
            low, high = _WORDS[key] if word == key else (-CELLS, CELLS)
            words[key] = num_var(f"arg.{key}", high if low >= 0 else None)
            facts += [le(low, words[key]), le(words[key], high)]
    slot, other = _slots(shape.slots)
    return Call(shape.name, slot, other, words, shape.by), and_(*facts)


def _slots(slots: str) -> tuple[int, int]:
    return {"": (-1, -1), "d": (0, -1), "de": (0, 1), "dd": (0, 0)}[slots]


def unknown_oracle(prefix: str) -> tuple[Oracle, Bool]:
    """Anything that the kernel may choose for one call."""
    short = num_var(f"{prefix}.short", CELLS)
    fresh = one_of(f"{prefix}.fresh", tuple(range(INODES)))
    return Oracle(unknown_failure(prefix), short, fresh), and_(le(1, short), le(short, CELLS))


def unknown_failure(prefix: str) -> Num:
    """Any error that a call may meet, or none."""
    return one_of(f"{prefix}.fail", (0, *[-e for e in ERRORS]))


ERRORS = (4, 5, 28)  # EINTR, EIO, ENOSPC


# -- random calls ------------------------------------------------------------------------------------------------


#: words that random calls have half of the time
_LIKELY = {"signed": 0, "whence": 1, "command": 4, "request": 21}
_LIKELY |= {"signal": 0, "act": 1, "old": 1, "bytes": 8, "handler": 2, "options": 0, "restorer": 0, "held": 0}


def random_call(rng: random.Random, shape: Shape, m: Machine, focus: frozenset[str] = frozenset()) -> Call:
    """A call of this shape with random words; flags whose names are in `focus` are likely."""
    words: dict[str, Any] = {}
    for word in shape.words:
        if word == "name":
            # What is remembered of a name shows where it is looked at again.
            again = m.state.get("table.there") is True and rng.random() < 0.5
            words[word] = m.state["seen.name"] if again else rng.randrange(NAMES)
        elif word == "attribute" and m.state["table.there"] and rng.random() < 0.7:
            words[word] = max(0, m.state["table.which"] - 1)
        elif word == "to":
            words[word] = (words["name"] + rng.randrange(1, NAMES)) % NAMES
        elif word == "inode":
            words[word] = rng.randrange(INODES)
        elif word in ("append", "placed"):
            words[word] = rng.random() < (0.8 if shape.name == "fcntl" else 0.4)
        elif word == "asked":
            words[word] = rng.random() < 0.8
        elif word in ("cloexec", "second"):
            words[word] = rng.random() < 0.3
        elif word == "how":
            words["flags"] = Flags({NOFOLLOW: rng.random() < 0.6})
        elif word == "flags":
            words[word] = random_flags(rng, focus)
        elif word == "data":
            good = CHUNK if rng.random() < 0.9 else rng.randrange(CHUNK)
            words[word] = Data(tuple(rng.randrange(1, CELL_MAX + 1) for _ in range(CHUNK)), good)
        elif word == "good":
            words[word] = CHUNK if rng.random() < 0.9 else rng.randrange(CHUNK)
        else:
            key = {"signed": "offset", "size": "n"}.get(word, word)
            low, high = _WORDS[key] if word == key else (-1, CELLS)
            words[key] = _LIKELY[word] if word in _LIKELY and rng.random() < 0.5 else rng.randint(low, high)
            if shape.name in ("read", "pread64") and rng.random() < 0.5:
                words[key] = 1  # small ones, near each other
    slots = list(range(DESCRIPTIONS))
    rng.shuffle(slots)
    slots.sort(key=lambda d: not m.is_open(d))
    slot, other = _slots(shape.slots)
    if slot == 0:
        slot = slots[0] if rng.random() < 0.95 else slots[-1]
        other = slot if shape.slots == "dd" else (-1 if other < 0 else next(d for d in slots if d != slot))
    return Call(shape.name, slot, other, words, shape.by)


def random_flags(rng: random.Random, focus: frozenset[str] = frozenset()) -> Flags:
    mode = rng.choice([0, WRONLY, WRONLY, RDWR, RDWR])
    bits = mode | rng.choice([0, CREAT]) | rng.choice([0, TRUNC]) | rng.choice([0, 0, APPEND])
    for bit in OPEN_BITS[3:4] + OPEN_BITS[6:]:
        bits |= bit if rng.random() < 0.04 else 0
    for name in sorted(focus & NUMBERS.keys()):
        bits |= NUMBERS[name].value if NUMBERS[name].kind == "flag" and rng.random() < 0.3 else 0
    return Flags({b: bool(bits & b) for b in OPEN_BITS})


def random_oracle(rng: random.Random, m: Machine, kind: float = 0.03) -> Oracle:
    """Mostly a kernel that does all that it is asked; sometimes a failure or a short count."""
    from peephole.prove.model.kernel import free_inode

    free = [i for i in range(INODES) if free_inode(m, i) is True]
    fail = -rng.choice(ERRORS) if rng.random() < kind else 0
    short = rng.randint(1, CHUNK) if rng.random() < kind else FAR
    return Oracle(fail, short, free[0] if free else 0)
