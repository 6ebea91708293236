"""Tells a run of calls in words."""

from __future__ import annotations

from typing import Any

from peephole.prove.language import RuleText
from peephole.prove.model.kernel import NOFOLLOW, Call, Flags
from peephole.prove.model.machine import CELLS, INODES, NAMES, files_of
from peephole.prove.step import Freedom, Step

_NAMES = "abc"
_BITS = {
    0o1: "O_WRONLY",
    0o2: "O_RDWR",
    0o100: "O_CREAT",
    0o200: "O_EXCL",
    0o1000: "O_TRUNC",
    0o2000: "O_APPEND",
    0o10000: "O_DSYNC",
    0o4000000: "O_SYNC",
    0o10000000: "O_PATH",
    0o2000000: "O_CLOEXEC",
}
_ERRNOS = {
    1: "EPERM", 2: "ENOENT", 4: "EINTR", 5: "EIO", 9: "EBADF", 11: "EAGAIN", 13: "EACCES", 14: "EFAULT",
    17: "EEXIST", 22: "EINVAL", 24: "EMFILE", 25: "ENOTTY", 28: "ENOSPC", 29: "ESPIPE", 61: "ENODATA", 95: "EOPNOTSUPP",
}  # fmt: skip
_COMMANDS = {1: "F_GETFD", 2: "F_SETFD", 3: "F_GETFL", 4: "F_SETFL"}
_HANDLERS = {0: "SIG_DFL", 1: "SIG_IGN", 2: "a handler", 3: "another handler"}
_EVENTS = {-1: "EPOLLET", 0: "0", 1: "EPOLLIN", 2: "EPOLLOUT", 3: "EPOLLIN|EPOLLOUT"}
_REQUESTS = {20: "TCGETS", 21: "FICLONE", 23: "FIOCLEX"}


def tell(rule: RuleText, start: dict[str, Any], steps: list[tuple[Call, Freedom, Step]], broken: str) -> list[str]:
    """The first state, the calls with their results, and what is wrong after the last one."""
    story = (
        []
        if not rule.per_file
        else [files(start)]
        if any(start[f"n{j}"] >= 0 for j in range(NAMES))
        else ["no file is there"]
    )
    if "t.mapped" in start and not start["t.mapped"]:
        story.append("a user namespace without a map")
    for call, free, step in steps:
        line = _call(call, step.before) + (f" = {_result(step.result)}" if call.by == "us" else "")
        failed = [_result(o.fail) for o in free.own.values()]
        if step.failed and failed:
            line += f" (a call of the rule's own fails with {failed[0][1:]})"
        story.append(line)
    story.append(_wrong(steps[-1][0], steps[-1][2], broken))
    return story


def files(state: dict[str, Any]) -> str:
    """Names and contents: one digit or letter a block, a dot for zeros."""
    parts = []
    for j in range(NAMES):
        i = state[f"n{j}"]
        if i >= 0:
            kind = "is a pipe" if state[f"i{i}.special"] else f"holds {contents(state, i)}"
            parts.append(f"{_NAMES[j]} {kind}")
    return "; ".join(parts) or "no file has a name"


def contents(state: dict[str, Any], i: int) -> str:
    cells = [state[f"i{i}.c{c}"] for c in range(min(CELLS, state[f"i{i}.size"]))]
    return '"' + "".join(_cell(c) for c in cells) + '"' if cells else "nothing"


def _cell(value: int) -> str:
    return "." if value == 0 else chr(96 + value) if 0 < value < 27 else "?"


def _result(r: Any) -> str:
    return f"-{_ERRNOS.get(-r, str(-r))}" if r < 0 else str(r)


def _file(state: dict[str, Any], i: int) -> str:
    names = [_NAMES[j] for j in range(NAMES) if state[f"n{j}"] == i]
    return names[0] if names else f"the unnamed file {i}"


