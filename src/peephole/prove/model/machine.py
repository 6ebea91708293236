"""The state of the model, and the machine that changes it under guards.

State is a flat dict from keys to terms or plain values:

    n{j}                        the inode that name j names, or -1
    i{i}.size  i{i}.c{k}        an inode's size in cells, and its cells (0 beyond the size)
    i{i}.special .covered       a pipe or device; a mount on which rules may act
    i{i}.mapped .touched        mapped by our process; its times were set in this step
    i{i}.dirty                  what it holds is not yet surely on the disk
    i{i}.stream                 what a stream socket has sent: no file; only with rules that have state of streams
    d{d}.refs .ino .pos         an open file description: how many descriptors of our process name it, its file, offset
    d{d}.rd .wr .app .sync      readable, writable, O_APPEND, O_SYNC or O_DSYNC
    d{d}.cx0 .cx1               whether its descriptors, the first and the second, are closed by exec
    d{d}.shared .lock .path     reachable from another process; its flock; opened with O_PATH
    i{i}.pipe                   a pipe: its cells are all that was written to it; only with rules about pipes
    d{d}.room                   how much the kernel surely takes on this stream; only with rules about streams
    d{d}.q{q}.in .mask .tag     its place in the interest list of epoll q; only with rules about interest
    d{d}.h .err                 the dispatcher's: a rule has state here; an error that no call has reported yet
    d{d}.f.NAME .len .b{k}      the rule's: fields, length of the buffer, its cells
    reflink                     the file system has reflinks
    absent.{j}                  the runtime knows that name j names nothing; only with rules that ask for it
    known.{j} .ino .size .read  what the keeper knows of name j, if anything; only with rules that ask for it
    i{i}.read                   which reads its times tell of; only with those
    i{i}.a{a} .changed .link    the attributes that are there, the change time, the name that a link leads to
    clock                       what changes now are stamped with; these only with rules about attributes
    seen.*                      what the program has looked at: a name, the inode, its change time, whether a link
    table.*                     one thing that the tree's table says: this inode at this time lacks this attribute
    owed                        the description whose file owes a sync, or -1; only with rules that put syncs off
    threads                     our process has another thread; only with rules about interest or descriptors' bits
    q{q}.asked                  the runtime has asked whether this is an epoll: it will see its closing

and for rules with state of the process:

    t{t}.uid .euid .gid .egid   who a thread is: the kernel keeps it for each thread
    t.pid .mask                 the process's number; its umask
    t.mapped                    its user namespace maps its users (else they are OVERFLOW_ID)
    p.f.NAME                    the rule's fields

and for rules about the actions of signals:

    t.act{j}.PART               signal j's action: handler, options (its flags), restorer, held (its mask)
    t.act{j}.waits              one that has come while it was held back
    recall{j}.known .PART       what the runtime knows of it
    recall{j}.told              what it knows, it is told by other processes

A cell stands for a block of any number of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.terms import Bool, Num, and_, as_number, bool_var, eq, ite, le, lt, not_, num_var, or_

NAMES, INODES, DESCRIPTIONS, CELLS, CHUNK, EPOLLS = 3, 3, 3, 4, 3, 2
ROOM_MAX = 2 * CHUNK
#: signals that have actions: the second one does nothing by default
SIGNALS = 2
#: the parts of an action, and their largest values. Handler 0 is the default, 1 ignores; of the options 4 is
#: SA_RESETHAND, of what is held back 4 is SIGKILL.
ACTION = {"handler": 3, "options": 7, "restorer": 1, "held": 7}
KILL = 4
BOUNDS = {
    "cells a file": CELLS,
    "names": NAMES,
    "files": INODES,
    "open file descriptions": DESCRIPTIONS,
    "cells a call": CHUNK,
    "processes": 2,
    "threads a process": 2,
    "signal handlers": 1,
}
#: Data is only copied and compared, never looked at: a few values tell any two cells apart that may differ.
CELL_MAX = 7
CLOCK_MAX = 7  # steps of the clock
FAR = 99  # more cells than any call asks for: no short count


@dataclass(frozen=True)
class Oracle:
    """What the kernel chose for one call: an error (or 0), at most how many cells it takes, which inode is fresh."""

    fail: Num = 0
    short: Num = FAR
    fresh: Num = 0


IDEAL = Oracle()


@dataclass(frozen=True)
class Sizes:
    """The rule's constants and its buffer's capacity, scaled to cells: unknowns in the order that they have in it."""

    constants: dict[str, Num]
    capacity: Num


class _Under:
    """A guard for a while. Not a generator: this is entered a hundred times a call."""

    __slots__ = ("before", "condition", "m")

    def __init__(self, m: Machine, condition: Bool) -> None:
        self.m, self.condition = m, condition

    def __enter__(self) -> Bool:
        m = self.m
        self.before = m.guard
        m.guard = and_(self.before, self.condition)
        return m.guard

    def __exit__(self, *_: object) -> None:
        self.m.guard = self.before


@dataclass
class Machine:
    """One run: the state, the guard under which the next change happens, and what was noticed on the way."""

    state: dict[str, Any]
    rule: RuleText | None = None
    sizes: Sizes = field(default_factory=lambda: Sizes({}, CHUNK))
    guard: Bool = True
    own: dict[int, Oracle] = field(default_factory=dict)  # slot -> what the kernel does with the rule's own calls
    file_given: Bool = True  # whether k.file gives state
    new_slot: int | None = None  # the slot that open uses; None: the first free one (plain values only)
    record: bool = False
    snapshots: list[tuple[Bool, dict[str, Any]]] = field(default_factory=list)
    wrong: dict[str, Bool] = field(default_factory=dict)  # obligations of the run itself: name -> where it is broken
    beyond: Bool = False  # the run left the model's bounds
    failed: Bool = False  # a call of the rule's own failed
    failed_in_settle: Bool = False
    forwarded: Bool = False
    hits: Bool = False
    asleep: Num = 0  # how long the call slept
    known: dict[int, Bool] = field(default_factory=dict)  # events that a wait was answered with, by description
    told: dict[int, Bool] = field(default_factory=dict)  # in the plain run: those with which the kernel answers a wait
    later: Bool = False  # the program went on waiting with something pending
    out: dict[str, Any] = field(default_factory=dict)  # what the call wrote into the program's memory
    settling: int | None = None
    filled: Num = FAR  # how many cells the next fill of a window gets, or an error
    now: Num = 0  # the clock
    refuses: tuple[Bool, ...] = ()  # whether the kernel refuses each of the rule's own calls on names, in their order
    names_passed: list[tuple[Bool, dict[str, Any]]] = field(default_factory=list)  # after each of them
    log: list[tuple[Any, int, Any]] | None = None  # plain runs: each call made, the slot of an open, its result
    interrupt: Callable[[Machine], None] | None = None  # what another thread does while an open is under way

    def under(self, condition: Bool) -> _Under:
        """Everything inside happens only where the condition holds; gives the guard of the inside."""
        return _Under(self, condition)

    def set(self, key: str, value: Any) -> None:
        if self.guard is not False:
            self.state[key] = ite(self.guard, value, self.state[key])

    def emit(self, key: str, value: Any) -> None:
        """One value that the program sees in its memory; 0 where nothing was written."""
        self.out[key] = ite(self.guard, as_number(value), self.out.get(key, 0))

    def broken(self, name: str, condition: Bool = True) -> None:
        self.wrong[name] = or_(self.wrong.get(name, False), and_(self.guard, condition))

    def note(self, call: Any, slot: int, result: Any) -> None:
        """A call of the kernel was made, by the program or by the rule."""
        if self.log is not None and self.guard is True:
            self.log.append((call, slot, result))

    def leave(self, condition: Bool) -> None:
        self.beyond = or_(self.beyond, and_(self.guard, condition))

    def touch(self, inode: int) -> None:
        """A file was changed."""
        self.set(f"i{inode}.touched", True)
        if "clock" in self.state:
            self.set(f"i{inode}.changed", self.state["clock"])
        self.set(f"i{inode}.dirty", True)

    def snapshot(self) -> None:
        """A state of the files that the disk may hold, if all that went before has reached it."""
        if self.record and self.guard is not False:
            self.snapshots.append((self.guard, on_disk(self.state)))

    # -- reading ------------------------------------------------------------------------------------------

    def d(self, slot: int, name: str) -> Any:
        return self.state[f"d{slot}.{name}"]

    def set_d(self, slot: int, name: str, value: Any) -> None:
        self.set(f"d{slot}.{name}", value)

    def is_file(self, slot: int, inode: int) -> Bool:
        return eq(self.d(slot, "ino"), inode)

    def of_file(self, slot: int, name: str) -> Any:
        """A field of the file that a description names."""
        ino = self.state[f"d{slot}.ino"]
        if isinstance(ino, int):
            return self.state[f"i{ino}.{name}"]
        value = self.state[f"i{INODES - 1}.{name}"]
        for i in reversed(range(INODES - 1)):
            value = ite(self.is_file(slot, i), self.state[f"i{i}.{name}"], value)
        return value

    def set_file(self, slot: int, name: str, value: Any) -> None:
        for i in range(INODES):
            with self.under(self.is_file(slot, i)) as guard:
                if guard is not False:
                    self.set(f"i{i}.{name}", value)

    def is_stream(self, slot: int) -> Bool:
        """Whether a description is a stream socket."""
        return self.of_file(slot, "stream") if "i0.stream" in self.state else False

    def is_pipe(self, slot: int) -> Bool:
        """Whether a description is of a pipe, whose `pos` says how much of it was read."""
        return self.of_file(slot, "pipe") if "i0.pipe" in self.state else False

    def is_open(self, slot: int) -> Bool:
        return lt(0, self.d(slot, "refs"))


_FILE_KEYS = tuple(f"i{i}.{name}" for i in range(INODES) for name in ("size", *[f"c{k}" for k in range(CELLS)]))


def files_of(state: dict[str, Any]) -> dict[str, Any]:
    """The part of a state that a crash could leave: sizes and cells."""
    return {k: state[k] for k in _FILE_KEYS}


def on_disk(state: dict[str, Any]) -> dict[str, Any]:
    """The same without streams and pipes, which no disk holds."""
    found = files_of(state)
    name = next((n for n in ("stream", "pipe") if f"i0.{n}" in state), None)
    if name is None:
        return found
    return {k: ite(state[f"{k.split('.')[0]}.{name}"], 0, v) for k, v in found.items()}


def kernel_keys(state: dict[str, Any]) -> list[str]:
    """The keys that the kernel, not the rule or the dispatcher, holds; times are compared on their own."""
    return _kernel_keys(tuple(state))


@lru_cache(maxsize=8)
def _kernel_keys(keys: tuple[str, ...]) -> list[str]:
    ours = (".h", ".err", ".len", ".touched", ".dirty", ".asked")
    return [
        k
        for k in keys
        if k != "owed"
        and not k.startswith(("absent.", "known.", "recall", "seen.", "table."))
        and not k.endswith(ours)
        and ".f." not in k
        and ".b" not in k
    ]


def one_of(name: str, values: tuple[int, ...]) -> Num:
    """An unknown among a few numbers, told by truth values: comparisons with constants then fold away."""
    value: Num = values[-1]
    for v in reversed(values[:-1]):
        value = ite(bool_var(f"{name}={v}"), v, value)
    return value


def unknown_state(rule: RuleText) -> dict[str, Any]:
    """A state of which nothing is known but its shape (see `well_formed`)."""
    state: dict[str, Any] = {"reflink": bool_var("reflink")}
    if rule.interest or rule.sets_bits:
        state["threads"] = bool_var("threads")
    if rule.interest:
        state |= {f"q{q}.asked": bool_var(f"q{q}.asked") for q in range(EPOLLS)}
    state |= {f"n{j}": one_of(f"n{j}", (-1, *range(INODES))) for j in range(NAMES)}
    for i in range(INODES):
        state[f"i{i}.size"] = num_var(f"i{i}.size", CELLS)
        state |= {f"i{i}.c{k}": num_var(f"i{i}.c{k}", CELL_MAX) for k in range(CELLS)}
        state |= {f"i{i}.{n}": bool_var(f"i{i}.{n}") for n in ("special", "covered", "mapped", "dirty")}
        state[f"i{i}.touched"] = False
        if rule.streams:
            state[f"i{i}.stream"] = bool_var(f"i{i}.stream")
        if rule.pipes:
            state[f"i{i}.pipe"] = bool_var(f"i{i}.pipe")
    if "absent" in rule.mechanisms:
        state |= {f"absent.{j}": bool_var(f"absent.{j}") for j in range(NAMES)}
    if "examined" in rule.mechanisms:
        state |= unknown_examined()
    if "lacked" in rule.mechanisms:
        state |= unknown_attributes()
    if "owe" in rule.mechanisms:
        state["owed"] = one_of("owed", (-1, *range(DESCRIPTIONS)))
    if rule.about_actions:
        state |= unknown_actions()
    if rule.process:
        state |= {k: num_var(k, CELL_MAX) for k in process_keys() if k != "t.mapped"} | {
            "t.mapped": bool_var("t.mapped")
        }
        state |= {f"p.f.{n}": (bool_var if k == "bool" else num_var)(f"p.f.{n}") for n, k in rule.process.items()}
    for d in range(DESCRIPTIONS):
        state |= {f"d{d}.pos": num_var(f"d{d}.pos", CELLS), f"d{d}.lock": num_var(f"d{d}.lock", 2)}
        h = bool_var(f"d{d}.h") if rule.per_file else False
        # What has state is open (see `well_formed`): said here, it folds away.
        state[f"d{d}.refs"] = ite(and_(not_(h), bool_var(f"d{d}.refs=0")), 0, one_of(f"d{d}.refs", (1, 2)))
        state[f"d{d}.ino"] = one_of(f"d{d}.ino", tuple(range(INODES)))
        truths = ("rd", "wr", "app", "sync", "shared", "path", "cx0", "cx1")
        state |= {f"d{d}.{n}": bool_var(f"d{d}.{n}") for n in truths}
        state[f"d{d}.h"] = h
        state |= unknown_stream(rule, d)
        state[f"d{d}.err"] = 0
        state |= unknown_fields(rule, d)
    return state


def unknown_examined() -> dict[str, Any]:
    """What is known of files by their names, and which reads of theirs their times tell of."""
    state: dict[str, Any] = {f"i{i}.read": bool_var(f"i{i}.read") for i in range(INODES)}
    for j in range(NAMES):
        state |= {f"known.{j}": bool_var(f"known.{j}"), f"known.{j}.read": bool_var(f"known.{j}.read")}
        state[f"known.{j}.ino"] = one_of(f"known.{j}.ino", tuple(range(INODES)))
        state[f"known.{j}.size"] = num_var(f"known.{j}.size", CELLS)
    return state


def unknown_attributes() -> dict[str, Any]:
    """What the kernel knows of files' attributes, and the runtime of files that were looked at."""
    state: dict[str, Any] = {"clock": num_var("clock", CLOCK_MAX)}
    for i in range(INODES):
        state |= {f"i{i}.{n}": bool_var(f"i{i}.{n}") for n in ("a0", "a1")}
        state[f"i{i}.changed"] = num_var(f"i{i}.changed", CLOCK_MAX)
        state[f"i{i}.link"] = one_of(f"i{i}.link", (-1, *range(NAMES)))
    state |= {k: bool_var(k) for k in ("seen.known", "seen.linked", "table.there")}
    state |= {k: one_of(k, tuple(range(INODES))) for k in ("seen.file", "table.file")}
    state |= {"seen.name": one_of("seen.name", tuple(range(NAMES)))}
    state |= {k: num_var(k) for k in ("seen.time", "table.time", "table.which")}
    return state


