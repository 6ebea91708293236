"""xpdf and the poppler programs on a scanned document made here. `python -m bench xpdf`.

pdfimages  every picture of 60 pages      pdftops   the same as PostScript
pdftoppm   rendered                       pdftotext its text: nothing to gain is expected
xpdf       50 page turns under an X server of its own (figures are of both, `xpdf.program_*` of xpdf alone);
           pixels are compared page by page
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import commands, servers
from bench.commands import Commands, Job
from bench.programs.xpdf import pages
from bench.servers import NoBench, Options

LOADS = ("pdfimages", "pdftops", "pdftoppm", "pdftotext", "xpdf")
PAGES = 60
TURNS = 50
COMPARED = 8  # turns whose pixels are compared
RULES = ("read_window",)
SESSION = str(Path(__file__).with_name("session.sh"))


def jobs(document: Path, out: Path) -> dict[str, Job]:
    """By load: the command and what must come out equal."""
    fresh = 'rm -rf "$0" && mkdir "$0"'
    again = commands.servers.shlex.join(["sh", "-c", fresh, str(out)])
    same = ("exit", f"files:{out}")
    return {
        "pdfimages": Job("pdfimages", ("pdfimages", "-all", str(document), f"{out}/x"), RULES, same, again),
        "pdftops": Job("pdftops", ("pdftops", str(document), f"{out}/x.ps"), RULES, same, again),
        "pdftoppm": Job("pdftoppm", ("pdftoppm", "-r", "40", str(document), f"{out}/x"), RULES, same, again),
        "pdftotext": Job("pdftotext", ("pdftotext", str(document), f"{out}/x"), RULES, same, again),
        "xpdf": Job("xpdf", ("sh", SESSION, str(document), str(TURNS)), RULES, program="xpdf.real"),
    }


def differing_pixels(document: Path, folder: Path, rules: str) -> int:
    """Turn pages plain and improved; how many of the pictures that the X server showed differ."""
    for side in ("plain", "improved"):
        (folder / side).mkdir()
        words: list[str | Path] = ["sh", SESSION, document, str(COMPARED), folder / side]
        if side == "improved":
            peephole = [servers.sys.executable, "-m", "peephole", "improve", "--rules", rules, "--allow", "all", "--"]
            words = [*peephole, *words]
        commands.run(words)
    plain, improved = (
        [pixels(folder / side / f"{turn}.xwd") for turn in range(1, COMPARED + 1)] for side in ("plain", "improved")
    )
    if len(set(plain)) < COMPARED:
        raise NoBench("xpdf: the pages look alike; they were not turned")
    return sum(a != b for a, b in zip(plain, improved, strict=True))


def pixels(path: Path) -> bytes:
    """What follows the header and the colours of an xwd file (XWDFile.h): in those xwd leaves bytes unset."""
    data = path.read_bytes()
    words = struct.unpack(">25I", data[:100])
    header_bytes, colours = words[0], words[19]
    return data[header_bytes + 12 * colours :]


def measure(asked: Options | None = None) -> dict[str, Any]:
    """Figures `LOAD.{cpu,wall,syscalls,bytes}_ratio`, `xpdf.program_syscalls_ratio`, `xpdf.differing_pages`."""
    asked = asked or Options(LOADS)
    programs = ("pdfimages", "xpdf", "Xvfb", "xdotool", "xwd", "cjpeg")
    servers.installed(*programs, packages="poppler-utils xpdf xvfb xdotool x11-apps libjpeg-turbo-progs")
    with tempfile.TemporaryDirectory(prefix="peephole-bench-") as name:
        folder = Path(name)
        pages.write(folder / "pages.pdf", PAGES)
        bench = Commands(asked)
        known = jobs(folder / "pages.pdf", folder / "out")
        (folder / "out").mkdir()
        for load in asked.loads:
            bench.measure(known[load])
            if load == "xpdf":
                rules = asked.rules or ",".join(r for r in RULES if r in servers.known_rules()) or "none"
                if rules != "off":
                    bench.figures["xpdf.differing_pages"] = differing_pixels(folder / "pages.pdf", folder, rules)
        bench.conditions["document"] = f"{PAGES} pages, {(folder / 'pages.pdf').stat().st_size >> 20} MB"
        return {"figures": bench.figures, "conditions": bench.conditions | servers.machine()}


def options(words: Sequence[str]) -> Options:
    """The bench's own options."""
    return servers.options(words, LOADS)
