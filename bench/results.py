"""docs/results.md and the tables of docs/paper.md, written from the files in bench/results.

Such a file is what `python -m bench NAME --json` printed. `python -m bench.results` writes the documents anew, and
`python -m bench.results NAME` runs that bench first and keeps what it prints; tests/bench tells when they are stale.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"
DOCS = ROOT / "docs"
#: files of bench/results in the order of the page, and what each is about; others follow by name
ABOUT = {
    "demo": "Everyday programs (`make demo`)",
    "rules": "Each rule on programs that it is meant for, or must not slow down",
    "prove": "What the proofs of all rules cost",
    "squid": "squid: the paper's web proxy",
    "postgresql": "PostgreSQL: the paper's database server",
    "bounds": "What rules that are not there could gain at most",
    "nginx": "nginx",
    "redis": "redis",
    "xpdf": "xpdf and the other poppler programs: the paper's document viewer",
    "firefox": "Firefox: the paper's Mozilla",
    "audio": "ecasound, JACK and Ardour: the paper's audio programs",
    "verdicts": "How often the verdict is wrong",
}
#: a figure's last word -> the head of its column, in the order of the columns
COLUMNS = {
    "verdict": "verdict",
    "cpu_ratio": "CPU",
    "machine_cpu_ratio": "the machine's CPU",
    "wall_ratio": "wall",
    "syscalls_ratio": "calls",
    "program_syscalls_ratio": "calls of the program itself",
    "bytes_ratio": "bytes",
    "bytes_written_ratio": "bytes written",
    "throughput_ratio": "throughput",
    "tps_ratio": "transactions/s",
    "calls_before": "calls before",
    "calls_after": "calls after",
}
#: figures of a load that are in its file only
DETAILS = ("pairs", "_low", "_high", "_before", "_after", "system_cpu_ratio")
SHOWN = ("kernel", "cpu_model", "cpus", "virtual_machine", "load_average", "started", "peephole", "older")
BUSY = 1.5  # load average beyond which more ran than the bench
BEGIN, END = "<!-- from bench/results by python -m bench.results -->\n", "<!-- end -->\n"


def load() -> dict[str, dict[str, Any]]:
    """The results by name, in the order of the page."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    order = [*ABOUT, *sorted(found.keys() - ABOUT.keys())]
    return {name: found[name] for name in order if name in found}


def number(value: Any) -> str:
    """A figure for a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("no-gain", "no gain")


def split(figures: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Rows by load, each with its columns; and the figures that stand alone."""
    rows: dict[str, dict[str, Any]] = {}
    alone: dict[str, Any] = {}
    for name, value in figures.items():
        load_name, _, column = name.rpartition(".")
        if load_name and column in COLUMNS:
            rows.setdefault(load_name, {})[column] = value
        elif load_name not in rows or not column.endswith(DETAILS):
            alone[name] = value
    return rows, alone