def _call(call: Call, before: dict[str, Any]) -> str:
    w = call.words
    file = _file(before, w["inode"]) if "inode" in w else ""
    who = {"other": "another process: ", "memory": ""}.get(call.by, "")
    data = '"' + "".join(_cell(c) for c in w["data"].cells[: w.get("n", 1)]) + '"' if "data" in w else ""
    match call.name:
        case "accept4":
            return "accept()"
        case "pipe2":
            return "the process turns out to be the only reader of a pipe"
        case "epoll_wait" | "other_waits":
            which = w.get("epoll", "")
            return f"epoll_wait({which})" if call.by == "us" else f"another process: epoll_wait({which})"
        case "epoll_ctl" | "other_controls":
            what = {1: "ADD", 2: "DEL", 3: "MOD"}.get(w["op"], "?")
            return f"{who}epoll_ctl({w['epoll']}, {what}, {call.slot}, {_EVENTS[w['mask']]}, tag {w['tag']})"
        case "close_epoll":
            return f"close({w['epoll']}), an epoll"
        case "thread_begins":
            return "a second thread begins"
        case "openat":
            return f"open({_NAMES[w['name']]}, {_flags(w['flags'])})"
        case "write" | "writev":
            bad = f" of which {w['data'].good} can be read" if w["data"].good < w["n"] else ""
            return f"{call.name}({call.slot}, {data}, {w['n']}{bad})"
        case "pwrite64" | "opaque":
            return f"{'pwrite' if call.name[0] == 'p' else 'an unmodelled call'}({call.slot}, {data}, {w['offset']})"
        case "read" | "pread64" | "ftruncate":
            return f"{call.name}({call.slot}, {', '.join(str(v) for v in w.values())})"
        case "lseek":
            whence = {0: "SEEK_SET", 1: "SEEK_CUR", 2: "SEEK_END"}.get(w["whence"], w["whence"])
            return f"lseek({call.slot}, {w['offset']}, {whence})"
        case "fcntl":
            append = ", O_APPEND" if w["append"] and w["command"] == 4 else ""
            bits = f", {w.get('bits', 0)}" if w["command"] == 2 else ""
            return f"fcntl({_which(call)}, {_COMMANDS.get(w['command'], w['command'])}{append}{bits})"
        case "ioctl":
            return f"ioctl({_which(call)}, {_REQUESTS.get(w['request'], 'another request')}, {call.other})"
        case "copy_file_range":
            return f"copy_file_range({call.other}, {call.slot}{', at ' + str(w['offset']) if w['placed'] else ''})"
        case "statx":
            way = "AT_SYMLINK_NOFOLLOW" if w["flags"].has(NOFOLLOW) else "0"
            return f"statx({_NAMES[w['name']]}, {way}{'' if w['asked'] else ', not asked for times'})"
        case "getxattr" | "lgetxattr":
            return f"{call.name}({_NAMES[w['name']]}, attribute {w['attribute']})"
        case "lsetxattr":
            what = "lsetxattr" if w["placed"] else "lremovexattr"
            return f"{who}{what}({_NAMES[w['name']]}, attribute {w['attribute']})"
        case "time_passes":
            return f"{w['n']} steps of the clock pass"
        case "other_learns":
            return f"another program of the tree asks for attribute {w['attribute']} of {file}"
        case "dup":
            return f"dup({call.slot}{', with F_DUPFD_CLOEXEC' if w.get('cloexec') else ''})"
        case "dup2":
            return f"dup2({call.slot}, {call.other}{', with O_CLOEXEC' if w.get('cloexec') else ''})"
        case "close":
            return f"close({_which(call)})"
        case "close_range":
            return "close_range(0, ~0, CLOSE_RANGE_CLOEXEC)"
        case "thread_execs":
            return "another thread, in the middle of an exec, executes the program"
        case "other_reads":
            return f"another process reads {file}"
        case "other_writes":
            piped = before.get(f"i{w['inode']}.pipe") is True
            where = "its end" if w["append"] or piped else f"block {w['offset']}"
            return f"another process writes {data} to {file} at {where}"
        case "other_truncates":
            return f"another process truncates {file} to {w['n']}"
        case "load" | "store":
            return f"the program {'reads' if call.name == 'load' else 'writes to'} its mapping of {file}"
        case "nanosleep" | "clock_nanosleep":
            until = ", until a time" if w.get("absolute") else ""
            which = "unreadable" if w["row"] == 0 else f"number {w['row']} in a row"
            return f"{call.name}({w['n']}{until}), {which}"
        case "rt_sigaction":
            return _action(w)
        case "signal_comes":
            return f"signal {w['signal']} comes"
        case "signal_waits":
            return f"signal {w['signal']} comes and is held back"
        case "exec_begins":
            return "exec, and we follow the new program"
        case "fork_child":
            space = ", in a user namespace of its own" if w["placed"] else ""
            return f"thread {w['thread']} forks, and we follow the child{space}: its pid is {w['id']}"
        case "other_maps":
            return "another process maps our user namespace's users"
        case _ if "thread" in w:
            return f"thread {w['thread']}: {call.name}({w.get('id', '')})"
        case "other_moves":
            return f"another process moves the shared offset of {call.slot}"
    words = [_NAMES[w[n]] for n in ("name", "to") if n in w]
    words += [str(w[n]) for n in ("n", "lock") if n in w]
    return who + f"{call.name}({', '.join(([str(call.slot)] if call.slot >= 0 else []) + words)})"


