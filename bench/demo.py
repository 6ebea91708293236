"""The main job on real programs: `make demo`.

For each program `peephole tune --allow all` says in one sentence what was gained, and then the table, what was given
up, and where the report lies. Nothing is expected here: what the machine says is printed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.images import Image, NoImage, ext4

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).parent / "programs"
IMAGE_BYTES = 700 << 20
SMALL_FILES = 20_000
PRINTED_LINES = 100_000
LOGGED_LINES = 50_000
ITERATIONS = 10_000
ITERATION_BYTES = 16384
GZIP_BYTES = 24 << 20
#: they would make Python's figures those of an unusual run
SKEWING = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Case:
    """One program of the demo: what it shows, and how tune is called."""

    name: str
    about: str
    command: list[str]
    options: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ground:
    """Where the files of the demo lie: an image, or (with the reason) the file system at hand."""

    folder: Path
    image: Image | None
    why_not: str | None

    def fresh(self) -> list[str]:
        """The options that make the state fresh before a run, where that can be done."""
        if self.image is None:
            return []
        return ["--fresh", f"{sys.executable} {ROOT}/bench/images.py reset {self.image.folder}"]


def python() -> str:
    """The system's own Python if there is one: it is what people run."""
    return next((p for p in ("/usr/bin/python3",) if os.access(p, os.X_OK)), sys.executable)


def compile_paper(folder: Path) -> Path:
    """The paper's program, compiled."""
    program = folder / "open_write_close"
    subprocess.run(
        [os.environ.get("CC", "cc"), "-O2", "-o", str(program), str(PROGRAMS / "paper" / "open_write_close.c")],
        check=True,
    )
    return program


def small_files(top: Path) -> None:
    """Many small files of 1 to 8 KB, twice: `from` and `to`."""
    source = random.Random(1)
    data = source.randbytes(1 << 16)
    for tree in ("from", "to"):
        for i in range(SMALL_FILES):
            folder = top / tree / f"{i // 500:02d}"
            if i % 500 == 0:
                folder.mkdir(parents=True)
            start, size = i % 5000, 1024 + (i * 613) % 7168
            (folder / f"file{i}").write_bytes(data[start : start + size])


def large_file(path: Path) -> None:
    """A text that compresses as logs do."""
    source = random.Random(2)
    words = [source.randbytes(source.randrange(2, 9)).hex() for _ in range(5000)]
    with path.open("w") as out:
        while out.tell() < GZIP_BYTES:
            out.write(" ".join(source.choices(words, k=2000)) + "\n")


def fill(top: Path) -> None:
    """What is on the image at first."""
    small_files(top / "copy")
    (top / "paper").mkdir()
    (top / "paper" / "file").write_bytes(b"y" * ITERATION_BYTES)


@contextmanager
def ground(own: Path) -> Iterator[Ground]:
    """A fresh journalled ext4 image, or the file system at hand and why."""
    with ExitStack() as stack:
        try:
            image = stack.enter_context(ext4(IMAGE_BYTES, fill))
        except NoImage as e:
            fill(own / "files")
            yield Ground(own / "files", None, str(e))
        else:
            yield Ground(Path(image.point), image, None)


def cases(own: Path, on: Ground) -> list[Case]:
    """The programs, in the order in which they are shown."""
    out = own / "out"
    out.mkdir()
    large = own / "large.txt"
    large_file(large)
    copy, paper = on.folder / "copy", on.folder / "paper"
    return [
        Case(
            "print",
            f"Python prints {PRINTED_LINES:,} lines with flush=True to a file",
            [python(), str(PROGRAMS / "print_flush.py"), str(out / "lines.txt"), str(PRINTED_LINES)],
            ["--fresh", f"rm -f {out}/lines.txt", "--same", "exit", "--same", f"files:{out}"],
        ),
        Case(
            "logging",
            f"Python logs {LOGGED_LINES:,} lines through logging.FileHandler",
            [python(), str(PROGRAMS / "log_lines.py"), str(out / "app.log"), str(LOGGED_LINES)],
            ["--fresh", f"rm -f {out}/app.log", "--same", "exit", "--same", f"files:{out}"],
        ),
        Case(
            "copy",
            f"cp copies {SMALL_FILES:,} small files over an existing copy",
            ["cp", "-rT", str(copy / "from"), str(copy / "to")],
            [*on.fresh(), "--same", "exit", "--same", f"files:{copy}/to"],
        ),
        Case(
            "paper",
            f"the paper's program of section 4.2: {ITERATIONS:,} times open, write, close",
            [str(compile_paper(own)), str(paper / "file"), str(ITERATIONS), str(ITERATION_BYTES)],
            ["--same", "exit", "--same", f"files:{paper}"],
        ),
        Case("gzip", "gzip packs a large file", ["gzip", "-c", str(large)], []),
    ]


