"""Processes: who one is, how it is set, how it is copied, and calls by which others learn how far we are."""

from __future__ import annotations

from peephole.prove.model.kernel.call import EFAULT, Call, kernel_call
from peephole.prove.model.kernel.descriptors import handed_on
from peephole.prove.model.machine import DESCRIPTIONS, IDENTITIES, THREADS, Machine, Oracle
from peephole.prove.model.terms import Num, and_, eq, ite, not_
from peephole.prove.vocabulary import NUMBERS

_OVERFLOW = NUMBERS["OVERFLOW_ID"].model


@kernel_call("getpid")
def getpid(m: Machine, call: Call, oracle: Oracle) -> Num:
    return m.state["t.pid"]  # type: ignore[no-any-return]


@kernel_call("getuid", "geteuid", "getgid", "getegid")
def get_identity(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Of the calling thread, as its user namespace maps it."""
    value = ite(eq(call["thread"], 0), m.state[f"t0.{call.name[3:]}"], m.state[f"t1.{call.name[3:]}"])
    return ite(m.state["t.mapped"], value, _OVERFLOW)  # type: ignore[no-any-return]


@kernel_call("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid")
def set_identity(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Changes the calling thread only; that all threads follow is the C library's work."""
    kind = "uid" if call.name.endswith("uid") else "gid"
    for t in range(THREADS):
        with m.under(and_(eq(call["thread"], t), eq(oracle.fail, 0))):
            m.set(f"t{t}.{kind}", call["id"])
            m.set(f"t{t}.e{kind}", call["id"])
    return oracle.fail


@kernel_call("umask")
def umask(m: Machine, call: Call, oracle: Oracle) -> Num:
    before: Num = m.state["t.mask"]
    m.set("t.mask", call["id"])
    return before


@kernel_call("nanosleep", "clock_nanosleep")
def sleep(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A while; a signal may end it (EINTR), and times that can't be read fail."""
    m.asleep = ite(m.guard, call["n"], m.asleep)
    return ite(eq(call["row"], 0), -EFAULT, oracle.fail)  # type: ignore[no-any-return]


@kernel_call("fork_child")
def fork_child(m: Machine, call: Call, oracle: Oracle) -> Num:
    """From here on we are the child of a fork: another process, of one thread, whose namespace may be a new one."""
    handed_on(m)
    for d in range(DESCRIPTIONS):
        with m.under(m.is_open(d)):
            m.set_d(d, "shared", True)
    m.set("t.pid", call["id"])
    m.set("t.mapped", and_(m.state["t.mapped"], not_(call["placed"])))
    for name in IDENTITIES:
        value = ite(eq(call["thread"], 0), m.state[f"t0.{name}"], m.state[f"t1.{name}"])
        m.set(f"t0.{name}", value)
        m.set(f"t1.{name}", value)
    return 0


@kernel_call("other_maps")
def other_maps(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another process writes the map of our user namespace, which can be done once."""
    m.set("t.mapped", True)
    return 0


@kernel_call("fork")
def fork(m: Machine, call: Call, oracle: Oracle) -> Num:
    """The child has our descriptors with their bits, and may exec."""
    handed_on(m)
    for d in range(DESCRIPTIONS):
        with m.under(m.is_open(d)):
            m.set_d(d, "shared", True)
    return 0


def see_everything(m: Machine) -> None:
    for key in list(m.state):
        if key[0] in "ni" and key.split(".")[-1] not in (
            "touched",
            "dirty",
            "mapped",
            "covered",
            "special",
            "stream",
            "pipe",
        ):
            m.emit(f"saw.{key}", m.state[key])


@kernel_call("poll", "kill", "sendto", "futex", "wait4", "sync", "exit_group")
def communicate(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A call that may block, or by which others learn how far we are: they may then look at any file."""
    see_everything(m)
    return 0


@kernel_call("execve")
def execve(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Another program, or none if it fails; what it has of ours it may tell."""
    see_everything(m)
    handed_on(m)
    return 0