def unknown_stream(rule: RuleText, d: int) -> dict[str, Any]:
    """What the kernel knows of a stream: the room that it has, its places in interest lists."""
    state: dict[str, Any] = {f"d{d}.room": num_var(f"d{d}.room")} if rule.streams else {}
    for q in range(EPOLLS if rule.interest else 0):
        state |= {f"d{d}.q{q}.in": bool_var(f"d{d}.q{q}.in")}
        state |= {f"d{d}.q{q}.{n}": num_var(f"d{d}.q{q}.{n}") for n in ("mask", "tag")}
    return state


def unknown_actions() -> dict[str, Any]:
    """The actions of signals, and what the runtime knows of them."""
    state: dict[str, Any] = {k: num_var(k, most) for k, most in action_keys().items()}
    truths = [k for j in range(SIGNALS) for k in (f"t.act{j}.waits", f"recall{j}.known", f"recall{j}.told")]
    return state | {k: bool_var(k) for k in truths}


def action_keys() -> dict[str, int]:
    """The keys of all parts of actions, and the largest value of each."""
    return {f"{k}{j}.{n}": most for j in range(SIGNALS) for k in ("t.act", "recall") for n, most in ACTION.items()}


IDENTITIES = ("uid", "euid", "gid", "egid")
THREADS = 2


