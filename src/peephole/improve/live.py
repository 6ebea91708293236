"""Processes that run already: putting the runtime in, taking it out, and seeing what it does.

What is improved is read off `/proc`: a covered process has a control page mapped. So a process can be found, and its
counters read, whoever started it and whatever became of the folder that the page lay in.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from peephole import native
from peephole.errors import EngineError
from peephole.improve import folder as folders
from peephole.improve import keeper
from peephole.improve.arm import PlannedMount, mounts_of
from peephole.improve.control import MAGIC, MOUNTS_MAX, VERSION, Control, Page, Stats, stats_of
from peephole.improve.own import library_with
from peephole.improve.plan import known_rules
from peephole.improve.sites import bias, count, is_go, is_system_library, learned, sites_of

#: libraries that make system calls by themselves, which no rule would see
_CALLS_ITSELF = ("/liburing.so",)
#: its goroutines' stacks are too small for C
_SMALL_STACKS = "/libgo.so"


class Change(TypedDict):
    """What `attach` or `detach` did. `still_ms`: how long all threads stood still; `lent_ms`: one of them."""

    what: str
    pid: int
    threads: int
    still_ms: float
    lent_ms: float
    tries: int
    patches: int
    tiers: dict[str, int]
    missing: int
    rules: bool


@dataclass(frozen=True)
class Mapped:
    """One line of /proc/PID/maps."""

    start: int
    end: int
    access: str
    offset: int
    device: str
    inode: int
    path: str

    @property
    def deleted(self) -> bool:
        return self.path.endswith(" (deleted)")


def mappings(pid: int) -> list[Mapped]:
    """The mappings of a process. Raises OSError when they can't be read."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape").splitlines():
        words = line.split(maxsplit=5)
        start, _, end = words[0].partition("-")
        path = words[5] if len(words) > 5 else ""
        found.append(Mapped(int(start, 16), int(end, 16), words[1], int(words[2], 16), words[3], int(words[4]), path))
    return found


# -- attach and detach ------------------------------------------------------------------------------------------------


def attach(
    pid: int,
    rules: Sequence[str],
    *,
    mounts: Sequence[PlannedMount] | None = None,
    sources: Mapping[str, str] | None = None,
    prices: Mapping[str, int] | None = None,
    trusts: Mapping[str, str] | None = None,
) -> Change:
    """Put the runtime with `rules` into process `pid` and what it starts from now on.

    `prices` and `trusts` as for `arm`. Raises EngineError, with one line for people, when that can't be done; then the
    process is as it was.

        change = attach(4242, ["coalesce_writes"])
        print(f"{change['threads']} threads stood still for {change['still_ms']} ms")
    """
    names = (*known_rules([name for name in rules if name not in (sources or {})]), *(sources or {}))
    runtime = library_with(sources or {})
    maps = _maps_of(pid)
    lists, words = _objects(pid, maps)
    user = Path(f"/proc/{pid}").stat().st_uid
    folders.sweep()
    folder = folders.new(None)
    try:
        library = _fill(folder, user, lists, runtime)
        Control(folder / "control", names, mounts_of(names, mounts)[:MOUNTS_MAX], prices, trusts).close()
        if user != os.geteuid():
            os.chown(folder / "control", user, -1)
            folder.chmod(0o711)
        if names and user == os.geteuid():
            keeper.start(folder, pid)
        words += [f"mapped:{dev}:{inode}" for dev, inode in _data_files(pid, maps)]
        change = _run("attach", pid, str(library), str(folder / "control"), str(folder / "sites"), *words)
        # Not before: the sweep of another peephole would take a folder that no process uses yet.
        (folder / folders.MARK).touch(mode=0o600)
        return change
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def detach(pid: int) -> Change:
    """Settle what is pending in process `pid` and give every byte of its code back. Raises EngineError."""
    _maps_of(pid)
    was = _covered(pid)
    change = _run("detach", pid)
    if was is not None and not any(one.tree == was.tree for one in covered()):
        _dismiss(was.page.keeper_pid, was.tree)
    folders.sweep()
    return change


def _dismiss(pid: int, tree: str) -> None:
    """End the keeper `pid` of a tree whose last process was let go, and settled.

    The number comes out of a program's memory: what is no keeper of that tree is left alone.
    """
    with contextlib.suppress(OSError):
        one = os.pidfd_open(pid)
        try:
            if Path(f"/proc/{pid}/exe").readlink().name.split(" ")[0] == "peephole-keeper" and any(
                f"{m.device}:{m.inode}" == tree for m in mappings(pid)
            ):
                signal.pidfd_send_signal(one, signal.SIGKILL)
                select.select([one], [], [], 1)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        finally:
            os.close(one)


