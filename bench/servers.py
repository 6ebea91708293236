"""Servers under load, measured by `peephole evaluate`: as the user that they run as, each run on fresh state.

A bench describes loads; `measured` runs the pairs and counts the calls for each request. The command line is used as
anyone would use it: `peephole evaluate --rules ... --drive ... --ready ... -- SERVER`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.images import Image, NoImage, ext4

HERE = Path(__file__).resolve().parent
#: they would make Python's figures those of an unusual run; LD_PRELOAD and the like are kept
SKEWING = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
PAIRS = 7
RUN_S = 120  # no run takes that long; a server that hangs must not hang the bench


class NoBench(Exception):
    """Why a bench can't run here: what is missing, and what to do."""


@dataclass(frozen=True)
class User:
    """Who a server runs as."""

    name: str
    uid: int
    gid: int

    def run(self, words: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command as this user; raises NoBench with its last line when it fails."""
        done = subprocess.run(
            words, text=True, capture_output=True, stdin=subprocess.DEVNULL, **self.identity(), **more
        )
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()[-3:] or ["it printed nothing"]
            raise NoBench(f"{shlex.join(words)} ended with {done.returncode}: {' | '.join(said)}")
        return done

    def identity(self) -> dict[str, Any]:
        """The arguments of subprocess that make a child this user's; none when we are that user."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def user(name: str) -> User:
    """The user `name` when we are root (a server refuses root, or leaves it), else ourselves."""
    if os.geteuid() != 0:
        own = pwd.getpwuid(os.geteuid())
        return User(own.pw_name, own.pw_uid, own.pw_gid)
    try:
        found = pwd.getpwnam(name)
    except KeyError as e:
        raise NoBench(f"there is no user {name}; install the program's package") from e
    return User(name, found.pw_uid, found.pw_gid)


def installed(*programs: str, packages: str) -> None:
    """Make sure that these programs are there: by apt when root. Raises NoBench."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = [name for name in programs if not shutil.which(name, path=path) and not Path(name).is_file()]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoBench(f"{', '.join(missing)} not installed; apt-get install {packages}")
    # No service may be started by its package: the bench starts its own.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages.split()]):
            done = subprocess.run(["apt-get", *words], env=env, **quiet)  # type: ignore[call-overload]
        if done.returncode:
            raise NoBench(f"apt-get install {packages}: {done.stderr.strip().splitlines()[-1:]}")
    finally:
        if ours:
            policy.unlink()


def free_port() -> int:
    """A port of loopback that is free, and not of those that connections get: one of them would keep a server out."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in [*random.sample(range(1024, lowest), min(100, lowest - 1024)), 0] if lowest > 1024 else [0]:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return int(s.getsockname()[1])
    raise NoBench("no port of loopback is free")


def compiled(source: Path, folder: Path) -> Path:
    """A C program of the bench, compiled into `folder`."""
    program = folder / source.stem
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", "-pthread", "-o", str(program), str(source)], check=True)
    program.chmod(0o755)
    return program


@contextmanager
def folder_of(who: User) -> Iterator[Path]:
    """A temporary folder of this user, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="peephole-bench-"))
    try:
        os.chown(folder, who.uid, who.gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(words: Sequence[str], who: User, port: int) -> Iterator[None]:
    """A helper server beside the bench, for as long as the block runs."""
    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, start_new_session=True, **null, **who.identity()) as child:
        try:
            wait_for(port, child)
            yield
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            child.kill()


@contextmanager
def improved(words: Sequence[str], who: User, port: int, rules: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server with rules in it, as its own user; stopped at the end unless it is gone."""
    from peephole.improve.arm import arm, examine

    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    target = examine(Path(words[0]))
    with arm(rules, target=target, owner=(who.uid, who.gid) if who.identity() else None) as armed:
        env = armed.environment(os.environ, target)
        child = subprocess.Popen(words, env=env, start_new_session=True, **null, **who.identity())  # type: ignore[call-overload]
        try:
            wait_for(port, child)
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(20)
            child.kill()
            child.wait()


def wait_for(port: int, child: subprocess.Popen[Any]) -> None:
    """Until the port answers. Raises NoBench when the server ends first."""
    for _ in range(600):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        if child.poll() is not None:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.05)
    how = "does not answer" if child.poll() is None else f"ended with code {child.returncode} and did not answer"
    raise NoBench(f"{child.args} {how} at port {port}")  # type: ignore[str-bytes-safe]


@dataclass
class Ground:
    """The state that a server works on: an image, or (with the reason) a folder that is copied back."""

    folder: Path
    image: Image | None = None
    pristine: Path | None = None
    why_not: str | None = None

    def fresh(self) -> str:
        """The value of --fresh: a command that makes it as it was after filling."""
        if self.image:
            return shlex.join([sys.executable, str(HERE / "images.py"), "reset", self.image.folder])
        script = 'rm -rf "$1" && cp -a "$0" "$1"'
        return shlex.join(["sh", "-c", script, str(self.pristine), str(self.folder)])

    def said(self) -> str:
        return "a fresh journalled ext4 image for each run" if self.image else f"a copied folder ({self.why_not})"


