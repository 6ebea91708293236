"""What there is a detector for, and which known wastes a capture can't show: the text of docs/detectors.md."""

from __future__ import annotations

from peephole.diagnose.detectors import Detector, detectors

#: wastes that are known, measured, and not to be seen in a capture
NOT_SHOWN = {
    "a stable buffer is sent by copying": "MSG_ZEROCOPY pays only when the program leaves the buffer alone until the "
    "network card is done with it; a capture does not hold buffers.",
    "the same image is sent to the X server twice": "that two uploads are equal is in the buffers, and whether the "
    "server still has the first one in the server.",
    "an audio thread runs without real-time priority": "that is decided by who sets its priority, not by its calls; "
    "look at its scheduling class (chrt -p PID) and give it SCHED_FIFO from outside.",
    "epoll_wait says only that a socket is writable": "which events were returned is in a buffer; sends that follow "
    "such waits are told by paced_sends, the changes of interest around them by epoll_churn.",
}

_HEAD = """# Detectors

Generated from `src/peephole/diagnose/detectors` by `peephole explain --index`; a test fails when it is stale.
`peephole explain SLUG` shows a detector's page: why the waste costs, what rewrites it, what that gives up, how it is
found. Where `peephole rules` does not list the rule, this Peephole does not have it, and the finding is advice.

| detector | kind | what is wasted | rule |
|---|---|---|---|
"""


def index() -> str:
    """The page that lists every detector, and what can't be detected."""
    rows = "".join(f"| `{d.slug}` | {d.kind} | {d.title.rstrip('.')} | {_rule(d)} |\n" for d in detectors().values())
    others = "".join(f"- **{what}**: {why}\n" for what, why in NOT_SHOWN.items())
    return f"{_HEAD}{rows}\n## What a capture can't show\n\n{others}"


def _rule(detector: Detector) -> str:
    rules = () if detector.rule is None else (detector.rule, *detector.needs)
    return " with ".join(f"`{rule}`" for rule in rules) or "advice only"
