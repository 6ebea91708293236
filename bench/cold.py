"""Reading ahead of a cold search: part of `python -m bench rules`.

20,000 files on a fresh ext4 on the disk. One cold search is recorded and a plan made of it, as `peephole plan` does;
then the search is measured cold, the file system mounted anew before every run, and warm.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.commands import Commands, Job, run
from bench.images import NoImage, cold_disk
from bench.servers import NoBench

FOLDERS, FILES = 200, 100
LOADS = ("prefetch_cold.grep_cold", "prefetch_cold.grep_warm")
LINE = "the quick brown fox jumps over the lazy dog, and so it goes\n"


def fill(top: Path) -> None:
    """Files of the sizes that source texts have: half of them below 5 KB, a few of some 100 KB."""
    sizes = random.Random(1)
    for i in range(FOLDERS):
        folder = top / f"folder{i:03}"
        folder.mkdir()
        for j in range(FILES):
            lines = 1 + int(sizes.lognormvariate(4.4, 1.0))
            (folder / f"file{j:03}.c").write_text(LINE * lines + ("a needle\n" if j == 50 else ""))


def measure(bench: Commands, loads: Sequence[str]) -> None:
    """Measure the loads into `bench`. Raises NoBench where this can't be done."""
    if not loads:
        return
    try:
        with cold_disk(600 << 20) as (top, fresh), tempfile.TemporaryDirectory(prefix="peephole-bench-") as made:
            fill(top)
            run(["sh", "-c", fresh.removeprefix("sh -c ").strip("'")])
            command = ("grep", "-r", "needle", str(top))
            capture, plan = Path(made) / "capture", Path(made) / "plan.toml"
            peephole = [sys.executable, "-m", "peephole"]
            run([*peephole, "observe", "-o", capture, "--", *command])
            run([*peephole, "plan", capture, "-o", plan, "--allow", "resources,timing"])
            if "[ahead]" not in plan.read_text():
                raise NoBench("no cold waits were found: the disk under temporary files is too fast to wait for")
            for load in loads:
                cold = load.endswith("_cold")
                same = ("exit", "stdout")
                bench.measure(Job(load, command, (), same, fresh if cold else None, "wall", plan=plan))
    except NoImage as e:
        raise NoBench(str(e)) from None
