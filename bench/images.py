"""Journalled ext4 images, loop-mounted: the same fresh state for every run.

A virtual machine's root may be ext4 without a journal, which distorts. An image is made once, filled, and kept; a
reset puts every byte of the device back as it was then. `python -m bench.images reset FOLDER` is the --fresh command.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2  # linux/falloc.h
STATE = "image.json"


class NoImage(Exception):
    """Why no image can be mounted here."""


@dataclass(frozen=True)
class Image:
    """A mounted image: `file` behind `device`, mounted at `point`; `pristine` is its content to come back to."""

    folder: str
    file: str
    pristine: str
    device: str
    point: str
    size: int

    def reset(self) -> None:
        """Unmount, put the content back, mount again, and read it, so that no run starts with colder caches."""
        _run("umount", self.point)
        _restore(Path(self.pristine), Path(self.file), self.size)
        # The device's cache still has what was there before.
        _run("blockdev", "--flushbufs", self.device)
        _run("mount", self.device, self.point)
        warm(Path(self.point))


def _tool(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if found is None:
        raise NoImage(f"{name} is not installed")
    return found


def _run(name: str, *words: str) -> str:
    done = subprocess.run([_tool(name), *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise NoImage(f"{name}: {(done.stderr.strip() or f'code {done.returncode}').splitlines()[-1]}")
    return done.stdout.strip()


def _segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        at = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, at - begin


def _restore(source: Path, target: Path, size: int) -> None:
    """Make `target` byte for byte like the sparse file `source`, in place: the loop device stays attached."""
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = libc.fallocate64
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    with source.open("rb") as a, target.open("r+b") as b:
        if fallocate(b.fileno(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size) != 0:
            raise NoImage(f"{target}: {os.strerror(ctypes.get_errno())}")
        for begin, length in _segments(a.fileno(), size):
            os.lseek(b.fileno(), begin, os.SEEK_SET)
            sent = 0
            while sent < length:
                sent += os.sendfile(b.fileno(), a.fileno(), begin + sent, length - sent)


def warm(top: Path) -> None:
    """Read every regular file below `top` once."""
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 - forty thousand of them
            if not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            fd = os.open(path, os.O_RDONLY)
            while os.read(fd, 1 << 20):
                pass
            os.close(fd)


def _base(size: int) -> Path:
    """Where images lie: in memory when there is room for two, so that no disk is measured; else with other files."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 3 * size:
        return memory
    return Path(tempfile.gettempdir())


def _remove(folder: Path, point: Path, device: str) -> None:
    """An image's folder, with what is mounted at `point` from `device` ("": not set up)."""
    if os.path.ismount(point):
        subprocess.run([_tool("umount"), "-l", str(point)], check=False)
    if device:
        subprocess.run([_tool("losetup"), "-d", device], check=False)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ext4(size: int, fill: Callable[[Path], None], *, owner: int = 0, base: Path | None = None) -> Iterator[Image]:
    """A fresh journalled ext4 image of `size` bytes, mounted, filled by `fill`; gone at the end, whatever happens.

    Its top folder belongs to user `owner`. The image lies in memory, or in the folder `base`: on a disk, where flushes
    cost what they cost. Raises NoImage when this can't be done here (no root, no loop devices, no tools).
    """
    if os.geteuid() != 0:
        raise NoImage("mounting needs root")
    folder = Path(tempfile.mkdtemp(prefix="peephole-image-", dir=base or _base(size)))
    if owner:
        folder.chmod(0o711)  # the files in it stay root's
    device = ""
    point = folder / "mnt"
    try:
        point.mkdir()
        file, pristine = folder / "image", folder / "pristine"
        with file.open("wb") as f:
            f.truncate(size)
        device = _run("losetup", "--find", "--show", str(file))
        # Nothing lazy: a kernel thread would initialise tables during the runs.
        _run("mkfs.ext4", "-q", "-F", "-J", "size=64", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        _run("mount", device, str(point))
        os.chown(point, owner, -1)
        fill(point)
        _run("umount", str(point))
        _run("cp", "--sparse=always", str(file), str(pristine))
        _run("mount", device, str(point))
        warm(point)
        image = Image(str(folder), str(file), str(pristine), device, str(point), size)
        (folder / STATE).write_text(json.dumps(asdict(image)))
        yield image
    finally:
        _remove(folder, point, device)


#: file systems that `file_system` can make: kind -> (mkfs and its words, mount's words)
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ext4": (("mkfs.ext4", "-q", "-F", "-J", "size=64", "-E", "lazy_itable_init=0,lazy_journal_init=0"), ()),
    "ext4_noauto_da_alloc": (
        ("mkfs.ext4", "-q", "-F", "-J", "size=64", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
        ("-o", "noauto_da_alloc"),
    ),
    "xfs": (("mkfs.xfs", "-q", "-f"), ()),
    "btrfs": (("mkfs.btrfs", "-q", "-f"), ()),
    "tmpfs": ((), ("-t", "tmpfs", "-o", "size=64m")),
}


@contextmanager
def file_system(kind: str, size: int = 512 << 20) -> Iterator[Path]:
    """A fresh, empty file system of one of KINDS, mounted; gone at the end, whatever happens.

    Raises NoImage when it can't be made here.
    """
    if os.geteuid() != 0:
        raise NoImage("mounting needs root")
    make, options = KINDS[kind]
    folder = Path(tempfile.mkdtemp(prefix="peephole-image-", dir=_base(size)))
    point, device = folder / "mnt", ""
    try:
        point.mkdir()
        if make:
            with (folder / "image").open("wb") as f:
                f.truncate(size)
            device = _run("losetup", "--find", "--show", str(folder / "image"))
            _run(*make, device)
        _run("mount", *options, device or kind, str(point))
        yield point
    finally:
        _remove(folder, point, device)


@contextmanager
def cold_disk(size: int) -> Iterator[tuple[Path, str]]:
    """A fresh, empty ext4 on the disk of temporary files, and the --fresh command after which nothing of it is cached.

    The loop device goes past the page cache, so that a read waits for the disk. Raises NoImage when that can't be had.
    """
    if os.geteuid() != 0:
        raise NoImage("mounting needs root")
    folder = Path(tempfile.mkdtemp(prefix="peephole-image-", dir=tempfile.gettempdir()))
    point, device = folder / "mnt", ""
    try:
        point.mkdir()
        with (folder / "image").open("wb") as f:
            os.posix_fallocate(f.fileno(), 0, size)
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(folder / "image"))
        _run(*KINDS["ext4"][0], device)
        _run("mount", device, str(point))
        tools = [_tool(name) for name in ("umount", "blockdev", "mount")]
        yield point, f"sh -c '{tools[0]} {point} && {tools[1]} --flushbufs {device} && {tools[2]} {device} {point}'"
    finally:
        _remove(folder, point, device)


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] != "reset":
        print("usage: python -m bench.images reset FOLDER", file=sys.stderr)
        return 2
    try:
        Image(**json.loads((Path(sys.argv[2]) / STATE).read_text())).reset()
    except NoImage as e:
        print(f"images: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
