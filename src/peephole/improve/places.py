"""Mounts: which ones a command writes to, and what a crash may leave behind there (their profile)."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from peephole.prove.vocabulary import EXT4_ORDERED, WEAK
from peephole.trace import Capture

_OPENS = {"open": "a1", "openat": "a2", "creat": None}  # name -> the argument that holds the flags
_WRITING = os.O_WRONLY | os.O_RDWR
#: file systems whose files are not data that a program writes for keeps
_NO_FILES = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "debugfs", "tracefs", "bpf", "securityfs"}


@dataclass(frozen=True)
class Place:
    """A mounted file system: its device number, every point it is mounted at, its type and crash profile."""

    dev: int
    points: tuple[str, ...]
    fstype: str
    profile: str | None  # None: no profile is known to fit, so no rule may act there

    def lies_below(self, folder: PurePosixPath) -> bool:
        """Whether everything on it is below `folder`, by whichever name it is reached."""
        return all(PurePosixPath(point).is_relative_to(folder) for point in self.points)


def profile_of(dev: int, fstype: str, options: str) -> str | None:
    """The crash profile of a mount: ext4-ordered, weak, or None where neither promise fits."""
    words = set(options.split(","))
    if fstype in _NO_FILES:
        return None
    if fstype != "ext4" or not has_journal(dev) or "noauto_da_alloc" in words or "data=writeback" in words:
        return WEAK
    # data=journal orders more than the profile ext4-ordered says; a rule's losses there are not in its certificate.
    return None if "data=journal" in words else EXT4_ORDERED


def has_journal(dev: int) -> bool:
    """Whether the file system on block device `dev` has a jbd2 journal; /proc/fs/jbd2 names them DEVICE-INODE."""
    try:
        uevent = Path(f"/sys/dev/block/{os.major(dev)}:{os.minor(dev)}/uevent").read_text()
        journals = [entry.name for entry in Path("/proc/fs/jbd2").iterdir()]
    except OSError:
        return False
    name = next((line[8:] for line in uevent.splitlines() if line.startswith("DEVNAME=")), "?")
    return any(journal.rpartition("-")[0] == name.replace("/", "!") for journal in journals)


def mounted() -> list[Place]:
    """All file systems mounted now, as this process sees them."""
    points: dict[int, list[str]] = {}
    kinds: dict[int, tuple[str, str]] = {}
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        words = line.split(" ")
        rest = words[words.index("-") + 1 :]
        point = _unescape(words[4])
        try:
            # Not the device number of mountinfo: btrfs and overlay show another one in stat.
            dev = Path(point).stat().st_dev
        except OSError:
            continue
        points.setdefault(dev, []).append(point)
        kinds[dev] = (rest[0], ",".join((words[5], *rest[2:])))
    return [
        Place(dev, tuple(dict.fromkeys(found)), kinds[dev][0], profile_of(dev, *kinds[dev]))
        for dev, found in points.items()
    ]


def _unescape(name: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        name = name.replace(code, char)
    return name


def written(capture: Capture) -> list[Place]:
    """The mounts on which a capture's programs opened regular files for writing, and that are still there."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(capture.calls, columns=["name", "a1", "a2", "dev", "ftype", "ret", "path"])
    table = table.filter(pc.field("ret") >= 0)
    devs: set[int] = set()
    for name, argument in _OPENS.items():
        opens = table.filter(pc.field("name") == name)
        if argument is not None and len(opens):
            opens = opens.filter(pc.not_equal(pc.bit_wise_and(opens.column(argument), _WRITING), 0))
        regular = opens.filter(pc.field("ftype") == 8)
        devs |= {dev for dev in regular.column("dev").unique().to_pylist() if dev is not None}
        # strace's text names no device: the path does, where the file is still there.
        nameless = opens.filter(pc.field("dev").is_null()).column("path").unique().to_pylist()
        devs |= {dev for path in nameless if path is not None and (dev := _device(path)) is not None}
    return [place for place in mounted() if place.dev in devs]


def touched(capture: Capture, cwd: Path | None = None) -> list[Place]:
    """Those mounts; of a command that writes no file, the one of its working folder: rules of pipes, sockets and
    processes act on no mount, but under some consent."""
    return written(capture) or on([cwd or Path.cwd()])


def _device(path: bytes) -> int | None:
    """The device of the regular file at `path`, from the working folder; None when there is none."""
    try:
        info = os.stat(path)  # noqa: PTH116, the path is bytes
    except (OSError, ValueError):
        return None
    return info.st_dev if stat.S_ISREG(info.st_mode) else None


def on(folders: list[Path]) -> list[Place]:
    """The mounts that these folders lie on."""
    devs = {folder.stat().st_dev for folder in folders if folder.exists()}
    return [place for place in mounted() if place.dev in devs]