def results_folder() -> Path:
    """Where the reports stay: a folder of their own under the state folder, else a temporary one."""
    from peephole.cli.folders import state_home

    folder = state_home() / "demo"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="peephole-demo-"))
    return folder


def environment() -> dict[str, str]:
    """The environment of the programs."""
    return {name: value for name, value in os.environ.items() if name not in SKEWING}


def tune(case: Case, folder: Path, quiet: bool) -> tuple[int, dict[str, Any]]:
    """Run `peephole tune` on a case; its exit code and result."""
    words = [sys.executable, "-m", "peephole", "tune", "--allow", "all", "-o", str(folder), *case.options, "--"]
    out = subprocess.DEVNULL if quiet else None
    with subprocess.Popen(
        [*words, *case.command], cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
    ) as child:
        try:
            code = child.wait()
        except BaseException:
            # ctrl-C reaches the child from the terminal too; asked twice, it still ends once.
            child.send_signal(signal.SIGINT)
            child.wait()
            raise
    result = folder / "result.json"
    return code, json.loads(result.read_text()) if result.exists() else {}


def measure(quiet: bool = True) -> dict[str, Any]:
    """Run every case. Figures: verdict, ratios and calls by case; conditions: the machine, and where the files lay."""
    from peephole.evaluate.conditions import machine

    figures: dict[str, Any] = {}
    conditions: dict[str, Any] = machine()
    reports = results_folder()
    own = Path(tempfile.mkdtemp(prefix="peephole-demo-files-"))
    try:
        with ground(own) as on:
            kind = "a fresh journalled ext4 image" if on.image else f"the file system at hand ({on.why_not})"
            conditions["files"] = kind
            if not quiet:
                print(f"Small files are on {kind}: {on.folder}", flush=True)
            for case in cases(own, on):
                if not quiet:
                    print(f"\n== {case.name}: {case.about}", flush=True)
                code, result = tune(case, reports / case.name, quiet)
                figures |= {f"{case.name}.{name}": value for name, value in _figures(code, result).items()}
    finally:
        shutil.rmtree(own, ignore_errors=True)
    return {"figures": figures, "conditions": conditions}


def _figures(code: int, result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"exit_code": code, "verdict": result.get("verdict", "failed")}
    for name, figure in result.get("figures", {}).items():
        found[f"{name}_ratio"] = figure["ratio"]
    for side in ("before", "after"):
        if "syscalls" in result.get("figures", {}):
            found[f"calls_{side}"] = result["figures"]["syscalls"][side]
    return found


def summary(figures: dict[str, Any]) -> None:
    """One line a case, at the end."""
    print("\n== In short")
    for name in dict.fromkeys(key.split(".")[0] for key in figures):
        ratios = ", ".join(
            f"{what} {figures[f'{name}.{what}_ratio']:.2f}"
            for what in ("cpu", "wall", "syscalls")
            if figures.get(f"{name}.{what}_ratio") is not None
        )
        print(f"{name:10} {figures[f'{name}.verdict']:10} {'after/before: ' + ratios if ratios else ''}")


def _terminate(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def main() -> int:
    """The demo for people; 1 when a case failed."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        found = measure(quiet=False)["figures"]
    except KeyboardInterrupt:
        print("demo: interrupted; everything is unmounted and removed", file=sys.stderr)
        return 130
    summary(found)
    return int(any(value != 0 for name, value in found.items() if name.endswith(".exit_code")))


if __name__ == "__main__":
    sys.exit(main())
