"""What is known of a recording beside its calls: the machine, the mounts, the environment's names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Kernel, processors, host name, page size."""
    name = os.uname()
    return {
        "kernel": name.release,
        "machine": name.machine,
        "hostname": name.nodename,
        "cpus": os.cpu_count(),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "clock": "monotonic",
        "epoch_ns": time.time_ns() - time.monotonic_ns(),  # added to a capture's times, it gives the time of day
    }


def mounts() -> list[dict[str, Any]]:
    """Every mount of this process's namespace, with the device number that its files show in st_dev."""
    result = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        left, right = line.split(b" - ", 1)
        words, kind = left.split(b" "), right.split(b" ")
        major, minor = (int(number) for number in words[2].split(b":"))
        result.append(
            {
                "dev": os.makedev(major, minor),
                "point": _unescape(words[4]),
                "fstype": kind[0].decode("utf-8", "backslashreplace"),
                "options": ",".join(dict.fromkeys((words[5] + b"," + kind[2]).decode("utf-8", "replace").split(","))),
            }
        )
    return result


def _unescape(path: bytes) -> str:
    for escaped, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        path = path.replace(escaped, plain)
    return path.decode("utf-8", "backslashreplace")


def environment(env: Mapping[str, str] | None) -> list[str]:
    """The names of the command's environment; values may be secrets."""
    return sorted(os.environ if env is None else env)


def command_lines() -> dict[int, list[bytes]]:
    """The arguments of every process that can be seen; what a process wrote over them, if it did."""
    found: dict[int, list[bytes]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().removesuffix(b"\0").split(b"\0")
    return found
