"""The keeper: a small process beside the improved ones, which makes good what one of them can't make good any more.

It is `core/keeper/` (C, since nothing of Python runs beside an improved program). It holds the memory in which programs
have what is pending, settles what has been pending for too long, and what a program has left that was killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from peephole import native
from peephole.errors import MissingToolError
from peephole.improve.control import Control

START_S = 10
#: what a keeper takes to look after everybody, many times over
FINISH_S = 2.0


def start(folder: Path, beside: int, owner: tuple[int, int] | None = None) -> bool:
    """Start the keeper of a runtime folder; it stays until process `beside` and every program in its memory have ended.

    `owner`: the user and group that it runs as, when not ours. False when there can't be one: then programs run without
    it, and what a killed one has pending is lost.
    """
    user, group = owner if owner is not None else (None, None)
    try:
        keeper = subprocess.Popen(
            [native.path("peephole-keeper"), folder, str(beside)], env={},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            user=user, group=group, extra_groups=[] if owner is not None else None,
        )  # fmt: skip
    except (OSError, MissingToolError):
        return False
    assert keeper.stdout is not None
    with keeper.stdout as ready:
        begun = bool(select.select([ready], [], [], START_S)[0]) and ready.read(1) == b"\n"
    if begun:
        keeper.returncode = 0  # nobody waits for it but `finish`
    else:
        keeper.kill()
        keeper.wait()
    return begun


def finish(control: Control) -> None:
    """Nobody waits for the keeper any more. It has then settled what programs left that have ended; it stays only for
    those that run on."""
    pid = control.keeper_pid
    if not pid:
        return
    with contextlib.suppress(OSError):
        keeper = os.pidfd_open(pid)
        try:
            _end(keeper, control)
        finally:
            os.close(keeper)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _end(keeper: int, control: Control) -> None:
    rounds = control.keeper_rounds
    signal.pidfd_send_signal(keeper, signal.SIGTERM)
    end = time.monotonic() + FINISH_S
    while time.monotonic() < end:
        if select.select([keeper], [], [], 0.005)[0]:
            return
        if control.keeper_rounds >= rounds + 2:
            return  # it has looked after everybody since, and stays
