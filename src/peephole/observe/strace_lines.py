"""Strace text, line by line: who, when, which call, its arguments as text, its result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from peephole.errors import CaptureError
from peephole.observe.strace_args import ANNOTATION, errno_of, signed, split

_HEAD = re.compile(
    rb" *(?:\[pid +(?P<pid>\d+)(?:<[^<>\n]*>)?\] |(?P<opid>\d+)(?:<[^<>\n]*>)? +)? *"
    rb"(?:(?P<day>\d\d:\d\d:\d\d(?:\.\d+)?) (?:\(\+ +\d+\.\d+\) )?|(?P<sec>\d+\.\d+) (?:\(\+ +\d+\.\d+\) )?)?"
    rb"(?:\[ *(?:\d{1,4}|\?)\] )?(?:\[(?P<ip>[0-9a-f]{8,16}|\?+)\] )?"
)
_DONE = re.compile(rb"(\w+)\((.*)\)\s+= (.*)$", re.DOTALL)
_BEGUN = re.compile(rb"(\w+)\((.*?),? ?<unfinished \.\.\.>(?:\) += \?)?$", re.DOTALL)
_RESUMED = re.compile(rb"<\.\.\. (\w+) resumed>(.*)\)\s+= (.*)$", re.DOTALL)
_RESULT = re.compile(rb"(-?\d+|0x[0-9a-f]+|\?)(" + ANNOTATION + rb")?(?:\(deleted\))?(?= |$)")
_ERROR = re.compile(rb" \(?(?:errno )?(E[A-Z0-9_]+|\d+)\)?")
_DURATION = re.compile(rb" <(\d+)\.(\d+)>$")
_NOTICE = re.compile(rb"(.+?)(?:strace: )?Process \d+ attached$", re.DOTALL)
_END = re.compile(
    rb"\+\+\+ (?:exited with (\d+)|killed by SIG(\w+)(?: \((core dumped)\))?"
    rb"|superseded by (?:execve )?in pid (\d+)) \+\+\+$"
)
_PERSONALITY = re.compile(rb"\[ Process PID=(\d+) runs in (32|64|x32) (?:bit )?mode\. \]$")
_IGNORED = (b"--- ", b"strace: ", b" > ", b"Process ", b"+++ ")
_DAY_NS = 86_400_000_000_000
LINE_MOST = 16 << 20


@dataclass(slots=True)
class Event:
    """One thing that the text says. `kind`: call, begun (never resumed), exited, superseded, personality."""

    kind: str
    line: int
    tid: int | None
    enter_ns: int | None = None
    exit_ns: int | None = None
    ip: int | None = None
    name: str = ""
    args: list[bytes] | None = None
    ret: int | None = None
    ret_name: bytes | None = None  # what -y printed behind a descriptor that the call returned
    value: int = 0  # wait status, the superseding pid, or the mode's bits
    begun: int = 0  # line of the call's beginning


@dataclass(slots=True)
class Cut:
    """The last line was cut in the middle, and left out."""

    line: int


class _Clock:
    """Any of -t, -tt, -ttt and -r as nanoseconds that do not run backwards by a day."""

    def __init__(self) -> None:
        self.days = 0
        self.last = 0
        self.sum = 0

    def read(self, head: re.Match[bytes]) -> int | None:
        day, sec = head["day"], head["sec"]
        if day is not None:
            hours, minutes, seconds = day.split(b":")
            ns = (int(hours) * 3600 + int(minutes) * 60) * 1_000_000_000 + _decimal_ns(seconds)
            if ns + self.days < self.last - _DAY_NS // 2:
                self.days += _DAY_NS
            self.last = ns + self.days
            return self.last
        if sec is None:
            return None
        ns = _decimal_ns(sec)
        if ns >= 100_000_000 * 1_000_000_000:  # -ttt: seconds since 1970; -r counts from the line before
            return ns
        self.sum += ns
        return self.sum


def _decimal_ns(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    return int(whole) * 1_000_000_000 + int((part + b"000000000")[:9])


def _joined(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """Lines with strace's own notices, which -f drops in the middle of them on a terminal, taken out."""
    kept, kept_at = b"", 0
    for at, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\r\n")
        whole = raw.endswith(b"\n")
        if kept:
            at, line, kept = kept_at, kept + line, b""
        notice = _NOTICE.match(line) if line.endswith(b" attached") else None
        if notice is not None and not notice[1].rstrip().endswith((b"strace:", b"]")):
            kept, kept_at = notice[1], at
            continue
        yield at, line, whole
    if kept:
        yield kept_at, kept, False


def lines_of(text: BinaryIO) -> Iterator[bytes]:
    """The lines of a log. Raises CaptureError where one is longer than strace's are."""
    while line := text.readline(LINE_MOST):
        if len(line) == LINE_MOST:
            raise CaptureError(f"a line has more than {LINE_MOST >> 20} MB; is it strace's output?")
        yield line


def read(lines: Iterable[bytes]) -> Iterator[Event | Cut]:
    """Every call (in the order of their ends) and every end of a process in strace text of any flags.

    A last line that is cut off gives a `Cut`. Raises CaptureError naming the line for any other that is no strace text.
    """
    reader = _Reader()
    held: tuple[int, bytes, bool] | None = None
    ended_whole = False
    for item in _joined(lines):
        if held is not None:
            ended_whole = ended_whole or held[2]
            if held[1].startswith(b"% time "):
                held = None
                break
            yield from reader.events(held[0], held[1])
        held = item
    if held is not None and not held[1].startswith(b"% time "):
        if ended_whole and not held[2]:
            yield Cut(held[0])
        else:
            try:
                yield from reader.events(held[0], held[1])
            except CaptureError:
                if reader.calls == 0:
                    raise
                yield Cut(held[0])
    yield from reader.rest()