def process_keys() -> list[str]:
    """What the kernel knows of a process and its threads."""
    return [f"t{t}.{n}" for t in range(THREADS) for n in IDENTITIES] + ["t.pid", "t.mask", "t.mapped"]


def unknown_fields(rule: RuleText, d: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        f"d{d}.f.{n}": (bool_var if kind == "bool" else num_var)(f"d{d}.f.{n}") for n, kind in rule.fields.items()
    }
    fields[f"d{d}.len"] = num_var(f"d{d}.len", CHUNK) if rule.buffer else 0
    fields |= {f"d{d}.b{k}": num_var(f"d{d}.b{k}", CELL_MAX) if rule.buffer else 0 for k in range(CHUNK)}
    return fields


def start_state(rule: RuleText) -> dict[str, Any]:
    """Plain values: no names, nothing open, regular files on a covered mount without reflinks."""
    state: dict[str, Any] = {}
    for key, term in unknown_state(rule).items():
        state[key] = False if key.split(".")[-1] in _TRUTHS or _is_bool_field(rule, key) else 0
        if isinstance(term, (bool, int)):
            state[key] = term
    for j in range(NAMES):
        state[f"n{j}"] = -1
    for i in range(INODES):
        state[f"i{i}.covered"] = True
    state["reflink"] = False
    state |= {k: False for k in state if k.startswith(("absent.", "known.")) and k.count(".") == 1}
    if "owed" in state:
        state["owed"] = -1
    if "clock" in state:
        state |= {"clock": 3} | {f"i{i}.link": -1 for i in range(INODES)}
    if "t.pid" in state:
        state |= {"t.pid": 1, "t.mapped": True}
    return state


