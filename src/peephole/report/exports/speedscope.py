"""speedscope's file format: one sampled profile of programs, the frames above their calls, and the calls."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from peephole.report.exports.slices import weighted
from peephole.trace import Capture

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def write(capture: Capture, file: BinaryIO) -> int:
    """Stacks with weights in nanoseconds, or in calls where no times are known; how many stacks."""
    found = weighted(capture)
    frames: dict[str, int] = {}
    samples, weights = [], []
    for stack, weight in found.stacks.items():
        samples.append([frames.setdefault(word, len(frames)) for word in stack])
        weights.append(weight)
    name = " ".join(capture.meta.command) or capture.meta.joined or str(capture.folder)
    profile = {
        "type": "sampled",
        "name": name,
        "unit": found.unit,
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }
    whole: dict[str, Any] = {
        "$schema": SCHEMA,
        "exporter": "peephole",
        "name": name,
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": word} for word in frames]},
        "profiles": [profile],
    }
    file.write(json.dumps(whole).encode() + b"\n")
    return len(samples)