def _which(call: Call) -> str:
    return f"the second descriptor of {call.slot}" if call.words.get("second") else str(call.slot)


def _action(w: dict[str, Any]) -> str:
    act = f"{{{_HANDLERS[w['handler']]}, flags {w['options']}, restorer {w['restorer']}, mask {w['held']}}}"
    act = {0: "NULL", 2: "a bad address"}.get(w["act"], act)
    old = {0: "NULL", 1: "&old", 2: "a bad address", 3: "the same place"}[w["old"]]
    return f"rt_sigaction({w['signal']}, {act}, {old}, {w['bytes']})"


def _flags(flags: Flags) -> str:
    names = [name for bit, name in _BITS.items() if flags.bits.get(bit)]
    return "|".join(names) or "O_RDONLY"


def _left(step: Step) -> str:
    """What a crash leaves: the files, where they differ already; else the sync makes the difference."""
    owed = step.elided or step.overtaken or files_of(step.after) == files_of(step.reference)
    return "what was synced may not be there, or a part of it" if owed else _both(step)


def _both(step: Step, settled: bool = False) -> str:
    after = step.settled if settled else step.after
    for j in range(NAMES):
        ours, theirs = after[f"n{j}"], step.reference[f"n{j}"]
        if ours != theirs:
            return f"name {_NAMES[j]} differs"
        if ours >= 0 and contents(after, ours) != contents(step.reference, ours):
            there, here = contents(step.reference, ours), contents(after, ours)
            return f"{_NAMES[j]} holds {here}; in the original {there}"
    for i in range(INODES):
        if contents(after, i) != contents(step.reference, i):
            here, there = contents(after, i), contents(step.reference, i)
            return f"file {i} holds {here}; in the original {there}"
    return "the descriptors' states differ"


def _wrong(call: Call, step: Step, broken: str) -> str:
    if broken.startswith("discipline: "):
        return broken.removeprefix("discipline: ")
    if call.name == "rename" and call.by == "us" and broken.split()[0] in ("visibility", "atomicity", "crash"):
        return f"between the rule's two calls {_NAMES[call['to']]} is new and {_NAMES[call['name']]} is the old file"
    match broken:
        case "results" | "freshness":
            if step.result != step.reference_result:
                return f"the call returns {_result(step.result)}; in the original {_result(step.reference_result)}"
            for k in sorted(set(step.out) | set(step.reference_out)):
                if step.out.get(k, 0) != step.reference_out.get(k, 0):
                    ours, theirs = int(step.out.get(k, 0)), int(step.reference_out.get(k, 0))
                    return f"the program sees {k} {ours}; in the original {theirs}"
            if any(step.settled[k] != v for k, v in step.reference.items() if k.endswith(".waits")):
                return "a signal still waits that the original has thrown away"
            return "a descriptor's offset or flags differ, which a later call would show"
        case "visibility" if call.name == "other_waits":
            return "its wait goes by another interest list than the original's"
        case "visibility":
            return f"it sees another file than the original would have shown: {_both(step)}"
        case "survival":
            return f"SIGKILL here: {_both(step)}"
        case "timestamps" if call.name == "stat":
            return "it does not see that the file was read since (st_atime)"
        case "timestamps":
            return "the file's times are not set at this call; in the original they are, or the other way round"
        case "resources" | "timing" if "i0.pipe" in step.after:
            return "the pipe still holds what the program has read, and who writes to it may have to wait"
        case "resources":
            return f"disk space that the original has given back is still held: {_both(step)}"
        case "error-timing":
            return "an error of an earlier call's data comes only now"
        case "durability":
            return f"the sync has returned, and a crash now leaves: {_left(step)}"
        case "timing":
            if call.name == "epoll_wait":
                return "it is told some events at once, and others that are there only later"
            return "it sleeps for less than was asked"
        case "ordering":
            made = "was not made" if step.elided else "is made only now, after another file was changed"
            return f"the sync has returned and {made}"
        case "atomicity" | "append-atomicity":
            return f"when all is made good, the other's change has another outcome: {_both(step, settled=True)}"
    if broken.startswith("crash"):
        return (
            f"the machine crashes in or after this call: the disk may hold what the original never held; {_left(step)}"
        )
    return f"when all is made good: {_both(step, settled=True)}"