_TRUTHS = (
    "special",
    "read",
    "stream",
    "pipe",
    "in",
    "threads",
    "asked",
    "waits",
    "known",
    "told",
    "a0",
    "a1",
    "linked",
    "there",
    "covered",
    "mapped",
    "touched",
    "dirty",
    "rd",
    "wr",
    "app",
    "sync",
    "shared",
    "path",
    "cx0",
    "cx1",
    "h",
)


def _is_bool_field(rule: RuleText, key: str) -> bool:
    fields = rule.process if key.startswith("p.") else rule.fields
    return ".f." in key and fields[key.split(".f.")[1]] == "bool"


def well_formed(state: dict[str, Any], sizes: Sizes, alone: bool = True) -> Bool:
    """What every state of the kernel and of the dispatcher satisfies; `alone` as the rule says."""
    facts: list[Bool] = []
    for j in range(NAMES):
        facts += [le(-1, state[f"n{j}"]), lt(state[f"n{j}"], INODES)]
    for i in range(INODES):
        size = state[f"i{i}.size"]
        facts += [le(0, size), le(size, CELLS)]
        stream = state.get(f"i{i}.stream", state.get(f"i{i}.pipe", False))
        facts.append(or_(not_(state[f"i{i}.special"]), stream, eq(size, 0)))
        unnamed = and_(*[not_(eq(state[f"n{j}"], i)) for j in range(NAMES)], not_(state[f"i{i}.mapped"]))
        facts.append(or_(not_(stream), and_(state[f"i{i}.special"], unnamed)))
        for k in range(CELLS):
            cell = state[f"i{i}.c{k}"]
            facts += [le(0, cell), le(cell, CELL_MAX), or_(lt(k, size), eq(cell, 0))]
    for d in range(DESCRIPTIONS):
        facts += _description_formed(state, sizes, d)
        if alone:
            facts += _alone(state, d)
    if "known.0" in state:
        facts += [and_(le(0, state[f"known.{j}.size"]), le(state[f"known.{j}.size"], CELLS)) for j in range(NAMES)]
    if "owed" in state:
        facts += _owed_formed(state)
    if "t.act0.handler" in state:
        facts += [and_(le(0, state[k]), le(state[k], most)) for k, most in action_keys().items()]
        facts += [lt(state[f"{k}{j}.held"], KILL) for j in range(SIGNALS) for k in ("t.act", "recall")]
    if "clock" in state:
        facts += [and_(le(-1, state[k]), le(state[k], CLOCK_MAX)) for k in ("seen.time", "table.time")]
        facts += [and_(le(0, state["table.which"]), le(state["table.which"], 2))]
    if "t.pid" in state:
        facts += [and_(le(0, state[k]), le(state[k], CELL_MAX)) for k in process_keys() if k != "t.mapped"]
    return and_(*facts)


