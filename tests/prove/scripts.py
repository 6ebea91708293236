"""Random scripts for the driver, rich in what the rules handle."""

from __future__ import annotations

import random

_NAMES = ("a", "b", "c")
_SLOTS = 4
_FLAGS = (0o1101, 0o1101, 0o1001, 0o1102, 0o2101, 0o2102, 0o101, 0o102, 0o1, 0o2, 0o0, 0o3101, 0o3102, 0o100301)
_CLOEXEC = 0o2000000
_SIZES = (1, 3, 17, 100, 700, 4095, 4096, 5000, 30000, 70000)


def random_script(rng: random.Random, length: int, rich: bool = True) -> str:
    """A script of some calls; `rich` adds signals, threads, children and exec."""
    lines = [f"open {s} {rng.choice(_NAMES)} {rng.choice(_FLAGS[:9]):o}" for s in range(2)]
    while len(lines) < length:
        lines.append(_line(rng, rich))
        if rng.random() < 0.4:  # small writes come in rows
            slot = rng.randrange(_SLOTS)
            lines += [f"write {slot} {rng.choice('kmoq')} {rng.choice(_SIZES[:6])}" for _ in range(rng.randint(1, 5))]
        if rich and rng.random() < 0.3:  # and so do actions of signals
            lines += [_line(rng, rich) if rng.random() < 0.2 else _action(rng) for _ in range(rng.randint(2, 6))]
        if rng.random() < 0.3:  # and so do small reads
            slot = rng.randrange(_SLOTS)
            lines += [_small_read(rng, slot) for _ in range(rng.randint(2, 7))]
    return "\n".join(lines) + "\n"


def stream_script(rng: random.Random, rounds: int) -> str:
    """A script of answers sent in pieces to peers that take them: less than a socket holds, so none has to wait."""
    lines = []
    for _ in range(rounds):
        slots = rng.sample(range(_SLOTS), rng.randint(1, 3))
        lines += [f"serve {slot}" for slot in slots]
        for _ in range(rng.randint(1, 40)):
            slot = rng.choice(slots)
            kinds = [f"write {slot} {rng.choice('kmoq')} {rng.choice(_SIZES[:5])}"] * 6
            kinds += [f"await {slot}"] * 3 + [f"badwrite {slot} 20 {rng.choice((0, 5, 12))}", f"getfl {slot}", "who"]
            kinds += [f"open 7 {rng.choice(_NAMES)} 102", "write 7 k 100", "close 7", "nap 50 2", f"fstat {slot}"]
            lines.append(rng.choice(kinds))
        lines += [f"hear {slot}" for slot in slots]
    return "\n".join(lines) + "\n"


def _small_read(rng: random.Random, slot: int) -> str:
    n, offset = rng.choice(_SIZES[:6]), rng.choice((0, 0, 5, 100, 4096))
    return rng.choice(
        (
            f"read {slot} {n}",
            f"read {slot} {n}",
            f"pread {slot} {n} {offset}",
            f"lseek {slot} {rng.choice((-3, 0, 9))} 1",
        )
    )


def _action(rng: random.Random) -> str:
    signal = rng.choice((0, 0, 0, 1))
    kind = rng.choice(("act",) * 8 + ("send", "hold", "free"))
    if kind != "act":
        return f"{kind} {signal}"
    handler, flags, mask = rng.choice((2, 2, 3, 1, 0)), rng.choice((0, 0, 0, 1, 4)), rng.choice((0, 0, 1, 5))
    return f"act {signal} {handler} {flags} {mask} {rng.randrange(4)}"


def _line(rng: random.Random, rich: bool) -> str:
    if rich and rng.random() < 0.12:
        return rng.choice(("signal ", "thread ", "child ")) + _call(rng)
    if rich and rng.random() < 0.01:
        return "exec"
    return _call(rng)


def _call(rng: random.Random) -> str:
    slot, other = rng.randrange(_SLOTS), rng.randrange(_SLOTS)
    name, to = rng.choice(_NAMES), rng.choice(_NAMES)
    n, offset, letter = rng.choice(_SIZES), rng.choice((0, 0, 5, 100, 4096, 40000)), rng.choice("aceg")
    whence = rng.choice((0, 1, 1, 2))
    kinds = (
        (14, f"open {slot} {name} {rng.choice(_FLAGS) | rng.choice((0, 0, 0, _CLOEXEC)):o}"),
        (16, f"write {slot} {letter} {n}"),
        (4, f"writev {slot} {letter} {n}"),
        (4, f"pwrite {slot} {letter} {n} {offset}"),
        (6, f"read {slot} {n}"),
        (3, f"pread {slot} {n} {offset}"),
        (6, f"lseek {slot} {0 if whence == 1 else offset} {whence}"),
        (5, f"fstat {slot}"),
        (3, f"ftruncate {slot} {offset}"),
        (2, f"fsync {slot}"),
        (2, f"fdatasync {slot}"),
        (3, f"getfl {slot}"),
        (2, f"setfl {slot} {rng.choice(('0', '2000'))}"),
        (3, f"getfd {slot}"),
        (3, f"setfd {slot} {rng.choice((0, 1, 1, 1, 2, 3))}"),
        (0.5, f"fioclex {slot}"),
        (0.3, f"mark {slot}"),
        (1.5, "heirs"),
        (2, f"tcgets {slot}"),
        (2, f"ficlone {slot} {other}"),
        (5, f"cfr {other} {slot} {n}"),
        (2, f"cfro {other} {slot} {n} {offset}"),
        (2, f"dup {slot} {other}"),
        (2, f"dup2 {slot} {other}"),
        (0.5, f"dup3 {slot} {other}"),
        (1, f"dupfd {slot} {other} 20"),
        (9, f"close {slot}"),
        (1, f"map {slot} 4096"),
        (3, f"stat {name}"),
        (2, f"unlink {name}"),
        (2, f"rename {name} {to}"),
        (1, f"link {name} {to}"),
        (4, f"cat {name}"),
        (2, f"badwrite {slot} {rng.choice((20, 600))} {rng.choice((0, 5, 12))}"),
        (1, f"nullwrite {slot} 10"),
        (3, "who"),
        (1, f"nap {rng.choice((50, 400))} {rng.choice((1, 3, 6))}"),
        (0.2, f"setegid {rng.choice((0, 7))}"),
        (0.1, f"setgids {rng.choice((0, 7))}"),
        (2, f"badread {slot} {rng.choice((20, 600))} {rng.choice((0, 5, 12))}"),
    )
    return rng.choices([k for _, k in kinds], [w for w, _ in kinds])[0]
