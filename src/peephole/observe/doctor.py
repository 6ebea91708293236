"""What works on this machine, and why not the rest. A check is a name, what it is for, and a probe."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole.errors import MissingToolError, PeepholeError
from peephole.observe import ebpf, ptrace


@dataclass(frozen=True)
class Check:
    """One thing that may work here; `why_not` says why it does not, or None."""

    name: str
    use: str
    why_not: Callable[[], str | None]


@dataclass(frozen=True)
class Finding:
    """A check's outcome."""

    name: str
    use: str
    works: bool
    why_not: str | None


def _x86_64() -> str | None:
    machine = platform.machine()
    return None if machine == "x86_64" else f"this is {machine}; only x86-64 is known so far"


def _native() -> str | None:
    from peephole import native

    try:
        native.path("peephole-record")
    except MissingToolError as e:
        return str(e)
    return None


def _uring() -> str | None:
    switch = Path("/proc/sys/kernel/io_uring_disabled")
    if switch.exists() and switch.read_text().strip() == "2":
        return "io_uring is switched off (kernel.io_uring_disabled): there are none"
    return ebpf.EBPF.why_not("tp_btf")


def _observed(options: dict[str, Any], table: str | None) -> str | None:
    """Try it: record something small, and look for what was to be recorded."""
    from peephole.observe.launch import Launch

    reason = ebpf.why_not()
    if reason is not None:
        return reason
    with tempfile.TemporaryDirectory(prefix="peephole-doctor-") as folder:
        try:
            capture, _ = ebpf.record(Launch(**options), Path(folder) / "capture")
        except PeepholeError as e:
            return str(e)
        return None if table is None or capture.extra(table) else f"{table} stayed empty"


def _stacks() -> str | None:
    return _observed({"command": ["true"], "stacks": True}, "stacks.parquet")


def _join() -> str | None:
    return _observed({"command": [], "pid": os.getpid(), "timeout": 0.2}, None)


def _cgroup() -> str | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return None
    return "there is no cgroup2 mount; a cgroup of version 1 works with observe"


def _loop_ext4() -> str | None:
    """Try it: a small image, made, mounted with its journal, and undone."""
    if os.geteuid():
        return "mounting needs root"
    missing = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool, path=_tool_path()) is None]
    if missing:
        return f"{missing[0]} is not installed"
    with tempfile.TemporaryDirectory(prefix="peephole-doctor-") as folder:
        image, point = Path(folder) / "image", Path(folder) / "mount"
        point.mkdir()
        with image.open("wb") as file:
            file.truncate(16 << 20)
        made = _run("mkfs.ext4", "-q", "-F", str(image))
        if made:
            return made
        mounted = _run("mount", "-o", "loop,data=ordered", str(image), str(point))
        return mounted or _run("umount", str(point))


def _tool_path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def _run(*words: str) -> str | None:
    tool = shutil.which(words[0], path=_tool_path()) or words[0]
    done = subprocess.run([tool, *words[1:]], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return f"{words[0]}: {lines[-1] if lines else done.returncode}"


#: in the order in which they are shown; other stages add theirs
CHECKS: list[Check] = [
    Check("machine", "everything", _x86_64),
    Check("native", "everything but reading captures", _native),
    Check("ebpf", "observe: the cheap recorder, by tp_btf", lambda: ebpf.EBPF.why_not("tp_btf")),
    Check(
        "ebpf raw_tp",
        "observe: the same on kernels without tp_btf; no times asleep",
        lambda: ebpf.EBPF.why_not("raw_tp"),
    ),
    Check("ebpf-full", "observe: exact enter times", ebpf.EBPF_FULL.why_not),
    Check("io_uring", "observe: operations that no call shows", _uring),
    Check("stacks", "observe --stacks: who made the calls, and where CPU time goes", _stacks),
    Check("pid", "observe -p, --cgroup: join what runs", _join),
    Check("cgroup", "observe --cgroup; evaluate: CPU time of whole trees", _cgroup),
    Check("ptrace", "observe: the fallback, some 20 times slower", ptrace.why_not),
    Check("loop-ext4", "demo and benchmarks: a fresh journalled ext4", _loop_ext4),
]


def examine(more: Sequence[Check] = ()) -> list[Finding]:
    """Run every check, and `more`, which later stages have. Takes about a second; leaves nothing behind."""
    findings = []
    for check in (*CHECKS, *more):
        reason = check.why_not()
        findings.append(Finding(check.name, check.use, reason is None, reason))
    return findings
