"""Site lists: where the system-call instructions of libc and ld.so lie. Made once an object, cached by build-id."""

from __future__ import annotations

import contextlib
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
#: ET_EXEC
_FIXED = 2
_SYSTEM_LIBRARIES = ("libc.so.", "ld-linux", "libpthread.so.", "librt.so.")
_OF_OLD = ("libpthread.so.0", "librt.so.1")
_INSTRUCTION = b"\x0f\x05"
#: lists of libraries that are loaded later, at most
_LATE_MAX = 64
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


def bias(path: Path, start: int) -> int:
    """What is added to a file's addresses, when its first byte is mapped at `start`.

    A program's addresses may be fixed, or begin anywhere (those of Go at 4 MB). Raises OSError.
    """
    with path.open("rb") as file:
        head = file.read(64)
        if struct.unpack_from("<H", head, 16)[0] == _FIXED:
            return 0
        (offset,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        for i in range(count):
            file.seek(offset + i * size)
            kind, _, at, address = struct.unpack_from("<IIQQ", file.read(size))
            if kind == 1 and at == 0:
                return start - int(address)
    return start


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
        done = _make(path, wanted, partial)
        made = _valid(partial, wanted)
        if made is None:
            raise EngineError(done.removeprefix("peephole-sites: ") or f"{path}: no call sites found")
        partial.rename(cached)
    finally:
        partial.unlink(missing_ok=True)
    return made


def count(sites: bytes) -> int:
    """How many call sites a list has."""
    return int(_HEADER.unpack_from(sites)[2])


def _make(path: Path, wanted: bytes, to: Path) -> str:
    """Write the list of an object; what was said when that failed."""
    if wanted and _INSTRUCTION not in path.read_bytes():
        empty = _HEADER.pack(_MAGIC, VERSION, 0, wanted, len(wanted), 0).ljust(80, b"\0")
        with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(empty)
        return ""
    tool = native.path("peephole-sites")
    done = subprocess.run([str(tool), str(path), str(to)], stderr=subprocess.PIPE, check=False)
    return done.stderr.decode(errors="replace").strip()


def _listed(linker: Path, program: Path) -> list[Path]:
    """What `linker` would map for `program`, and the linker itself."""
    done = subprocess.run(
        [str(linker), "--list", str(program)], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    found = [linker]
    for line in os.fsdecode(done.stdout).splitlines():
        words = line.split()
        path = words[2] if len(words) > 3 and words[1] == "=>" else words[0] if words else ""
        if path.startswith("/"):
            found.append(Path(path))
    return found


def system_libraries(linker: Path, program: Path) -> list[Path]:
    """Those of them that make system calls for others, and the linker itself."""
    return _system(_listed(linker, program))


def _system(listed: list[Path]) -> list[Path]:
    return list(dict.fromkeys(path.resolve() for path in listed if is_system_library(str(path)) or path is listed[0]))


def _beside(libc: Path) -> list[Path]:
    """What lies beside a libc and belongs to it: programs that were linked long ago still load it."""
    return [(libc.parent / name).resolve() for name in _OF_OLD if (libc.parent / name).exists()]


def learn(path: Path) -> None:
    """Remember a library that a program loaded while it ran, and those that come with it, if calls are in them.

    Their lists go along from now on. What is no library is left alone.
    """
    if ".so" not in path.name or not path.is_absolute() or not path.is_file() or not build_id(path):
        return
    folder = cache_folder() / "late"
    folder.mkdir(mode=0o700, exist_ok=True)
    for one in dict.fromkeys((path, *(with_it.resolve() for with_it in _listed(_DEFAULT_LINKER, path)[1:]))):
        with contextlib.suppress(EngineError, OSError):
            wanted = build_id(one)
            if wanted and _INSTRUCTION in one.read_bytes():
                sites_of(one)
                (folder / wanted.hex()).touch(mode=0o600)


def learned() -> bytes:
    """The lists of libraries that programs were seen to load while they ran, those seen last first."""
    folder = cache_folder()
    seen = sorted(folder.glob("late/*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)[:_LATE_MAX]
    return b"".join(_valid(folder / f"{path.name}.{VERSION}", bytes.fromhex(path.name)) or b"" for path in seen)


def lists_for(linker: Path | None, program: Path | None) -> bytes:
    """The lists of a program and its libraries, of this machine's own libc and ld.so for what it starts, and of what
    programs were seen to load later.

    Raises EngineError when not even one could be made.
    """
    objects: list[Path] = []
    system: list[Path] = []
    if linker is not None and program is not None:
        listed = _listed(linker, program)
        system += _system(listed)
        objects += [program.resolve(), *(path.resolve() for path in listed)]
    if _DEFAULT_LINKER.exists():
        system += system_libraries(_DEFAULT_LINKER, native.path("peephole-sites"))
        system += [path for libc in system if libc.name.startswith("libc.so.") for path in _beside(libc)]
    lists: dict[Path, bytes] = {}
    trouble: EngineError | None = None
    for path in dict.fromkeys((*system, *objects)):
        try:
            lists[path] = sites_of(path)
        except EngineError as e:
            trouble = e
    if not any(path in lists for path in system):
        raise trouble or EngineError("no libc of this machine was found; only glibc on x86-64 can be improved")
    return b"".join(lists.values()) + learned()