@contextmanager
def ground(size: int, fill: Callable[[Path], None], who: User, own: Path, base: Path | None = None) -> Iterator[Ground]:
    """A journalled ext4 image filled by `fill`, or the file system at hand."""
    with contextlib.ExitStack() as stack:
        try:
            image = stack.enter_context(ext4(size, fill, owner=who.uid, base=base))
        except NoImage as e:
            folder, pristine = own / "state", own / "pristine"
            folder.mkdir()
            fill(folder)
            folder.rename(pristine)
            shutil.copytree(pristine, folder, symlinks=True)
            yield Ground(folder, None, pristine, str(e))
            for path in (folder, pristine):
                shutil.rmtree(path, ignore_errors=True)
        else:
            yield Ground(Path(image.point), image)


def reset(ground: Ground) -> None:
    """The cache as it was after filling."""
    done = subprocess.run(shlex.split(ground.fresh()), capture_output=True, text=True)
    if done.returncode:
        raise NoBench(done.stderr.strip())


@dataclass(frozen=True)
class Load:
    """One way to load a server: what to start, how to drive it, and which rules might help."""

    name: str  # of its figures: memory_hit_8c
    command: tuple[str, ...]
    ready: str
    drive: tuple[str, ...]  # after --: the measured driver
    rules: tuple[str, ...] | None  # None: what `peephole tune` finds, if anything
    warm: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    per: float = 1.0  # requests that figures are said for: 1024 pieces of 64 KB in a request of 64 MB
    fresh: str | None = None
    grace_s: float = 15.0


@dataclass(frozen=True)
class Options:
    """What the command line of a bench asks for."""

    loads: tuple[str, ...] = ()
    clients: tuple[int, ...] = (1, 8)
    pairs: int = PAIRS
    rules: str | None = None
    controls: bool = True
    scale: float = 1.0
    keep: Path | None = None
    moments: int = 10


def options(words: Sequence[str], loads: Sequence[str]) -> Options:
    """Parse a bench's own words; a wrong one ends the program with usage, code 2."""
    parser = argparse.ArgumentParser(prog="python -m bench NAME", allow_abbrev=False)
    parser.add_argument("--load", action="append", choices=loads, help="only this load (may be repeated)")
    parser.add_argument("--clients", default="1,8", help="connections, as in 1,8")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"interleaved pairs of each (default {PAIRS})")
    parser.add_argument("--rules", help="these rules instead of the load's: a list, none or off")
    parser.add_argument("--no-control", action="store_true", help="leave out the runs of a load against itself")
    parser.add_argument("--scale", type=float, default=1.0, help="more or fewer requests a run")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep every load's result and report in DIR")
    parser.add_argument("--moments", type=int, default=10, help="at how many moments a server is killed")
    given = parser.parse_args(list(words))
    clients = tuple(int(n) for n in given.clients.split(","))
    return Options(
        tuple(given.load or loads),
        clients,
        given.pairs,
        given.rules,
        not given.no_control,
        given.scale,
        given.keep,
        given.moments,
    )


def known_rules() -> list[str]:
    """The rules there are."""
    import peephole

    return sorted(path.parent.name for path in (Path(peephole.__file__).parent / "rules").glob("*/rule.py"))


