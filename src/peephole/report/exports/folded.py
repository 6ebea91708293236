"""Folded stacks, a line each, as flame graph programs read them."""

from __future__ import annotations

from typing import BinaryIO

from peephole.report.exports.slices import weighted
from peephole.trace import Capture


def write(capture: Capture, file: BinaryIO) -> int:
    """`program;frame;call WEIGHT`: nanoseconds, or calls where no times are known; how many lines."""
    stacks = weighted(capture).stacks
    for stack, weight in sorted(stacks.items()):
        words = (word.replace(";", ":").replace("\n", " ").replace("\r", " ") for word in stack)
        file.write(f"{';'.join(words)} {weight}\n".encode("utf-8", "replace"))
    return len(stacks)
