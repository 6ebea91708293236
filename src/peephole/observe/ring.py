"""The ring that programs write their calls to (core/include/peephole/abi_ring.h), and the reader that spills it."""

from __future__ import annotations

import errno
import json
import mmap
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peephole import native
from peephole.observe.images import Begun

MAGIC, VERSION = 0x474E495250454550, 2
PAGE, LANE_BYTES, SLACK_WORDS = 4096, 128, 8192
#: of a lane: a burst of a million calls fits; less where there are many, since programs have all of them mapped
DEFAULT_BYTES = max(4 << 20, min(128 << 20, (1 << 30) // (os.cpu_count() or 1)))
_HEAD = struct.Struct("<QIIQII")
_START = struct.Struct("<qiiHHI")  # struct ph_lanes_start


@dataclass(frozen=True)
class Ring:
    """A ring's file at `path`, read by a process of its own that spills to `folder`."""

    path: Path
    folder: Path
    reader: subprocess.Popen[bytes]

    def finish(self) -> dict[str, Any]:
        """Read what is left, when the processes that still run have had their time; nothing is written from then on.

        ctrl-C ends the waiting. Returns `left`, how many still ran, and `cpus`, which are for each lane what end.json
        says of a CPU. The folder has calls.raw, paths.raw and starts.raw. Raises OSError when it could not be written.
        """
        self.reader.terminate()
        try:
            self.reader.wait()
        except KeyboardInterrupt:
            self.reader.terminate()
            self.reader.wait()
        if self.reader.returncode:
            raise OSError(self.reader.returncode, os.strerror(self.reader.returncode), str(self.folder))
        found: dict[str, Any] = json.loads((self.folder / "ring.json").read_text())
        return found

    def close(self) -> None:
        """End the reader at once."""
        if self.reader.poll() is None:
            self.reader.kill()
        self.reader.wait()
        assert self.reader.stdout is not None
        self.reader.stdout.close()


def new_ring(path: Path, folder: Path, bytes_per_lane: int = DEFAULT_BYTES, grace: float = 0.0) -> Ring:
    """Make a ring at `path` and start its reader, which spills to `folder`.

    Processes that outlive the command are followed for `grace` seconds. Raises OSError when it can't be made.
    """
    lanes = os.cpu_count() or 1
    words = 1 << max((bytes_per_lane // 8).bit_length() - 1, 9)
    size = PAGE + -(-lanes * LANE_BYTES // PAGE) * PAGE + lanes * (words + SLACK_WORDS) * 8
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size)
        with mmap.mmap(fd, PAGE) as head:
            head[: _HEAD.size] = _HEAD.pack(MAGIC, VERSION, lanes, words, 1, 0)
    finally:
        os.close(fd)
    options = ["--ring", str(path), "--out", str(folder), "--grace", str(grace)]
    # In a session of its own, so that ctrl-C is the command's and not its reader's.
    reader = subprocess.Popen(
        [str(native.path("peephole-ring")), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    ring = Ring(path, folder, reader)
    assert reader.stdout is not None
    if reader.stdout.readline() != b"ready\n":
        ring.close()
        raise OSError(errno.EIO, "the ring's reader did not start", str(path))
    return ring


def starts(folder: Path) -> Iterator[Begun]:
    """The images that began, as the reader left them."""
    raw = (folder / "starts.raw").read_bytes()
    at = 0
    with suppress(struct.error):
        while at < len(raw):
            ns, pid, ppid, name_len, exe_len, argv_len = _START.unpack_from(raw, at)
            name = at + _START.size
            exe = name + name_len
            argv = exe + exe_len
            at = argv + argv_len
            yield Begun(ns, pid, ppid, raw[name:exe], raw[exe:argv], raw[argv:at])