@dataclass
class Bench:
    """One bench in progress: who, where, and what was found."""

    who: User
    folder: Path
    asked: Options
    figures: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)

    def measured(self, load: Load, rules: str | None = None) -> dict[str, Any]:
        """Evaluate one load; its result, with `calls_per_request` before and after. Raises NoBench."""
        chosen = rules or self.asked.rules
        if not chosen and load.rules is not None:
            chosen = ",".join(r for r in load.rules if r in known_rules()) or "none"
        out = self.folder / "result"
        shutil.rmtree(out, ignore_errors=True)
        verb = ["evaluate", "--rules", chosen] if chosen else ["tune"]
        words = [sys.executable, "-m", "peephole", *verb, "--json", "--allow", "all"]
        words += ["-n", str(self.asked.pairs), "--primary", "driver.server_cpu_us", "--same", "exit"]
        words += ["--drive", drive(load), "--ready", load.ready, "--grace", str(load.grace_s)]
        words += ["--fresh", load.fresh] if load.fresh else []
        words += ["--user", self.who.name, "--timeout", str(RUN_S), "-o", str(out), "--", *load.command]
        result = self._ran(words)
        result["rules_asked"] = chosen or "as tune finds"
        result["calls_per_request"] = {
            side: calls(out / folder, out / "runs" / run, load.per)
            for side, folder, run in (("before", "capture", "observed"), ("after", "after", "observed-after"))
            if (out / folder).exists()
        }
        result["wrong_bytes"] = total(out / "runs", "wrong_bytes")
        if self.asked.keep:
            shutil.copytree(out, self.asked.keep / f"{load.name}-{(chosen or 'tune')[:40]}", dirs_exist_ok=True)
        return result

    def _ran(self, words: Sequence[str]) -> dict[str, Any]:
        with subprocess.Popen(
            words, cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        ) as child:  # fmt: skip
            try:
                said, errors = child.communicate()
            except BaseException:
                # It stops its server; the image is ours to unmount.
                child.send_signal(signal.SIGINT)
                child.wait()
                raise
        try:
            return dict(json.loads(said))
        except ValueError:
            raise NoBench(f"peephole evaluate: {(errors.strip() or 'no answer').splitlines()[-1]}") from None

    def environment(self) -> dict[str, str]:
        """Our environment without what skews."""
        return {name: value for name, value in os.environ.items() if name not in SKEWING}

    def load(self, load: Load) -> None:
        """Measure one load and its control, and add their figures."""
        result = self.measured(load)
        self.figures |= {f"{load.name}.{name}": value for name, value in figures_of(result).items()}
        if result["verdict"] in ("failed", "different"):
            self.conditions[f"{load.name}.trouble"] = result["reason"]
        self.conditions[f"{load.name}.rules"] = {
            rule["name"]: {"hits": rule["hits"], "settled": rule["settled"]} for rule in result["rules"]
        } or result["rules_asked"]
        self.figures["wrong_bytes"] = self.figures.get("wrong_bytes", 0) + result["wrong_bytes"]
        if self.asked.controls:
            control = self.measured(load, "off")
            for name in ("server_cpu_us", "requests_per_s"):
                figure = control["figures"].get(f"driver.{name}")
                if figure:
                    short = "cpu" if name == "server_cpu_us" else "throughput"
                    self.figures[f"{load.name}.aa_{short}_ratio"] = figure["ratio"]


def drive(load: Load) -> str:
    """The value of --drive."""
    words = [sys.executable, "-I", "-S", str(HERE / "drive.py")]
    for command in load.warm:
        words += ["--warm", command]
    for command in load.check:
        words += ["--check", command]
    return shlex.join([*words, "--", *load.drive])


def calls(capture: Path, run: Path, per: float) -> dict[str, float] | None:
    """Calls of the server for each request, by name, while it was driven; None when the driver did not say when."""
    try:
        said = json.loads((run / "driver.stdout").read_text().strip().splitlines()[-1])
        begin, end = said["window"]
    except (OSError, ValueError, KeyError, IndexError):
        return None
    import pyarrow.parquet as pq

    table = pq.read_table(
        capture / "calls.parquet", columns=["name"], filters=[("exit_ns", ">=", begin), ("exit_ns", "<=", end)]
    )
    counted = Counter(str(name) for name in table.column("name").to_pylist())
    return {name: count / said["requests"] / per for name, count in counted.most_common()}


def total(runs: Path, name: str) -> float:
    """The sum of a number that drivers said, over all runs."""
    found = 0.0
    for path in runs.glob("*/driver.stdout"):
        with contextlib.suppress(ValueError, IndexError):
            found += float(json.loads(path.read_text().strip().splitlines()[-1]).get(name, 0))
    return found


def figures_of(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of one load, by their short names."""
    found: dict[str, Any] = {"verdict": result["verdict"], "pairs": result["pairs"]}
    cpu = result["figures"].get("driver.server_cpu_us")
    if cpu:
        found |= {"cpu_ratio": cpu["ratio"], "cpu_low": cpu["low"], "cpu_high": cpu["high"]}
        found |= {"cpu_us_before": cpu["before"], "cpu_us_after": cpu["after"]}
    rate = result["figures"].get("driver.requests_per_s")
    if rate:
        found |= {"throughput_ratio": rate["ratio"], "requests_per_s_before": rate["before"]}
    for name in ("system_cpu", "flush"):
        if name in result["figures"]:
            found[f"{name}_ratio"] = result["figures"][name]["ratio"]
    for side, by_name in result["calls_per_request"].items():
        if by_name is not None:
            found[f"calls_{side}"] = round(sum(by_name.values()), 3)
    return found


@contextmanager
def bench(who: User, asked: Options) -> Iterator[Bench]:
    """A bench and its folder, gone afterwards."""
    with folder_of(who) as folder:
        yield Bench(who, folder, asked)


def machine() -> dict[str, Any]:
    """The machine, as results say it."""
    from peephole.evaluate.conditions import machine as of_machine

    return of_machine()