class _Reader:
    def __init__(self) -> None:
        self.clock = _Clock()
        self.begun: dict[int | None, tuple[Event, bytes]] = {}
        self.calls = 0

    def events(self, at: int, line: bytes) -> Iterator[Event]:
        if not line.strip() or line.startswith(b" > "):
            return
        head = _HEAD.match(line)
        assert head is not None  # every part of it is optional
        pid = head["pid"] or head["opid"]
        tid = int(pid) if pid else None
        now = self.clock.read(head)
        body = line[head.end() :]
        if body.startswith((b"+++ ", b"--- ", b"strace: ", b"Process ", b"[ Process ")):
            yield from self._remark(at, tid, now, body)
            return
        event = Event("call", at, tid, now, begun=at)
        if head["ip"] and head["ip"][:1] != b"?":
            event.ip = signed(int(head["ip"], 16))
        try:
            done = self._call(event, body)
        except ValueError as e:
            raise _not_strace(at, line) from e
        if done is None:
            raise _not_strace(at, line)
        if done:
            self.calls += 1
            yield event

    def _call(self, event: Event, body: bytes) -> bool | None:
        """Fill the event from the line: True when its call ended here, False when it only began, None for garbage."""
        if body.startswith(b"<... "):
            m = _RESUMED.match(body)
            if m is None:
                return None
            first, text = self.begun.pop(event.tid, (None, b""))
            resumed, event.name = event.enter_ns, m[1].decode()
            if first is None:  # it began before strace was attached
                event.args, event.enter_ns = None, None
            else:
                event.enter_ns, event.ip, event.begun = first.enter_ns, first.ip, first.line
                event.args = split(_glued(text, m[2]))
            _result(event, m[3], resumed)
            return True
        if body.endswith(b"<unfinished ...>") or b"<unfinished ...>) " in body[-40:]:
            m = _BEGUN.match(body)
            if m is None:
                return None
            event.name = m[1].decode()
            self.begun[event.tid] = (event, m[2])
            self.calls += 1
            return False
        m = _DONE.match(body)
        if m is None:
            return None
        event.name = m[1].decode()
        event.args = split(m[2])
        _result(event, m[3], None)
        return True

    def _remark(self, at: int, tid: int | None, now: int | None, body: bytes) -> Iterator[Event]:
        end = _END.match(body)
        if end is not None and end[4]:
            other = int(end[4])
            if other in self.begun:  # its execve goes on under the group's id
                self.begun[tid] = self.begun.pop(other)
            yield Event("superseded", at, tid, now, now, value=other)
        elif end is not None:
            self.begun.pop(tid, None)
            status = int(end[1]) << 8 if end[1] else _signal(end[2]) | (0x80 if end[3] else 0)
            yield Event("exited", at, tid, now, now, value=status)
        else:
            mode = _PERSONALITY.search(body)
            if mode is not None:
                yield Event("personality", at, int(mode[1]), value=32 if mode[2] == b"32" else 64)

    def rest(self) -> Iterator[Event]:
        """Calls that never came back: the log ended, or their process was killed."""
        for event, text in self.begun.values():
            event.kind = "begun"
            event.args = [text]
            yield event


def _glued(begun: bytes, resumed: bytes) -> bytes:
    """`clone(a, b <unfinished ...>` and `<... clone resumed>, c)`; strace also breaks after a comma."""
    if not begun or not resumed or resumed.startswith((b", ", b" =>")) or begun.endswith(b" "):
        return begun + resumed
    return begun + b", " + resumed


def _result(event: Event, text: bytes, resumed: int | None) -> None:
    m = _RESULT.match(text)
    if m is None:
        raise ValueError("no result")
    if m[1] == b"?":
        error = _ERROR.match(text, m.end())
        event.ret = _negative(error[1]) if error else None
    else:
        # A mask of modes (umask) is printed as octal.
        base = 16 if m[1][:2] == b"0x" else 8 if m[1][:1] == b"0" else 10
        event.ret = signed(int(m[1], base)) if base != 10 else int(m[1])
        if event.ret == -1:
            error = _ERROR.match(text, m.end())
            if error is not None:
                event.ret = _negative(error[1])
    if m[2] is not None:
        event.ret_name = m[2][1:-1]
    took = _DURATION.search(text)
    if took is not None and event.enter_ns is not None:
        event.exit_ns = event.enter_ns + _decimal_ns(took[1] + b"." + took[2])
    else:
        event.exit_ns = resumed


def _negative(name: bytes) -> int | None:
    if name.isdigit():
        return -int(name)
    number = errno_of(name.decode())
    if number is None:
        raise ValueError(f"no such error: {name!r}")
    return -number


def _signal(name: bytes) -> int:
    import signal

    if name.startswith(b"RT"):
        return 32 + int(name.split(b"_")[-1]) if b"_" in name else 32
    found = getattr(signal, "SIG" + name.decode(), None)
    return int(found) if found is not None else 0


def _not_strace(at: int, line: bytes) -> CaptureError:
    shown = line[:60].decode("utf-8", "backslashreplace")
    return CaptureError(
        f"line {at} is not strace's: {shown!r}; write the log with `strace -o FILE`, without other output"
    )
