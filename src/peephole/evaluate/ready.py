"""When a server is ready, and whether something else stands in its place already."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path

from peephole.errors import RunError
from peephole.evaluate.workload import Workload

LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


def is_ready(workload: Workload) -> bool:
    """Whether the workload's server answers."""
    if workload.ready is None:
        return True
    kind, what = workload.ready
    if kind == "file":
        return (workload.cwd / str(what)).exists()
    if kind == "exec":
        null = subprocess.DEVNULL
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            done = subprocess.run(
                what, cwd=workload.cwd, env=workload.env, stdin=null, stdout=null, stderr=null, timeout=5
            )
            return done.returncode == 0
        return False
    if kind == "unix":
        return _connects(socket.AF_UNIX, str(workload.cwd / str(what)))
    return any(
        _connects(family, (host, int(str(what))))
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
    )


def _connects(family: int, address: object) -> bool:
    try:
        with socket.socket(family) as s:
            s.settimeout(1)
            s.connect(address)  # type: ignore[arg-type]
            return True
    except OSError:
        return False


def check_free(workload: Workload) -> None:
    """Raise RunError when what --ready waits for is there before the server has started: it would be another's."""
    if not workload.drive or workload.ready is None or not is_ready(workload):
        return
    kind, what = workload.ready
    if kind == "tcp":
        owner = _listener(int(str(what)))
        by = f", by {owner}" if owner else ""
        raise RunError(f"port {what} is in use already{by}; stop that, or give COMMAND and --ready another port")
    if kind == "unix":
        raise RunError(f"--ready unix:{what}: something answers there already; stop that, or use another path")
    if kind == "file":
        raise RunError(
            f"--ready file:{what}: is there before the server starts; "
            f"let --fresh remove it, as in --fresh 'rm -f {what}'"
        )
    words = " ".join(what)
    raise RunError(f"--ready exec:{words}: succeeds before the server starts; stop the other server, or ask otherwise")


def _listener(port: int) -> str | None:
    """The process that listens on a port, as `name (pid)`; None when it can't be seen from here."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENING and int(words[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for fd in (process / "fd").iterdir():
                if os.readlink(fd) in inodes:  # noqa: PTH115 - no path, a name
                    return f"{(process / 'comm').read_text().strip()} ({process.name})"
    return None
