"""What must come out equal, and the first place where it does not."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from peephole.errors import RunError
from peephole.evaluate.run import Run, said_bytes
from peephole.evaluate.workload import Same, Workload

BLOCK = 1 << 20
#: contents of compared trees are kept up to this size, so that a differing byte can be named; larger ones by file
KEEP_BYTES = 256 << 20


@dataclass(frozen=True)
class Difference:
    """`what` was to be the same, `where` it is not; the first differing byte's offset, where there is one."""

    what: str
    where: str
    offset: int | None = None

    def __str__(self) -> str:
        at = "" if self.offset is None else f", at byte {self.offset}"
        return f"{self.what}: {self.where}{at}"


@dataclass(frozen=True)
class Entry:
    """One name of a tree."""

    kind: str  # file | folder | link | other
    mode: int
    size: int
    digest: bytes  # of a file's content; a link's target; else empty
    kept_at: int | None = None  # where the content lies in the snapshot's blob


@dataclass(frozen=True)
class Outcome:
    """All that one run left behind and that must be the same."""

    run: Run
    trees: dict[str, dict[bytes, Entry]]
    commands: dict[str, tuple[int, bytes]]

    @property
    def blob(self) -> Path:
        return self.run.folder / "files.blob"

    def drop(self) -> None:
        """Remove the kept contents."""
        self.blob.unlink(missing_ok=True)


def outcome(workload: Workload, run: Run) -> Outcome:
    """Look at what `run` left behind, before anything else runs. Raises RunError when a folder can't be read."""
    trees, commands = {}, {}
    for same in workload.same:
        if same.kind == "files":
            with (run.folder / "files.blob").open("ab") as blob:
                trees[str(same)] = snapshot(Path(str(same.what)), blob)
        elif same.kind == "exec":
            commands[str(same)] = _ask(tuple(same.what), workload)
    return Outcome(run, trees, commands)


