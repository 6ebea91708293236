"""The calls of the model made on the real kernel, in a folder; one byte stands for a cell."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
from pathlib import Path
from typing import Any

from peephole.prove.model import kernel
from peephole.prove.model.kernel import Call
from peephole.prove.model.machine import DESCRIPTIONS, NAMES

FILE_NAMES = "abc"
FICLONE, TCGETS, FIOCLEX = 0x40049409, 0x5401, 0x5451
_RENAMEAT2, _AT_FDCWD, _RENAME_EXCHANGE = 316, -100, 2
_CLOSE_RANGE, _CLOSE_RANGE_CLOEXEC = 436, 4


class Real:
    """Descriptors by the model's slots, files by the model's names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fds: dict[int, list[int]] = {d: [] for d in range(DESCRIPTIONS)}

    def close(self) -> None:
        """Close every descriptor; the files stay."""
        for fds in self.fds.values():
            for fd in fds:
                os.close(fd)

    def path(self, name: int) -> Path:
        return self.folder / FILE_NAMES[name]

    def lay(self, state: dict[str, Any]) -> None:
        """Make the files of a first state."""
        first: dict[int, Path] = {}
        for j in range(NAMES):
            i = state[f"n{j}"]
            if i in first:
                self.path(j).hardlink_to(first[i])
            elif i >= 0:
                first[i] = self.path(j)
                first[i].write_bytes(bytes(state[f"i{i}.c{c}"] for c in range(state[f"i{i}.size"])))

    def perform(self, call: Call, slot: int) -> tuple[int, dict[str, Any]]:
        """Make one call; its result, or -errno, and what it wrote into memory. `slot` is what an open is given."""
        try:
            return self._perform(call, slot)
        except OSError as e:
            return -(e.errno or 0), {}

    def fd(self, slot: int, which: int = 0) -> int:
        fds = self.fds[slot]
        return fds[which] if fds else 900  # surely closed

    def which(self, call: Call, other: bool = False) -> int:
        """Which of two descriptors a call names."""
        return int(call.words.get("second", False) and len(self.fds[call.other if other else call.slot]) == 2)

    def replace(self, call: Call) -> None:
        """A descriptor of one description becomes one of another."""
        which = self.which(call, other=True)
        os.dup2(self.fd(call.slot), self.fd(call.other, which), inheritable=not call.words.get("cloexec"))
        self.fds[call.slot].append(self.fds[call.other].pop(which))

    def handed_on(self) -> dict[str, Any]:
        """Which descriptors a program has that is executed now."""
        numbers = [str(fd) for fds in self.fds.values() for fd in fds]
        words = ["/bin/sh", "-c", "for n; do [ -e /proc/$$/fd/$n ] && echo $n; done; true", "sh", *numbers]
        told = subprocess.run(words, capture_output=True, close_fds=False, check=True).stdout.decode().split()
        every = [(d, k) for d in range(DESCRIPTIONS) for k in range(2)]
        return {f"kept{d}.{k}": int(k < len(self.fds[d]) and str(self.fds[d][k]) in told) for d, k in every}

    def set_all(self) -> None:
        """close_range with CLOSE_RANGE_CLOEXEC, of our descriptors."""
        for fds in self.fds.values():
            for fd in fds:
                ctypes.CDLL(None).syscall(_CLOSE_RANGE, fd, fd, _CLOSE_RANGE_CLOEXEC)

    def ioctl(self, fd: int, request: int, other: int) -> None:
        if request == 21:
            fcntl.ioctl(fd, FICLONE, other)
        elif request == 23:
            fcntl.ioctl(fd, FIOCLEX)
        else:
            fcntl.ioctl(fd, TCGETS, b"0" * 64)

    def _perform(self, call: Call, slot: int) -> tuple[int, dict[str, Any]]:
        w = call.words
        data = bytes(w["data"].cells) if "data" in w else b""
        fd = self.fd(call.slot, self.which(call)) if call.slot >= 0 else -1
        match call.name:
            case "openat":
                bits = sum(b for b, on in w["flags"].bits.items() if on)
                new = os.open(self.path(w["name"]), bits, 0o644)
                os.set_inheritable(new, not bits & os.O_CLOEXEC)  # Python opens with it always
                self.fds[slot] = [new]
                return slot, {}
            case "read":
                return _bytes(os.read(fd, w["n"]))
            case "pread64":
                return _bytes(os.pread(fd, w["n"], w["offset"]))
            case "write":
                return os.write(fd, data[: w["n"]]), {}
            case "writev":
                return os.writev(fd, [data[: w["n"]]]), {}
            case "pwrite64":
                return os.pwrite(fd, data[: w["n"]], w["offset"]), {}
            case "lseek":
                return os.lseek(fd, w["offset"], w["whence"] if w["whence"] < 3 else 99), {}
            case "fstat":
                st = os.fstat(fd)
                return 0, {"size": st.st_size, "links": st.st_nlink}
            case "ftruncate":
                os.ftruncate(fd, w["n"])
            case "fsync":
                os.fsync(fd)
            case "fdatasync":
                os.fdatasync(fd)
            case "fcntl":
                return _fcntl(fd, w)
            case "ioctl":
                self.ioctl(fd, w["request"], self.fd(call.other))
            case "copy_file_range":
                at = w["offset"] if w["placed"] else None
                return os.copy_file_range(self.fd(call.other), fd, w["n"], None, at), {}
            case "dup":
                command = fcntl.F_DUPFD_CLOEXEC if w.get("cloexec") else fcntl.F_DUPFD
                self.fds[call.slot].append(fcntl.fcntl(fd, command, 0))
            case "dup2":
                self.replace(call)
            case "close":
                if not self.fds[call.slot]:
                    return -kernel.EBADF, {}
                os.close(self.fds[call.slot].pop(self.which(call)))
            case "close_range":
                self.set_all()
            case "execve":
                return 0, self.handed_on()
            case _:
                return self.on_name(call)
        return 0, {}

    def on_name(self, call: Call) -> tuple[int, dict[str, Any]]:
        w = call.words
        match call.name:
            case "stat":
                return 0, {"size": self.path(w["name"]).stat().st_size}
            case "truncate":
                os.truncate(self.path(w["name"]), w["n"])
            case "unlink":
                self.path(w["name"]).unlink()
            case "rename":
                self.path(w["name"]).rename(self.path(w["to"]))
            case "link":
                self.path(w["to"]).hardlink_to(self.path(w["name"]))
            case "exchange":
                self.exchange(self.path(w["name"]), self.path(w["to"]))
            case _:
                raise NotImplementedError(call.name)
        return 0, {}

    def exchange(self, one: Path, other: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(one), os.fsencode(other)
        if libc.syscall(_RENAMEAT2, _AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) < 0:
            raise OSError(ctypes.get_errno(), "renameat2")

    def another(self, call: Call, path: Path) -> dict[str, Any]:
        """What another process does with a file: reads, writes or cuts it, through an open of its own."""
        w = call.words
        if call.name == "other_reads":
            return {"file": path.read_bytes()}
        if call.name == "other_truncates":
            os.truncate(path, w["n"])
        else:
            with path.open("r+b") as file:
                file.seek(0 if w["append"] else w["offset"], os.SEEK_END if w["append"] else os.SEEK_SET)
                file.write(bytes(w["data"].cells[:1]))
        return {}

    def told(self) -> dict[int, tuple[int, int]]:
        """Each open descriptor's offset (-1 for one that is only a path) and flags."""
        found = {}
        for d, fds in self.fds.items():
            if fds:
                flags = fcntl.fcntl(fds[0], fcntl.F_GETFL)
                found[d] = (-1 if flags & os.O_PATH else os.lseek(fds[0], 0, os.SEEK_CUR), flags)
        return found

    def files(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(self.folder.iterdir())}


def _fcntl(fd: int, w: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    command = w["command"]
    if command == kernel.F_SETFL:
        fcntl.fcntl(fd, command, os.O_APPEND if w["append"] else 0)
        return 0, {}
    if command == kernel.F_GETFL:
        flags = fcntl.fcntl(fd, command)
        return (flags & os.O_ACCMODE) + 4 * bool(flags & os.O_APPEND) + 8 * bool(flags & os.O_DSYNC), {}
    if command in (kernel.F_GETFD, kernel.F_SETFD):
        return fcntl.fcntl(fd, command, w.get("bits", 0)), {}
    return fcntl.fcntl(fd, 9999), {}


def _bytes(data: bytes) -> tuple[int, dict[str, Any]]:
    return len(data), {f"byte{k}": b for k, b in enumerate(data)}
