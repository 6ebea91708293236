"""What is run: a command with everything that makes two runs of it alike."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

from peephole.errors import RunError, UsageError

SAME_KINDS = ("exit", "stdout", "stderr", "driver", "files", "exec", "none")
READY_KINDS = ("tcp", "unix", "file", "exec")


@dataclass(frozen=True)
class Same:
    """One thing that must come out equal: `kind` is one of SAME_KINDS; `what` a folder or the words of a command.

    What was not asked for is compared only when two unchanged runs agree in it.
    """

    kind: str
    what: str | tuple[str, ...] = ""
    asked: bool = True

    def __str__(self) -> str:
        what = self.what if isinstance(self.what, str) else shlex.join(self.what)
        return f"{self.kind}:{what}" if what else self.kind


@dataclass(frozen=True)
class Workload:
    """A command and how it is run; the same for the runs before and after.

    `stdin` is a regular file (spooled once) or /dev/null. `fresh` runs before every run. With `drive`, the command is
    a server: it is started, waited for (`ready`), driven, and stopped. With `user`, the command (nothing else) runs as
    that user and group.
    """

    command: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    stdin: Path = Path(os.devnull)
    same: tuple[Same, ...] = (Same("exit"), Same("stdout"))
    fresh: tuple[str, ...] = ()
    timeout_s: float | None = None
    drive: tuple[str, ...] = ()
    ready: tuple[str, str | tuple[str, ...]] | None = None
    ready_timeout_s: float = 30.0
    grace_s: float = 10.0
    user: tuple[int, int] | None = None
    file_systems: tuple[Path, ...] = field(default=())  # folders on file systems that the command writes

    def wants(self, kind: str) -> bool:
        """Whether anything of this kind must come out equal."""
        return any(same.kind == kind for same in self.same)


def split(words: str, option: str) -> tuple[str, ...]:
    """Words as a shell splits them, run without one. Raises UsageError naming the option."""
    try:
        found = tuple(shlex.split(words))
    except ValueError as e:
        raise UsageError(f"{option} {words!r}: {e}; close the quote, or use sh -c '...'") from e
    if not found:
        raise UsageError(f"{option}: a command is needed, as in {option} 'sh -c \"...\"'")
    return found


def parse_same(specs: tuple[str, ...], driven: bool = False) -> tuple[Same, ...]:
    """The values of --same. Raises UsageError; `none` can't stand beside others.

    By default exit codes and standard output; of a server also what the driver prints, if that repeats itself.
    """
    found: list[Same] = []
    for spec in specs:
        kind, _, what = spec.partition(":")
        if kind not in SAME_KINDS or (kind in ("files", "exec")) != bool(what):
            raise UsageError(f"--same {spec}: use exit, stdout, stderr, driver, files:DIR, exec:CMD or none")
        if kind == "exec":
            found.append(Same(kind, split(what, "--same exec:")))
        else:
            found.append(Same(kind, os.path.abspath(what) if kind == "files" else ""))  # noqa: PTH100 - lexical
    if any(same.kind == "none" for same in found):
        if len(found) > 1:
            raise UsageError("--same none: nothing else can be asked to be the same beside it")
        return ()
    if not driven and any(same.kind == "driver" for same in found):
        raise UsageError("--same driver: there is no driver; give --drive CMD too")
    usual = (Same("exit"), Same("stdout"), *([Same("driver", asked=False)] if driven else []))
    return tuple(found) or usual


def parse_ready(spec: str | None) -> tuple[str, str | tuple[str, ...]] | None:
    """The value of --ready. Raises UsageError."""
    if spec is None:
        return None
    kind, _, what = spec.partition(":")
    if kind not in READY_KINDS or not what or (kind == "tcp" and not (what.isdigit() and 0 < int(what) < 65536)):
        raise UsageError(f"--ready {spec}: use tcp:PORT, unix:PATH, file:PATH or exec:CMD")
    return kind, split(what, "--ready exec:") if kind == "exec" else what


def parse_user(name: str | None) -> tuple[int, int] | None:
    """The value of --user: a user's id and group. Raises UsageError when there is none, or we may not become it."""
    if name is None:
        return None
    try:
        found = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError as e:
        raise UsageError(f"--user {name}: no such user; name one of this machine") from e
    if found.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise UsageError(f"--user {name}: needs root; run peephole as {name} instead")
    return found.pw_uid, found.pw_gid


def find_program(name: str, cwd: Path, env: dict[str, str]) -> str:
    """The file that will be run for `name`. Raises RunError when there is none or it can't be run."""
    if "/" in name:
        path = cwd / name
        if not path.exists():
            raise RunError(f"{name}: not found; give the path of a program")
        if path.is_dir() or not os.access(path, os.X_OK):
            raise RunError(f"{name}: not executable; chmod +x it, or name its interpreter first")
        return str(path)
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    if found is None:
        raise RunError(f"{name}: not found in PATH; give its whole path")
    return found


def spool_stdin(source: int, target: Path) -> Path:
    """Copy what descriptor `source` holds to the file `target`, once, so that every run reads the same.

    A terminal, a closed descriptor or /dev/null gives /dev/null. Raises RunError when it would fill the disk.
    """
    try:
        mode = os.fstat(source)
    except OSError:
        return Path(os.devnull)
    if os.isatty(source) or (stat.S_ISCHR(mode.st_mode) and mode.st_rdev == os.makedev(1, 3)):
        return Path(os.devnull)
    room = shutil.disk_usage(target.parent).free // 2
    with target.open("wb") as spool:
        while part := os.read(source, 1 << 20):
            room -= spool.write(part)
            if room < 0:
                target.unlink()
                raise RunError(
                    f"standard input takes more than half of what is free in {target.parent}; is there an end?"
                )
    return target


def fs_folders(folders: list[Path]) -> tuple[Path, ...]:
    """One folder for each file system among these; those that don't exist are left out."""
    seen: dict[int, Path] = {}
    for folder in folders:
        if folder.is_dir():
            seen.setdefault(folder.stat().st_dev, folder)
    return tuple(seen.values())