def answer(row: dict[str, Any]) -> str:
    """The verdict, or where a bench gives ratios alone what its CPU says: below 2 % it is none."""
    if "verdict" in row:
        return number(row["verdict"])
    ratio = row.get("cpu_ratio")
    if ratio is None:
        return "-"
    return "gain" if ratio < 0.98 else "more" if ratio > 1 / 0.98 else "no gain"


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A table of loads; ratios are after/before."""
    columns = [c for c in COLUMNS if c != "verdict" and any(c in row for row in rows.values())]
    heads = ["load", "verdict", *(COLUMNS[c] for c in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        lines.append("| " + " | ".join([name, answer(row), *(number(row.get(c)) for c in columns)]) + " |")
    return "\n".join(lines) + "\n"


def section(name: str, found: dict[str, Any]) -> str:
    """One bench: its table, the figures that stand alone, the conditions."""
    rows, alone = split(found["figures"])
    text = f"## {ABOUT.get(name, name)}\n\n"
    if rows:
        text += table(rows) + "\n"
    if alone:
        text += "\n".join(f"- {key.replace('_', ' ')}: {number(value)}" for key, value in alone.items()) + "\n\n"
    return text + f"`python -m bench {name} --json`: {conditions_text(found['conditions'])}\n"


def conditions_text(about: dict[str, Any]) -> str:
    """The machine in a line; whether others worked on it is said."""
    said = ", ".join(f"{key.replace('_', ' ')} {about[key]}" for key in SHOWN if key in about)
    return said + ("; other work ran on the machine" if about.get("load_average", 0) > BUSY else "")


def results_page() -> str:
    """The text of docs/results.md."""
    parts = [section(name, found) for name, found in load().items() if name != "paper"]
    head = (
        "# Results\n\n"
        "Every program of bench/programs, with what each bench printed when it was last run. Ratios are after/before:\n"
        "of CPU, wall-clock time, calls and bytes less is better, of throughput more. `no gain` is an answer like any\n"
        "other: where nothing is worth changing, Peephole changes nothing. Loads that gain nothing are not left out.\n"
        "The paper's tables 1 to 3 are in [paper.md](paper.md).\n\n"
        "Written by `python -m bench.results` from the files in bench/results; do not edit.\n\n"
    )
    return head + ("\n".join(parts) if parts else "No bench has been kept yet: `python -m bench.results NAME`.\n")


def paper_tables() -> str:
    """The tables that stand in docs/paper.md."""
    from bench import paper

    found = load().get("paper")
    if found is None:
        return "Not measured yet: `python -m bench.results paper`.\n"
    figures, about = found["figures"], found["conditions"]
    kinds = dict.fromkeys(name.split(".")[1] for name in figures if name.startswith("table"))
    text = "| | the paper | " + " | ".join(kinds) + " |\n|---|---:|" + "---:|" * len(kinds) + "\n"
    rows = [(f"table {t}, mmap/write, as printed (loses the data)", f"table{t}.{{}}.private", t) for t in paper.TABLES]
    rows += [(f"table {t}, mmap/write, MAP_SHARED", f"table{t}.{{}}", t) for t in paper.TABLES]
    for said, stem, t in rows:
        cells = [number(figures[f"{stem.format(kind)}.ratio"]) for kind in kinds]
        theirs = number(paper.PAPER[t][1] / paper.PAPER[t][0]) if "printed" in said else "-"
        text += f"| {said} | {theirs} | " + " | ".join(cells) + " |\n"
    cells = [number(figures[f"in_place.{kind}.ratio"]) for kind in kinds]
    theirs = number(paper.PAPER[3][0] / paper.PAPER[2][0])
    text += f"| writing without O_TRUNC / with | {theirs} | " + " | ".join(cells) + " |\n"
    cells = [f"{figures[f'in_place.{kind}.time_saved']:.0%}" for kind in kinds]
    text += f"| time saved by not truncating | {1 - paper.PAPER[3][0] / paper.PAPER[2][0]:.0%} | "
    text += " | ".join(cells) + " |\n\n"
    for t, (_, private, shared) in paper.TABLES.items():
        for name, variant in ((f"table{t}.{{}}.private", private), (f"table{t}.{{}}", shared)):
            kept = "equivalent" if figures[f"equivalent.ext4.table{t}.{variant}"] else "loses the data"
            text += f"Table {t} on ext4, {variant} ({kept}):\n\n"
            text += "```\n" + paper.table_text(t, paper.times_of(figures, name.format("ext4"))) + "\n```\n\n"
    lost = "".join(f"; {kind} could not be mounted: {why}" for kind, why in about["not_mounted"].items())
    how = f"{about['iterations']:,} iterations of {about['bytes']} bytes, medians of {about['rounds']} rounds"
    return f"{text}{how}: {conditions_text(about)}{lost}\n"


def paper_page(text: str) -> str:
    """docs/paper.md with its tables anew."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{paper_tables()}\n{END}{after}"


def main() -> int:
    """Write the documents; with a name, run that bench first and keep its result."""
    for name in sys.argv[1:]:
        words = [sys.executable, "-m", "bench", name, "--json"]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            return done.returncode
        (RESULTS / f"{name}.json").write_text(json.dumps(json.loads(done.stdout), indent=1) + "\n")
    (DOCS / "results.md").write_text(results_page())
    paper = DOCS / "paper.md"
    paper.write_text(paper_page(paper.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
