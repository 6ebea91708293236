"""What a process does when a signal comes: how that is set, used up, and lost at exec."""

from __future__ import annotations

from peephole.prove.model.kernel.call import EFAULT, EINVAL, Call, first_error, kernel_call
from peephole.prove.model.machine import ACTION, KILL, SIGNALS, Machine, Oracle
from peephole.prove.model.terms import Bool, Num, and_, eq, ite, le, lt, not_, or_, sub
from peephole.prove.vocabulary import NUMBERS

_RESETS = NUMBERS["SA_RESETHAND"].model


def kept(part: str, value: Num) -> Num:
    """What the kernel keeps of a part of an action: nobody can hold SIGKILL back."""
    return ite(le(KILL, value), sub(value, KILL), value) if part == "held" else value


def discards(signal: Num, handler: Num) -> Bool:
    """Whether signals are thrown away by this action: that ignores them, or is a default that does nothing."""
    return or_(eq(handler, 1), and_(eq(handler, 0), eq(signal, SIGNALS - 1)))


@kernel_call("rt_sigaction")
def rt_sigaction(m: Machine, call: Call, oracle: Oracle) -> Num:
    """Gives the old action and sets the new one, the latter also when the former can't be stored."""
    sets = not_(eq(call["act"], 0))
    error, fine = first_error(
        (not_(eq(call["bytes"], 8)), -EINVAL),
        (eq(call["act"], 2), -EFAULT),
        (le(SIGNALS, call["signal"]), -EINVAL),
    )
    for j in range(SIGNALS):
        with m.under(and_(fine, eq(call["signal"], j))):
            with m.under(or_(eq(call["old"], 1), eq(call["old"], 3))):
                for part in ACTION:
                    m.emit(f"old.{part}", m.state[f"t.act{j}.{part}"])
            with m.under(sets):
                for part in ACTION:
                    m.set(f"t.act{j}.{part}", kept(part, call[part]))
                # Flags that it does not know it drops.
                with m.under(eq(call["act"], 3)):
                    m.set(f"t.act{j}.options", 0)
                with m.under(discards(j, call["handler"])):
                    m.set(f"t.act{j}.waits", False)
    return ite(fine, ite(eq(call["old"], 2), -EFAULT, 0), error)  # type: ignore[no-any-return]


@kernel_call("signal_comes")
def signal_comes(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A signal that the program does not hold back; SA_RESETHAND is used up."""
    for j in range(SIGNALS):
        handler = m.state[f"t.act{j}.handler"]
        with m.under(eq(call["signal"], j)):
            m.emit("runs", handler)
            with m.under(and_(lt(1, handler), le(_RESETS, m.state[f"t.act{j}.options"]))):
                m.set(f"t.act{j}.handler", 0)
    return 0


@kernel_call("signal_waits")
def signal_waits(m: Machine, call: Call, oracle: Oracle) -> Num:
    """A signal that the program holds back: it waits, whatever its action."""
    for j in range(SIGNALS):
        with m.under(eq(call["signal"], j)):
            m.set(f"t.act{j}.waits", True)
    return 0


@kernel_call("exec_begins")
def exec_begins(m: Machine, call: Call, oracle: Oracle) -> Num:
    """From here on we are a new program in the same process: what was ignored stays so, all else is the default."""
    for j in range(SIGNALS):
        with m.under(not_(eq(m.state[f"t.act{j}.handler"], 1))):
            m.set(f"t.act{j}.handler", 0)
        for part in ("options", "restorer", "held"):
            m.set(f"t.act{j}.{part}", 0)
    return 0
