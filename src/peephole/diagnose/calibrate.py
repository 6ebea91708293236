"""Measure what calls cost on this machine, once for each kind of file system, and keep it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from peephole import native
from peephole.diagnose.detectors import detectors
from peephole.diagnose.gives_up import rules
from peephole.diagnose.prices import LINES, PASSED, Price, Prices, with_lines
from peephole.errors import EngineError, MissingToolError
from peephole.observe.facts import mounts

#: a run takes about 6 s; on a disk whose fsync takes long it may be more
TIMEOUT_S = 120
#: a start takes a millisecond: as often with a rule as without
STARTS = 15
#: of the measuring program, each time with the prices of a rule
RUNS = 3
#: options that differ between mounts of one kind and do not change what a call costs
_NO_PRICE = ("ro", "rw", "errors=", "size=", "inode", "mode=", "uid=", "gid=", "fd=", "nr_inodes=", "seclabel")
#: these hold no files of anybody's: root may write there, and can't make anything
_NO_FILES = (
    *("proc", "sysfs", "cgroup", "cgroup2", "devpts", "debugfs", "tracefs", "bpf", "mqueue", "securityfs", "pstore"),
    *("configfs", "fusectl", "autofs", "binfmt_misc", "efivarfs", "rpc_pipefs", "nsfs", "hugetlbfs"),
)
_PROGRAM = "peephole-calibrate"
#: prices of what a rule has nothing to do with: of calls that it lets pass, and of opening a file; what it adds to them
BESIDE = (PASSED, "opened")
#: where nobody has set up logging, Python writes warnings to standard error
_LOG = logging.getLogger("peephole")


#: the environment of a program that a rule is in; `peephole.improve.armed.with_rule` is one
WithRule = Callable[[str], AbstractContextManager[Mapping[str, str]]]


@cache
def prices_for(place: Path | str | int, with_rule: WithRule) -> Prices:
    """The prices of the file system that holds `place` (a path, or a device number): from the cache, or measured now.

    Where nothing can be written on it, the prices are those of the temporary folder, and `where` says so. Raises
    EngineError when measuring fails, MissingToolError when the C part is not built.
    """
    mount, folder = _locate(place)
    kept = _load(_key(mount))
    return kept if kept is not None else _measured(mount, folder, with_rule)


def calibrate(folder: Path, with_rule: WithRule) -> Prices:
    """The prices on the file system of `folder`, measured now and kept for `prices_for`."""
    mount, usable = _locate(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EngineError(f"{folder}: can't be written, and prices are measured by writing; name another --dir")
    return _measured(mount, usable, with_rule)


def _measured(mount: dict[str, Any], folder: Path, with_rule: WithRule) -> Prices:
    if sys.stderr.isatty():
        _LOG.warning("peephole: measuring what calls cost on %s at %s ...", mount["fstype"], folder)
    prices = Prices(_where(mount, folder), with_lines(measure(folder, with_rule)))
    _store(_key(mount), prices)
    return prices


def measure(folder: Path, with_rule: WithRule) -> dict[str, Price]:
    """The prices on the file system of `folder`, measured now: of calls, and of those that each rule handles."""
    found = _calls(folder, (), os.environ)
    for rule, names in handled().items():
        try:
            with with_rule(rule) as env:
                of = _calls(folder, (*names, *BESIDE), env)
                of |= {name: _more(of[name], found[name]) for name in BESIDE}
                of["start"] = _more(_start(env), _start(os.environ))
        except EngineError as e:
            _say_once(f"peephole: savings do not count what rules cost: {e}")
            break
        found |= {f"{rule}:{name}": price for name, price in of.items()}
    return found


def handled() -> dict[str, list[str]]:
    """The rules that there are, alone or as they are needed together, and the prices that are theirs: those that a
    detector's AFTER names.
    """
    found: dict[str, list[str]] = {rule: [] for rule in rules()}
    for detector in detectors().values():
        for name in detector.after:
            rule, colon, call = name.partition(":")
            family, _, what = call.rpartition("_")
            sizes = [f"{family}_{size}" for size in LINES.get(family, ())] if what in ("call", "byte") else [call]
            if colon:
                known = found.setdefault(rule, [])
                known += [one for one in sizes if one not in known]
    return found


def _more(price: Price, than: Price) -> Price:
    pairs = zip(price.figures().values(), than.figures().values(), strict=True)
    return Price(*(max(0.0, a - b) for a, b in pairs))


def _start(env: Mapping[str, str]) -> Price:
    """CPU of a process that does nothing."""
    took = []
    for _ in range(STARTS):
        child = os.posix_spawn(native.path(_PROGRAM), [_PROGRAM], env)
        used = os.wait4(child, 0)[2]
        took.append((used.ru_utime + used.ru_stime) * 1e9)
    low, middle, high = statistics.quantiles(took, n=4)
    return Price(middle, low, high)


def _calls(folder: Path, names: Iterable[str], env: Mapping[str, str]) -> dict[str, Price]:
    """What the measuring program tells of these prices, or of all: the medians of several runs.

    Where a process lies in memory makes its calls up to a tenth dearer or cheaper.
    """
    runs = [_run(folder, names, env) for _ in range(RUNS)]
    known = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: _middle([run[name] for run in runs]) for name in known}


def _middle(prices: list[Price]) -> Price:
    each = [price.figures().values() for price in prices]
    return Price(*map(statistics.median, zip(*each, strict=True)))


def _run(folder: Path, names: Iterable[str], env: Mapping[str, str]) -> dict[str, Price]:
    program = native.path(_PROGRAM)
    words = [str(program), str(folder), *names]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as e:
            raise EngineError(f"{folder}: measuring prices took more than {TIMEOUT_S} s; name another --dir") from e
        finally:
            process.terminate()  # it takes its files away; a SIGKILL would leave them
    if process.returncode != 0:
        why = err.decode("utf-8", "replace").strip() or f"exit code {process.returncode}"
        raise EngineError(f"prices can't be measured: {why}; name a --dir that can be written")
    return _read(json.loads(out))


def _read(found: dict[str, Any]) -> dict[str, Price]:
    return {name: Price(*(float(p[word]) for word in ("ns", "low", "high", "bare_ns"))) for name, p in found.items()}


# -- which file system ------------------------------------------------------------------------------------------------


def _locate(place: Path | str | int) -> tuple[dict[str, Any], Path]:
    """The mount that holds `place`, and a folder on it that can be written; else those of the temporary folder."""
    known = mounts()
    if isinstance(place, int):
        candidates = [Path(mount["point"]) for mount in known if mount["dev"] == place]
        dev: int | None = place
    else:
        there = _existing(Path(place).absolute())
        candidates = [there if there.is_dir() else there.parent]
        dev = candidates[0].stat().st_dev
        candidates += [Path(mount["point"]) for mount in known if mount["dev"] == dev]
    home = Path.home()
    candidates += [folder for folder in (Path(tempfile.gettempdir()), home) if _dev(folder) == dev]
    pseudo = {mount["dev"] for mount in known if mount["fstype"] in _NO_FILES}
    candidates = [folder for folder in candidates if _dev(folder) not in pseudo]
    usable = [folder for folder in candidates if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)]
    folder = usable[0] if usable else Path(tempfile.gettempdir())
    return _mount_of(folder, known), folder


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _dev(path: Path) -> int | None:
    with suppress(OSError):
        return path.stat().st_dev
    return None


def _mount_of(folder: Path, known: list[dict[str, Any]]) -> dict[str, Any]:
    dev = _dev(folder)
    same = [mount for mount in known if mount["dev"] == dev]
    # Some file systems (btrfs, overlay) give their files another number than their mount.
    above = [mount for mount in known if folder.resolve().is_relative_to(mount["point"])]
    found = same or sorted(above, key=lambda mount: len(mount["point"]))
    return found[-1] if found else {"fstype": "unknown", "options": "", "point": "/"}


def _where(mount: dict[str, Any], folder: Path) -> str:
    return f"{mount['fstype']} at {folder}, kernel {platform.release()}"


# -- the cache --------------------------------------------------------------------------------------------------------


def _key(mount: dict[str, Any]) -> str:
    options = sorted(word for word in mount["options"].split(",") if not word.startswith(_NO_PRICE))
    journal = ""
    if mount["fstype"] == "ext4" and mount.get("dev") is not None:
        # With or without a journal is no mount option, and changes every price of a write.
        journal = str(_journalled(mount["dev"]))
    words = [platform.release(), platform.machine(), mount["fstype"], *options, journal, _versions()]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def _journalled(dev: int) -> bool:
    device = Path(f"/sys/dev/block/{os.major(dev)}:{os.minor(dev)}")
    name = device.resolve().name
    return any(entry.name.startswith(f"{name}-") for entry in _listing(Path("/proc/fs/jbd2")))


def _listing(folder: Path) -> list[Path]:
    with suppress(OSError):
        return list(folder.iterdir())
    return []


@cache
def _versions() -> str:
    """Digests of the measuring program and of the runtime: prices that others measured are not taken for these."""
    files = [native.path(_PROGRAM)]
    with suppress(MissingToolError):
        files.append(native.path("libpeephole.so"))
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files)


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/peephole/prices, else ~/.cache/peephole/prices."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base-directory rules: a relative path is to be ignored.
    base = Path(home) if home.startswith("/") else Path.home() / ".cache"
    return base / "peephole" / "prices"


def _load(key: str) -> Prices | None:
    path = cache_folder() / f"{key}.json"
    try:
        for part in (path.parent, path):
            info = part.stat()
            if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
                return None
        kept = json.loads(path.read_bytes())
        return Prices(str(kept["where"]), _read(kept["prices"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # measured again, and written anew


def _store(key: str, prices: Prices) -> None:
    folder = cache_folder()
    content = {
        "where": prices.where,
        "prices": {name: price.figures() for name, price in prices.of.items()},
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(fd, "w") as file:
                json.dump(content, file, indent=1)
            Path(name).replace(folder / f"{key}.json")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as e:
        _say_once(f"peephole: {folder}: {e.strerror}; prices are measured again each time")


@cache
def _say_once(text: str) -> None:
    _LOG.warning(text)