def _maps_of(pid: int) -> list[Mapped]:
    try:
        found = mappings(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise EngineError(f"pid {pid}: no such process") from None
    except PermissionError:
        raise EngineError(f"pid {pid} belongs to another user; run this as root or as its user") from None
    if not found:
        raise EngineError(f"pid {pid} has no program (a kernel thread, or it is ending)")
    return found


def _objects(pid: int, maps: list[Mapped]) -> tuple[bytes, list[str]]:
    """The site lists of what makes system calls in the process, and the attacher's words for them."""
    files = [m for m in maps if m.offset == 0 and m.path.startswith("/")]
    program = str(Path(f"/proc/{pid}/exe").readlink())
    code = {m.path for m in maps if "x" in m.access}
    words = ["own"] if any(_SMALL_STACKS in m.path for m in files) else []
    found = [m for m in files if is_system_library(m.path)]
    go = is_go(Path(f"/proc/{pid}/exe"))
    if go or not found:  # Go makes its calls itself, whatever else it has mapped
        found = [m for m in files if m.path == program]
        words += ["own", "bare"] if go else []
    else:
        others = [m for m in files if m.path in code and not is_system_library(m.path) and _makes_calls(pid, m)]
        words += ["own"] if any(m.path == program for m in others) else []
        found += [m for m in others if m.path != program]
    lists, at = b"", {}
    for m in {m.start: m for m in found}.values():
        path = _file_of(pid, m)
        if path not in at:
            at[path] = len(lists)
            lists += sites_of(path)
        words.append(f"object:{bias(path, m.start):x}:{at[path]:x}")
    if not found:
        raise EngineError(f"pid {pid}: neither a libc nor a program is mapped that makes system calls")
    return lists + learned(), words


def _makes_calls(pid: int, mapped: Mapped) -> bool:
    """Whether a mapped file, no libc, makes system calls of its own. One that can't be looked into makes none."""
    try:
        path = _file_of(pid, mapped)
        # The runtime itself, which a program was launched with, is none of them.
        return count(sites_of(path)) > 0 and b"\0ph_anchor\0" not in path.read_bytes()
    except EngineError:
        return any(name in mapped.path for name in _CALLS_ITSELF)


def _file_of(pid: int, mapped: Mapped) -> Path:
    # As the process sees it: an upgrade may have put another file in its place.
    for path in (
        Path(f"/proc/{pid}/map_files/{mapped.start:x}-{mapped.end:x}"),
        Path(f"/proc/{pid}/root") / mapped.path.lstrip("/"),
    ):
        try:
            info = path.stat()
        except OSError:
            continue
        if info.st_ino == mapped.inode:
            return path
    raise EngineError(
        f"pid {pid}: {mapped.path} was replaced since it was mapped; restart the program, or run this as root"
    )


def _fill(folder: Path, user: int, lists: bytes, library: Path) -> Path:
    """Everything that the target's user has to read, none of it theirs to write."""
    if user == os.geteuid():
        (folder / "libpeephole.so").symlink_to(library)
    else:
        shutil.copyfile(library, folder / "libpeephole.so")
        (folder / "libpeephole.so").chmod(0o755)
    (folder / "peephole-attach").symlink_to(native.path("peephole-attach").resolve())
    fd = os.open(folder / "sites", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(lists)
    if user != os.geteuid():
        (folder / "sites").chmod(0o644)
    return library


def _data_files(pid: int, maps: list[Mapped]) -> list[tuple[int, int]]:
    """Device and inode of every file that is mapped and is not the code of a program or library."""
    code = {m.path for m in maps if "x" in m.access}
    found = set()
    for path in {m.path for m in maps if m.inode and m.path.startswith("/") and not m.deleted} - code:
        try:
            info = (Path(f"/proc/{pid}/root") / path.lstrip("/")).stat()
        except OSError:
            continue
        found.add((info.st_dev, info.st_ino))
    return sorted(found)


def _run(*words: str | int) -> Change:
    tool = native.path("peephole-attach")
    # The same process group: ctrl-C reaches it too, and it ends when nothing is half done.
    process = subprocess.Popen([str(tool), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate()
    except BaseException:
        process.wait()
        raise
    if process.returncode in (130, 143):
        raise KeyboardInterrupt
    if process.returncode:
        said = err.decode(errors="replace").strip() or f"peephole-attach ended with {process.returncode}"
        raise EngineError(said.removeprefix("peephole-attach: "))
    change: Change = json.loads(out)
    return change


# -- status -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Covered:
    """An improved process: its control page, as numbers, and where the page is mapped."""

    pid: int
    program: str
    tree: str  # the same for all processes that share a control page
    page: Page
    at: int

    def stats(self) -> Stats:
        """The counters of its whole tree."""
        return stats_of(self.page)


def covered(pid: int | None = None) -> list[Covered]:
    """Every improved process that may be looked at, or the one asked for."""
    pids = [pid] if pid is not None else sorted(int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit())
    return [one for candidate in pids if (one := _covered(candidate)) is not None]


def _covered(pid: int) -> Covered | None:
    try:
        for m in mappings(pid):
            if "s" in m.access and m.offset == 0 and _is_control(m.path):
                page = _read_page(pid, m.start)
                if page is not None and page.keeper_pid != pid:
                    program = str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
                    return Covered(pid, program, f"{m.device}:{m.inode}", page, m.start)
    except OSError:
        return None
    return None


def _is_control(path: str) -> bool:
    parts = path.removesuffix(" (deleted)").rsplit("/", 2)
    return len(parts) == 3 and parts[2] == "control" and parts[1].startswith(folders.PREFIX)


def _read_page(pid: int, at: int) -> Page | None:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        mem.seek(at)
        data = mem.read(ctypes.sizeof(Page))
    if len(data) != ctypes.sizeof(Page):
        return None
    page = Page.from_buffer_copy(data)
    return page if page.magic == MAGIC and page.version == VERSION else None


def table(found: list[Covered]) -> list[dict[str, Any]]:
    """`found` grouped by control page: who shares it, and what its rules did."""
    trees: dict[str, dict[str, Any]] = {}
    for one in found:
        tree = trees.setdefault(one.tree, {"processes": [], "on": bool(one.page.master), "stats": one.stats()})
        tree["processes"].append({"pid": one.pid, "exe": one.program})
    return list(trees.values())
