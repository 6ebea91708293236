"""Starting a command so that it looks as if nobody stood between: its streams, signals and exit code are its own."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SI_KERNEL = 0x80
#: what a command can be told by signal; the rest can't be caught or is ours (CHLD)
_FORWARDED = (
    signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGCONT, signal.SIGWINCH, signal.SIGTSTP, signal.SIGURG, signal.SIGIO, signal.SIGPWR, signal.SIGPIPE,
)  # fmt: skip
_SCRIPTS_MAX = 5


@dataclass(frozen=True)
class Target:
    """A command's file: the ELF program that runs it, its dynamic linker, and why the runtime can't enter (or None)."""

    path: Path
    program: Path | None = None
    linker: Path | None = None
    why: str | None = None  # one of peephole.improve.control.UNCOVERED


def find(command: str, env: Mapping[str, str]) -> Path | None:
    """Where execvp would find `command`, or None; a file that can't be executed is returned when there is no other."""
    if "/" in command:
        return Path(command) if os.path.lexists(command) else None
    refused = None
    for folder in os.get_exec_path(dict(env)):
        path = Path(folder or ".") / command
        if os.path.isfile(path):  # noqa: PTH113 - False, too, where a folder may not be searched
            if os.access(path, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                return path
            refused = refused or path
    return refused


def _has_capabilities(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.getxattr(path, "security.capability"))
    return False


def examine(path: Path) -> Target:
    """Look into the file that would be executed, through #! lines, as core/runtime/exec.c does."""
    program = path
    for _ in range(_SCRIPTS_MAX + 1):
        try:
            mode = program.stat().st_mode
            with program.open("rb") as file:
                head = file.read(4096)
                if head[:2] == b"#!":
                    words = head[2:].split(b"\n")[0].split()
                    if not words:
                        return Target(path)
                    program = Path(os.fsdecode(words[0]))
                    continue
                if head[:4] != b"\x7fELF":
                    return Target(path)
                if mode & stat.S_ISUID or (mode & stat.S_ISGID and mode & stat.S_IXGRP) or _has_capabilities(program):
                    return Target(path, program, None, "secure")
                if len(head) < 64 or head[4] != 2 or struct.unpack_from("<H", head, 18)[0] != 62:
                    return Target(path, program, None, "foreign")
                linker = _linker(head, file)
        except (OSError, struct.error):
            return Target(path, program, None, "foreign")
        if linker is None:
            return Target(path, program, None, "static")
        known = linker.name.startswith("ld-linux-x86-64.so.")
        return Target(path, program, linker, None if known else "foreign")
    return Target(path)


def _linker(head: bytes, file: BinaryIO) -> Path | None:
    (offset,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for i in range(count):
        file.seek(offset + i * size)
        kind, _, at, _, _, length = struct.unpack_from("<IIQQQQ", file.read(size))
        if kind == 3:
            file.seek(at)
            return Path(os.fsdecode(file.read(length).rstrip(b"\0")))
    return None


def run(argv: Sequence[str], path: Path, env: Mapping[str, str]) -> int:
    """Run the command and wait for it: its wait status. Signals sent to us are passed on to it.

    Raises OSError when it can't be executed.
    """
    watched = set(_FORWARDED) | {signal.SIGCHLD}
    # An ignored SIGCHLD would take our command's status away; the command itself inherits it as we did.
    children = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        pid = _spawn(argv, path, env, before, children == signal.SIG_IGN)
        return _accompany(pid, watched)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGCHLD, children)


def _spawn(
    argv: Sequence[str], path: Path, env: Mapping[str, str], mask: set[signal.Signals | int], no_children: bool
) -> int:
    # Not posix_spawn: it leaves two signals of glibc's own ignored in the command.
    mine, childs = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            # Python ignores these two at its start; the command must not inherit that.
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            if no_children:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execve(path, list(argv), dict(env))
        except OSError as e:
            os.write(childs, str(e.errno).encode())
        finally:
            os._exit(125)
    os.close(childs)
    with os.fdopen(mine, "rb") as pipe:
        trouble = pipe.read()
    if trouble:
        os.waitpid(pid, 0)
        raise OSError(int(trouble), os.strerror(int(trouble)), str(path))
    return pid


def _accompany(pid: int, watched: set[signal.Signals]) -> int:
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo == signal.SIGCHLD:
            done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if done != pid:
                continue
            if not os.WIFSTOPPED(status):
                return status
            # The whole job stops and goes on together, as the shell expects of it.
            os.kill(os.getpid(), signal.SIGSTOP)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        elif info.si_code != SI_KERNEL or info.si_signo == signal.SIGCONT:
            # What the terminal sends goes to the command too, without us.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, info.si_signo)
