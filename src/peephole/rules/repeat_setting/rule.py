"""Answer what sets a signal's action to what it is."""

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
    """Answer what sets a signal's action to what it is.

    A shell sets some signals to their defaults in each child that it makes, before it starts a command there, although
    they are so already. This rule remembers what each signal was last set to, in a fork's child too, and answers where
    the same is set again: handler, flags, mask and restorer. An action that its first signal uses up (SA_RESETHAND)
    is not remembered, and one that discards signals (they are ignored) is always set: one may wait. Not remembered are
    real-time signals and those that an instruction can raise.

    Nothing is given up, and little gained: an answered call takes 60 ns instead of 255. bash sets four so for each
    command that it starts, of some 700 microseconds, and arming a process costs more: a loop of 2,000 commands takes
    1.75 of the CPU with the rule in it, one of as many subshells 1.24 (on a busy machine). A program that does it
    often without making processes is not known, and `tune` never proposes it: a capture does not hold what was set.

    An umask, an option of a socket or a prctl that is set to what it is goes to the kernel: perl, make, Python, git,
    dash, redis, nginx and curl make no such call.
    """

    relaxes = set()

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
        if same and size == 8 and not k.discards(signal, handler):
            k.hit()
            r = k.give_action(old, handler, flags, restorer, mask)
            return r
        k.unsure(signal)
        r = k.forward()
        if ok(r) and flags >= 0 and flags < SA_RESETHAND:
            k.remember(signal, handler, flags, restorer, mask)
        return r