def _ask(words: tuple[str, ...], workload: Workload) -> tuple[int, bytes]:
    try:
        done = subprocess.run(
            words,
            cwd=workload.cwd,
            env=workload.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as e:
        raise RunError(f"--same exec:{words[0]}: {e.strerror}; give a command that can be run") from e
    return done.returncode, done.stdout


def snapshot(top: Path, blob: object = None) -> dict[bytes, Entry]:
    """Names, modes, sizes and contents below `top`; contents are also kept in `blob` while they fit."""
    if not top.is_dir():
        raise RunError(f"--same files:{top}: no such folder after the run; name one that the command writes")
    found: dict[bytes, Entry] = {}

    def walk(folder: bytes, prefix: bytes) -> None:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                name = prefix + entry.name
                info = entry.stat(follow_symlinks=False)
                mode = stat.S_IMODE(info.st_mode)
                if stat.S_ISDIR(info.st_mode):
                    found[name] = Entry("folder", mode, 0, b"")
                    walk(entry.path, name + b"/")
                elif stat.S_ISLNK(info.st_mode):
                    found[name] = Entry("link", mode, 0, os.readlink(entry.path))  # noqa: PTH115 - bytes
                elif stat.S_ISREG(info.st_mode):
                    digest, kept_at = _content(entry.path, blob)
                    found[name] = Entry("file", mode, info.st_size, digest, kept_at)
                else:
                    found[name] = Entry("other", info.st_mode, 0, b"")

    try:
        walk(os.fsencode(top), b"")
    except OSError as e:
        raise RunError(f"--same files:{top}: {os.fsdecode(e.filename or '')}: {e.strerror}") from e
    return found


def _content(path: bytes, blob: object) -> tuple[bytes, int | None]:
    digest = hashlib.blake2b(digest_size=16)
    start = blob.tell() if blob is not None else KEEP_BYTES  # type: ignore[attr-defined]
    kept = start < KEEP_BYTES
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while part := os.read(fd, BLOCK):
            digest.update(part)
            if kept:
                blob.write(part)  # type: ignore[attr-defined]
    finally:
        os.close(fd)
    return digest.digest(), start if kept else None


def differences(workload: Workload, before: Outcome, after: Outcome) -> list[Difference]:
    """Everything that was to be the same and is not, the first place of each."""
    found: list[Difference] = []
    for same in workload.same:
        difference = _difference(same, before, after)
        if difference is not None:
            found.append(difference)
    return found


def _difference(same: Same, before: Outcome, after: Outcome) -> Difference | None:
    if same.kind == "exit":
        return _exits(before.run, after.run)
    if same.kind in ("stdout", "stderr"):
        a, b = before.run.folder / same.kind, after.run.folder / same.kind
        offset = first_difference(a, b)
        return None if offset is None else Difference(same.kind, f"{a} and {b}", offset)
    if same.kind == "driver":
        return _drivers(before.run.folder / "driver.stdout", after.run.folder / "driver.stdout")
    if same.kind == "files":
        return _trees(same, before, after)
    x, y = before.commands[str(same)], after.commands[str(same)]
    if x[0] != y[0]:
        return Difference(str(same), f"exit code {x[0]} before, {y[0]} after")
    return None if x[1] == y[1] else Difference(str(same), "its standard output", _first(x[1], y[1]))


def _drivers(a: Path, b: Path) -> Difference | None:
    """What the drivers print of the server's answers; the line with their figures differs by its nature."""
    offset = first_difference(a, b, (0, said_bytes(a)), (0, said_bytes(b)))
    return None if offset is None else Difference("driver", f"{a} and {b}", offset)


def _exits(before: Run, after: Run) -> Difference | None:
    if before.exit_code != after.exit_code:
        return Difference("exit", f"{ending(before.exit_code)} before, {ending(after.exit_code)} after")
    if before.drive_exit != after.drive_exit:
        return Difference("exit", f"the driver: code {before.drive_exit} before, {after.drive_exit} after")
    return None


def ending(code: int) -> str:
    """An exit code in words."""
    return f"signal {-code}" if code < 0 else f"code {code}"


def _trees(same: Same, before: Outcome, after: Outcome) -> Difference | None:
    a, b = before.trees[str(same)], after.trees[str(same)]
    for name in sorted(a.keys() | b.keys()):
        shown = f"{same.what}/{os.fsdecode(name)}"
        if name not in a or name not in b:
            return Difference(str(same), f"{shown} exists only {'after' if name in b else 'before'}")
        x, y = a[name], b[name]
        if (x.kind, x.size, x.digest) != (y.kind, y.size, y.digest):
            if x.kind != y.kind:
                return Difference(str(same), f"{shown} is a {x.kind} before, a {y.kind} after")
            return Difference(str(same), shown, _kept_difference(before, after, x, y))
        if x.mode != y.mode:
            return Difference(str(same), f"{shown}: mode {x.mode:o} before, {y.mode:o} after")
    return None


def _kept_difference(before: Outcome, after: Outcome, x: Entry, y: Entry) -> int | None:
    if x.kind != "file" or x.kept_at is None or y.kept_at is None:
        return None
    return first_difference(before.blob, after.blob, (x.kept_at, x.size), (y.kept_at, y.size))


def _first(a: bytes, b: bytes) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def first_difference(
    a: Path, b: Path, span_a: tuple[int, int] | None = None, span_b: tuple[int, int] | None = None
) -> int | None:
    """Offset of the first byte that differs between two files (or spans of them: start, length); None when equal."""
    with a.open("rb") as fa, b.open("rb") as fb:
        fa.seek(span_a[0] if span_a else 0)
        fb.seek(span_b[0] if span_b else 0)
        left_a, left_b = (span[1] if span else None for span in (span_a, span_b))
        at = 0
        while True:
            x = fa.read(BLOCK if left_a is None else min(BLOCK, left_a - at))
            y = fb.read(BLOCK if left_b is None else min(BLOCK, left_b - at))
            if x != y:
                return at + _first(x, y)
            if not x:
                return None
            at += len(x)
