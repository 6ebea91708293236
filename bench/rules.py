"""What each rule gains on real programs: `python -m bench rules [--load RULE.PROGRAM] [--pairs N]`.

One line a rule and program, measured by `peephole evaluate` in interleaved pairs on a fresh journalled ext4, outputs
compared. Programs where a rule can't gain stand here too: they must not lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import cold, later, servers
from bench.commands import Commands, Job, run
from bench.demo import python
from bench.images import NoImage, file_system
from bench.servers import NoBench, Options, known_rules, machine

PROGRAMS = Path(__file__).parent / "programs"
LINES, BLOCKS, SAVES, COMMITS, EDITED, PAGES, FOLDERS = 400_000, 200_000, 3_000, 1_000, 300, 60, 40
STARTED = 2_000
LOADS = (
    "coalesce_writes.print_flush",
    "coalesce_writes.dd",
    "coalesce_writes.zipfile",
    "coalesce_writes.ghostscript",
    "truncate_in_place.bash_echo",
    "read_window.pdfimages",
    "read_window.python_read1",
    "skip_sync.sqlite",
    "sync_window.sqlite",
    "cache_absent.gcc",
    "close_unopened.python_daemon",
    "exchange_rename.sed",
    "exchange_rename.python_save",
    "peek_pipe.bash_while_read",
    "repeat_setting.bash_subshells",
    *cold.LOADS,
    *later.LOADS,
)
SAVE = """import os, sys
for i in range(int(sys.argv[2])):
    with open(sys.argv[1] + '.new', 'w') as f:
        f.write(f'{i} ' * 4000)
    os.replace(sys.argv[1] + '.new', sys.argv[1])"""
DAEMON = """import errno, os
for fd in range(3, 1 << 20):
    try:
        os.close(fd)
    except OSError as e:
        assert e.errno == errno.EBADF"""
READ1 = "import sys; f = open(sys.argv[1], 'rb', 0)\nwhile f.read(64): pass\nprint(f.tell())"


def jobs(top: Path) -> dict[str, Job]:
    """Every load by its name, in a folder whose files are made by `make`."""
    out, py = top / "out", python()
    same = ("exit", "stdout", f"files:{out}")
    empty = f"sh -c 'rm -rf {out} && mkdir {out}'"
    pages = top / "pages.pdf"
    echo = f"for i in $(seq {SAVES}); do echo $i > {out}/f; done"
    sql = f'for i in $(seq {COMMITS}); do echo "insert into t values($i);"; done'
    commits = f"( echo 'pragma journal_mode=wal; create table t(n);'; {sql} ) | sqlite3 {out}/db"
    alone = commits.replace("pragma journal", "pragma locking_mode=exclusive; pragma journal")  # no file is mapped
    searched = " ".join(f"-I{top}/include{i}" for i in range(FOLDERS))
    compiles = f"for i in 1 2 3 4 5; do gcc -O0 {searched} -c {top}/headers.c -o {out}/$i.o || exit; done"
    edited = f"sh -c 'rm -rf {out} && cp -r {top}/texts {out}'"
    printed = ("gs", "-q", "-dLastPage=10", "-sDEVICE=pdfwrite", "-o", f"{out}/printed.pdf", str(pages))
    sed = f"sed -i s/a/b/ {out}/*.txt"
    lines = f"cat {top}/lines | {{ n=0; while read x; do n=$((n + x)); done; echo $n; }}"
    return {
        "peek_pipe.bash_while_read": Job("", ("bash", "-c", lines), (), ("exit", "stdout")),
        "repeat_setting.bash_subshells": Job(
            "", ("bash", "-c", f"for ((i = 0; i < {STARTED}; i++)); do (:); done"), (), ("exit", "stdout")
        ),
        "coalesce_writes.print_flush": Job(
            "", (py, str(PROGRAMS / "print_flush.py"), f"{out}/lines", str(LINES)), (), same, empty
        ),
        "coalesce_writes.dd": Job(
            "", ("dd", "if=/dev/zero", f"of={out}/zeros", "bs=512", f"count={BLOCKS}", "status=none"), (), same, empty
        ),
        "coalesce_writes.zipfile": Job(
            "", (py, "-m", "zipfile", "-c", f"{out}/a.zip", f"{top}/texts"), (), same, empty
        ),
        "coalesce_writes.ghostscript": Job(
            "", printed, (), ("exit", "stdout"), empty
        ),  # a PDF holds the time of its making
        "truncate_in_place.bash_echo": Job("", ("bash", "-c", echo), (), same, empty, "wall"),
        "read_window.pdfimages": Job("", ("pdfimages", "-all", str(pages), f"{out}/p"), (), same, empty),
        "read_window.python_read1": Job("", (py, "-c", READ1, str(pages)), (), ("exit", "stdout")),
        "skip_sync.sqlite": Job("", ("sh", "-c", commits), (), ("exit", "stdout"), empty, "wall"),
        "sync_window.sqlite": Job("", ("sh", "-c", alone), (), ("exit", "stdout"), empty, "wall"),
        "cache_absent.gcc": Job("", ("sh", "-c", compiles), (), same, empty),
        "close_unopened.python_daemon": Job("", (py, "-c", DAEMON), (), ("exit", "stdout")),
        "exchange_rename.python_save": Job(
            "", (py, "-c", SAVE, f"{out}/state", str(SAVES // 3)), (), same, empty, "wall"
        ),
        "exchange_rename.sed": Job("", ("sh", "-c", sed), (), same, edited, "wall"),
    }


def make(top: Path) -> None:
    """The files that the loads work on."""
    from bench.programs.xpdf import pages

    pages.write(top / "pages.pdf", PAGES)
    (top / "out").mkdir()
    (top / "texts").mkdir()
    (top / "lines").write_text("".join(f"{i}\n" for i in range(LINES * 2)))
    for i in range(FOLDERS):
        (top / f"include{i}").mkdir()
    headers = ("stdio", "stdlib", "string", "unistd", "sys/socket", "netinet/in", "pthread", "signal", "sys/stat")
    (top / "headers.c").write_text("".join(f"#include <{name}.h>\n" for name in headers))
    for i in range(EDITED):
        (top / "texts" / f"{i}.txt").write_text("a line of text, and another\n" * 700)
    run(["sync", "-f", top])


def options(words: Sequence[str]) -> Options:
    """What the command line asks for."""
    return servers.options(words, LOADS)


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `RULE.PROGRAM.{cpu,wall,syscalls}_ratio` (after/before)."""
    asked = asked or Options(LOADS, pairs=7, controls=False)
    bench = Commands(asked, conditions=machine())
    try:
        with file_system("ext4", 700 << 20) as top:
            make(top)
            known = jobs(top)
            for load in asked.loads or LOADS:
                rule = load.split(".")[0]
                if rule in known_rules() and load in known:
                    job = known[load]
                    bench.measure(Job(load, job.command, (rule,), job.same, job.fresh, job.primary))
    except NoImage as e:
        raise NoBench(str(e)) from None
    cold.measure(bench, [load for load in asked.loads or LOADS if load in cold.LOADS])
    later.measure(bench, [load for load in asked.loads or LOADS if load in later.LOADS])
    return {"figures": bench.figures, "conditions": bench.conditions}
