"""A wrong neighbour, kept so that the prover must refute it."""

from peephole.prove.vocabulary import (
    ACT_FLAGS,
    ACT_HANDLER,
    ACT_MASK,
    ACT_RESTORER,
    SA_RESETHAND,
    Rule,
    buf,
    num,
    ok,
    result,
    word,
)


class RepeatSetting(Rule):
    """Breaks results.

    A signal that is held back is not thrown away when it is ignored once more.
    """

    def rt_sigaction(k, signal: word, act: buf, old: buf, size: num) -> result:
        if act == 0:
            return k.forward()  # it only asks
        # All of it first: what is old may be put where `act` is.
        handler = k.action(act, ACT_HANDLER)
        flags = k.action(act, ACT_FLAGS)
        restorer = k.action(act, ACT_RESTORER)
        mask = k.action(act, ACT_MASK)
        same = flags >= 0 and flags == k.recalled(signal, ACT_FLAGS)
        same = same and handler == k.recalled(signal, ACT_HANDLER)
        same = same and restorer == k.recalled(signal, ACT_RESTORER) and mask == k.recalled(signal, ACT_MASK)
        if same and size == 8:
            k.hit()
            r = k.give_action(old, handler, flags, restorer, mask)
            return r
        k.unsure(signal)
        r = k.forward()
        if ok(r) and flags >= 0 and flags < SA_RESETHAND:
            k.remember(signal, handler, flags, restorer, mask)
        return r
