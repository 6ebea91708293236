"""Arming: the private runtime folder and the variables that bring the runtime into a command and what it starts."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from peephole import native
from peephole.errors import EngineError
from peephole.improve import folder as folders
from peephole.improve import keeper
from peephole.improve.control import MOUNTS_MAX, PROFILES, Control, Mount, Stats
from peephole.improve.launch import Target, examine
from peephole.improve.own import library_with
from peephole.improve.plan import known_rules
from peephole.improve.sites import learn, lists_for

#: file systems whose files change behind this machine's back
_ELSEWHERE = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "virtiofs", "gfs2", "ocfs2", "lustre", "overlay")

_PR_SET_SYSCALL_USER_DISPATCH = 59


class PlannedMount(Protocol):
    """What `arm` needs to know of a mount (see `peephole.improve.plan.PlannedMount`)."""

    @property
    def dev(self) -> int: ...
    @property
    def profile(self) -> str: ...
    @property
    def rules(self) -> tuple[str, ...]: ...


class Armed:
    """Rules ready to act in any command that is started with `environment`. A context manager.

    `folder` is the runtime folder, `control` its control page.
    """

    def __init__(self, folder: Path, control: Control) -> None:
        self.folder = folder
        self.control = control
        self._last: Stats | None = None

    def start_recording(self, ring: Path) -> None:
        """Let the programs write their calls to a ring; `ring` was made beside the control page (observe/ring.py)."""
        if ring.parent != self.folder:
            raise ValueError(f"{ring}: not in the runtime folder")
        self.control.start_recording()

    def start_trapping(self) -> None:
        """Let calls be trapped by syscall user dispatch, wherever they are made, instead of patching call sites."""
        self.control.start_trapping()

    def delay(self, calls: Collection[int], ns: int) -> None:
        """Let calls of these numbers begin `ns` later (1: no later, but counted) in programs that start from now on."""
        self.control.delay(calls, ns)

    def delayed(self) -> int:
        """How many calls have been delayed since `delay`."""
        return self.control.delayed()

    def command(self, argv: Sequence[str], path: Path, target: Target) -> tuple[list[str], Path]:
        """What to execute for `argv`, whose file is `path`: a static program gets the runtime by way of a helper."""
        if not self.helps(target):
            return list(argv), path
        helper = self.folder / "peephole-attach"
        return [str(helper), "exec", str(self.folder), str(path), *argv], helper

    def helps(self, target: Target) -> bool:
        """Whether `command` brings the runtime into `target`."""
        return target.why == "static" and target.program == target.path

    def environment(
        self,
        base: Mapping[str, str],
        target: Target | None = None,
        own: Sequence[int] = (),
        *,
        by_command: bool = False,
    ) -> dict[str, str]:
        """`base` with the runtime in it; unchanged (and recorded) when `target` is a program that it can't enter.

        `own`: descriptors that the command inherits and no other process uses meanwhile (`peephole.improve.owned`).
        `by_command`: what is executed is what `command` says.
        """
        if target is not None and by_command and self.helps(target):
            return dict(base)
        if target is not None and target.why is not None:
            self.control.record_uncovered(0, str(target.path), target.why)
            return dict(base)
        theirs = base.get("LD_PRELOAD")
        env = {name: value for name, value in base.items() if name != "LD_PRELOAD"}
        # At the end: so the runtime can take them away and leave nothing behind. By twos, see core/runtime/start.c.
        env["LD_PRELOAD"] = str(self.folder / "libpeephole.so") + (f":{theirs}" if theirs else "")
        env["PEEPHOLE_CONTROL"] = str(self.folder / "control") + "".join(
            f"{',' if i else ':'}{fd}" for i, fd in enumerate(own)
        )
        if theirs:
            env["PEEPHOLE_PAIR"] = "1"
        return env

    def settle(self) -> None:
        """Everything is made good that programs have left which have ended, also by a kill."""
        if self._last is None:
            keeper.finish(self.control)

    def stats(self) -> Stats:
        """What the runtime counted; the last state after `close`."""
        return self.control.stats() if self._last is None else self._last

    def close(self) -> None:
        """Remove the runtime folder; while a program is still covered by it, it stays until some later sweep."""
        if self._last is None:
            self.settle()
            self._last = self.control.stats()
            if self.folder.stat().st_uid == os.geteuid():  # else others could have written what is read here
                for one in self._last["not_covered"]:
                    if one["why"] == "sites":
                        learn(Path(one["exe"]))
            self.control.close()
            folders.leave(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def can_trap() -> bool:
    """Whether this kernel has syscall user dispatch."""
    done: int = ctypes.CDLL(None).prctl(_PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0)
    return done == 0


def mounts_of(rules: tuple[str, ...], mounts: Sequence[PlannedMount] | None) -> tuple[Mount, ...]:
    """What the control page says of mounts; `mounts` None: every local one."""
    if not rules:
        return ()
    if mounts is not None:
        return tuple(Mount(m.dev, m.profile, tuple(m.rules)) for m in mounts if m.profile in PROFILES)
    from peephole.improve.places import mounted

    return tuple(
        Mount(place.dev, place.profile, rules)
        for place in mounted()
        if place.profile in PROFILES and place.fstype not in _ELSEWHERE and not place.fstype.startswith("fuse")
    )


def arm(
    rules: Sequence[str],
    *,
    sources: Mapping[str, str] | None = None,
    mounts: Sequence[PlannedMount] | None = None,
    runtime_dir: Path | None = None,
    target: Target | None = None,
    owner: tuple[int, int] | None = None,
    prices: Mapping[str, int] | None = None,
    trusts: Mapping[str, str] | None = None,
    trapping: bool = False,
) -> Armed:
    """Make ready to run commands with `rules` (none: patch every site, run no rule) acting on `mounts`.

    `mounts` None means every local mount. `sources`: the folders of those rules that are the user's own. `owner` is the
    user and group that the commands run as, when not ours (we are root then): the runtime folder becomes theirs, with a
    copy of the library, which they may be unable to reach elsewhere. `prices` says what a hit of a rule should save, in
    nanoseconds; one that takes more is switched off while the program runs, one without a price is not weighed.
    `trusts` says on whose word rules run that were not verified. `trapping`: calls are trapped, and no call site is
    patched. Raises EngineError when the runtime can't work on this machine, RuleError for an unknown rule.

        with arm(["truncate_in_place"]) as armed:
            subprocess.run(["make"], env=armed.environment(os.environ))
            print(armed.stats()["processes"])
    """
    if os.uname().machine != "x86_64":
        raise EngineError(f"improving works on x86-64 only, and this machine is {os.uname().machine}")
    names = (*known_rules([name for name in rules if name not in (sources or {})]), *(sources or {}))
    if trapping and not can_trap():
        raise EngineError("this kernel has no syscall user dispatch (Linux 5.11); use --engine patch")
    lists = b"" if trapping else lists_for(*((target.linker, target.program) if target else (None, None)))
    library = library_with(sources or {})
    # More mounts than fit: on the rest, calls just pass.
    table = mounts_of(names, mounts)[:MOUNTS_MAX]
    folders.sweep(runtime_dir)
    folder = folders.new(runtime_dir)
    try:
        if owner is None:
            (folder / "libpeephole.so").symlink_to(library)
        else:
            shutil.copyfile(library, folder / "libpeephole.so")
            (folder / "libpeephole.so").chmod(0o755)
        (folder / "peephole-attach").symlink_to(native.path("peephole-attach").resolve())
        fd = os.open(folder / "sites", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(lists)
        armed = Armed(folder, Control(folder / "control", names, table, prices, trusts))
        if trapping:
            armed.start_trapping()
        if owner is not None:
            for path in (folder, folder / "sites", folder / "control"):
                os.chown(path, *owner)
        if names:
            keeper.start(folder, os.getpid(), owner)
        return armed
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


__all__ = ["Armed", "Stats", "Target", "arm", "examine"]