def _owed_formed(state: dict[str, Any]) -> list[Bool]:
    """What owes a sync is open and can be synced; and nobody stores to a file unseen meanwhile."""
    facts: list[Bool] = [or_(lt(state["owed"], 0), not_(state[f"i{i}.mapped"])) for i in range(INODES)]
    for d in range(DESCRIPTIONS):
        special = or_(*[and_(eq(state[f"d{d}.ino"], i), state[f"i{i}.special"]) for i in range(INODES)])
        fine = and_(lt(0, state[f"d{d}.refs"]), not_(state[f"d{d}.path"]), not_(special))
        facts.append(or_(not_(eq(state["owed"], d)), fine))
    return facts


def _description_formed(state: dict[str, Any], sizes: Sizes, d: int) -> list[Bool]:
    def at(name: str) -> Any:
        return state[f"d{d}.{name}"]

    is_open = lt(0, at("refs"))
    facts = [le(0, at("refs")), le(at("refs"), 2), le(0, at("ino")), lt(at("ino"), INODES)]
    facts += [le(0, at("pos")), le(at("pos"), CELLS), le(0, at("lock")), le(at("lock"), 2)]
    facts += [or_(not_(at("h")), and_(is_open, not_(at("shared"))))]
    facts += [or_(not_(at("path")), not_(or_(at("rd"), at("wr"))))]
    facts += [le(0, at("len")), le(at("len"), sizes.capacity), or_(at("h"), eq(at("len"), 0))]
    if f"d{d}.room" in state:
        facts += [le(0, at("room")), le(at("room"), ROOM_MAX)]
    for q in range(EPOLLS if "q0.asked" in state else 0):
        there, mask, tag = (at(f"q{q}.{n}") for n in ("in", "mask", "tag"))
        facts += [or_(not_(there), is_open), or_(there, and_(eq(mask, 0), eq(tag, 0)))]
        facts += [le(-1, mask), le(mask, 3), le(0, tag), le(tag, 1)]
        facts.append(or_(not_(at("h")), eq(at("refs"), 1)))  # a second descriptor has places of its own
    for i in range(INODES):
        here = and_(at("h"), eq(at("ino"), i))
        regular = and_(not_(state[f"i{i}.special"]), state[f"i{i}.covered"])
        facts.append(or_(not_(here), state.get(f"i{i}.stream", state.get(f"i{i}.pipe", regular))))
        if f"i{i}.pipe" in state:
            facts.append(or_(not_(here), and_(at("rd"), not_(at("wr")))))
            read = and_(is_open, eq(at("ino"), i), state[f"i{i}.pipe"])
            facts.append(or_(not_(read), le(at("pos"), state[f"i{i}.size"])))
    for k in range(CHUNK):
        facts += [le(0, at(f"b{k}")), le(at(f"b{k}"), CELL_MAX)]
    return facts


def _alone(state: dict[str, Any], d: int) -> list[Bool]:
    """A handled description's file is neither mapped nor named by another description of the process."""
    handled, ino = state[f"d{d}.h"], state[f"d{d}.ino"]
    facts = [or_(not_(handled), not_(eq(ino, i)), not_(state[f"i{i}.mapped"])) for i in range(INODES)]
    for e in range(DESCRIPTIONS):
        if e != d:
            same = and_(lt(0, state[f"d{e}.refs"]), eq(state[f"d{e}.ino"], ino))
            facts.append(or_(not_(handled), not_(same)))
    return facts
