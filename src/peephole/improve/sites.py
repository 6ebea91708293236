"""Site lists: where the system-call instructions of libc and ld.so lie. Made once an object, cached by build-id."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import subprocess
from pathlib import Path

from peephole import native
from peephole.errors import EngineError

#: of the finder and its format; another one never reads this one's lists
VERSION = 4
_HEADER = struct.Struct("<QII32sII")  # magic, version, count, build-id, its bytes, rejected: core's abi_sites.h
_MAGIC = 0x3153455449534850
_SYSTEM_LIBRARIES = ("libc.so.", "ld-linux", "libpthread.so.", "librt.so.")
_DEFAULT_LINKER = Path("/lib64/ld-linux-x86-64.so.2")


def is_system_library(path: str) -> bool:
    """Whether a mapped file is one of those that make system calls on a program's behalf."""
    return path.removesuffix(" (deleted)").rpartition("/")[2].startswith(_SYSTEM_LIBRARIES)


def build_id(path: Path) -> bytes | None:
    """The build-id of a 64-bit x86 ELF file, or None."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if head[:5] != b"\x7fELF\x02" or len(head) < 64:
                return None
            (offset,) = struct.unpack_from("<Q", head, 32)
            size, count = struct.unpack_from("<HH", head, 54)
            for i in range(count):
                file.seek(offset + i * size)
                kind, _, at, _, _, length = struct.unpack_from("<IIQQQQ", file.read(size))
                if kind != 4:
                    continue
                file.seek(at)
                found = _note(file.read(min(length, 1 << 16)))
                if found is not None:
                    return found
    except (OSError, struct.error):
        return None
    return None


def is_go(path: Path) -> bool:
    """Whether a program was made by the Go compiler, which marks it by a note of its own."""
    try:
        with path.open("rb") as file:
            return b"\x04\0\0\0Go\0\0" in file.read(4096)
    except OSError:
        return False


def is_fixed(path: Path) -> bool:
    """Whether a program is linked for one address (ET_EXEC)."""
    with path.open("rb") as file:
        head = file.read(18)
    return len(head) == 18 and struct.unpack_from("<H", head, 16)[0] == 2


def _note(notes: bytes) -> bytes | None:
    at = 0
    while at + 12 <= len(notes):
        name, value, kind = struct.unpack_from("<III", notes, at)
        body = at + 12 + (name + 3 & ~3)
        if kind == 3 and notes[at + 12 : at + 16] == b"GNU\0":
            return notes[body : body + value]
        at = body + (value + 3 & ~3)
    return None


def cache_folder() -> Path:
    """The folder of cached lists. Raises EngineError when others could have written it."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    folder = (Path(base) if base.startswith("/") else Path.home() / ".cache") / "peephole" / "sites"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
        raise EngineError(f"{folder}: others could write to it; remove it, or set XDG_CACHE_HOME to a folder of yours")
    return folder


def _valid(path: Path, wanted: bytes) -> bytes | None:
    """A cached list, if it is ours, whole and of this object."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
            return None
        data = file.read()
    if len(data) < 80:
        return None
    magic, version, count, found, length, _ = _HEADER.unpack_from(data)
    whole = magic == _MAGIC and version == VERSION and len(data) == 80 + 40 * count
    return data if whole and found[:length] == wanted else None


def _digest(path: Path) -> str:
    """What names a file that has no build-id."""
    try:
        with path.open("rb") as file:
            return "content-" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise EngineError(f"{path}: {e.strerror}") from e


def sites_of(path: Path) -> bytes:
    """The site list of an object, from the cache or made now. Raises EngineError when it can't be made."""
    wanted = build_id(path) or b""
    folder = cache_folder()
    cached = folder / f"{wanted.hex() or _digest(path)}.{VERSION}"
    found = _valid(cached, wanted)
    if found is not None:
        return found
    partial = folder / f".{cached.name}.{os.getpid()}"
    partial.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [str(native.path("peephole-sites")), str(path), str(partial)], stderr=subprocess.PIPE, check=False
        )
        made = _valid(partial, wanted) if done.returncode == 0 else None
        if made is None:
            said = done.stderr.decode(errors="replace").strip() or f"{path}: no call sites found"
            raise EngineError(said.removeprefix("peephole-sites: "))
        partial.rename(cached)
    finally:
        partial.unlink(missing_ok=True)
    return made


def system_libraries(linker: Path, program: Path) -> list[Path]:
    """What `linker` would map for `program` of the libraries that make system calls, and the linker itself."""
    done = subprocess.run(
        [str(linker), "--list", str(program)], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    found = [linker.resolve()]
    for line in os.fsdecode(done.stdout).splitlines():
        words = line.split()
        path = words[2] if len(words) > 3 and words[1] == "=>" else words[0] if words else ""
        if path.startswith("/") and Path(path).name.startswith(_SYSTEM_LIBRARIES):
            found.append(Path(path).resolve())
    return list(dict.fromkeys(found))


def lists_for(linker: Path | None, program: Path | None) -> bytes:
    """The lists of a program's libc and ld.so, and of this machine's own, for what it starts.

    Raises EngineError when not even one could be made.
    """
    objects: list[Path] = []
    if linker is not None and program is not None:
        objects += system_libraries(linker, program)
    if _DEFAULT_LINKER.exists():
        objects += system_libraries(_DEFAULT_LINKER, native.path("peephole-sites"))
    lists: dict[Path, bytes] = {}
    trouble: EngineError | None = None
    for path in dict.fromkeys(objects):
        try:
            lists[path] = sites_of(path)
        except EngineError as e:
            trouble = e
    if not lists:
        raise trouble or EngineError("no libc of this machine was found; only glibc on x86-64 can be improved")
    return b"".join(lists.values())
