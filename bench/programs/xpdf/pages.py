"""A PDF of scanned pages, made here: each page one JPEG of about 200 KB and a few lines of text."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

WIDTH, HEIGHT = 1240, 1754  # A4 at 150 dots an inch
STROKES = 900


def page(number: int) -> bytes:
    """A grey picture (PGM) that compresses as a scanned page does."""
    source = random.Random(number)
    rows = bytearray(bytes([248]) * (WIDTH * HEIGHT))
    noise = bytes(source.choices(range(225, 255), k=WIDTH * 4))
    for y in range(HEIGHT):
        start = source.randrange(WIDTH * 3)
        rows[y * WIDTH : (y + 1) * WIDTH] = noise[start : start + WIDTH]
    for _ in range(STROKES):
        x, y, n = source.randrange(WIDTH - 60), source.randrange(HEIGHT - 12), source.randrange(8, 50)
        for line in range(source.randrange(2, 10)):
            at = (y + line) * WIDTH + x
            rows[at : at + n] = bytes([source.randrange(20, 90)]) * n
    return b"P5 %d %d 255\n" % (WIDTH, HEIGHT) + bytes(rows)


def jpeg(number: int, quality: int = 50) -> bytes:
    """The page as libjpeg packs it."""
    return subprocess.run(
        ["cjpeg", "-quality", str(quality)], input=page(number), capture_output=True, check=True
    ).stdout


def write(path: Path, pages: int) -> None:
    """Write the PDF. Objects: 1 catalogue, 2 pages, 3 font, then three a page."""
    offsets: list[int] = []
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")

    def add(body: bytes) -> None:
        offsets.append(len(out))
        out.extend(b"%d 0 obj\n" % len(offsets) + body + b"\nendobj\n")

    def stream(words: bytes, data: bytes) -> bytes:
        return b"<< %s /Length %d >>\nstream\n" % (words, len(data)) + data + b"\nendstream"

    first = 4
    add(b"<< /Type /Catalog /Pages 2 0 R >>")
    kids = b" ".join(b"%d 0 R" % (first + 3 * i) for i in range(pages))
    add(b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, kids))
    add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for i in range(pages):
        at = first + 3 * i
        add(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F 3 0 R >> /XObject << /I %d 0 R >> >> >>" % (at + 1, at + 2)
        )
        lines = b"".join(b"(line %d of page %d, all in plain words) Tj 0 -14 Td " % (n, i) for n in range(40))
        add(stream(b"", b"q 595 0 0 842 0 0 cm /I Do Q BT /F 10 Tf 60 780 Td " + lines + b"ET"))
        kind = b"/Type /XObject /Subtype /Image /ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /DCTDecode"
        add(stream(kind + b" /Width %d /Height %d" % (WIDTH, HEIGHT), jpeg(i)))
    table = len(out)
    out.extend(b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1))
    for offset in offsets:
        out.extend(b"%010d 00000 n \n" % offset)
    out.extend(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(offsets) + 1, table))
    path.write_bytes(bytes(out))
