"""How well `diagnose` predicts what `evaluate` then measures, over pairs of a program and a rule.

Each program is observed once; the estimate is what `diagnose` says the rule saves, less what arming costs. Then
`evaluate` measures the same rule on the same program in pairs. None of the programs is used for calibration. A pair
counts when its measured interval is within 10 % of the saving; the others are listed with why they do not. The program
that a rule does nothing for is there, too: a "nothing worth changing" must not hide a gain above 10 %.

Progress goes to stderr. The figures so far are saved after every pair, so that an interrupted run is not for nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.images import NoImage, ext4
from bench.predicted import Pair, fill, pairs
from bench.servers import SKEWING, NoBench

HERE = Path(__file__).resolve().parent
WITHIN, SURE = 0.20, 0.10
PAIRS = 9
IMAGE_BYTES = 400 << 20
#: a program that runs longer hangs
LONGEST_S = 120
#: an interrupted peephole has this long to stop what it measures
GRACE_S = 15


def _peephole(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in SKEWING}
    command = [sys.executable, "-m", "peephole", *words]
    # In a session of its own, so that of ctrl-C and TERM it sees one signal: ours, on which it cleans up.
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            process.terminate()
            try:
                process.communicate(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def predicted(pair: Pair, own: Path) -> tuple[float, bool]:
    """Seconds of CPU that `diagnose` expects the rule to save, arming paid; whether it is worth saying at all."""
    from peephole.diagnose.engine import diagnose
    from peephole.improve.armed import prices_for
    from peephole.observe.capture import open_capture

    capture = own / "capture"
    # Once warm: what is overwritten must be there, and the caches full.
    try:
        subprocess.run(pair.command, cwd=own, stdout=subprocess.DEVNULL, check=False, timeout=LONGEST_S)
    except subprocess.TimeoutExpired as e:
        raise RuntimeError(f"{pair.name}: runs longer than {LONGEST_S} s") from e
    done = _peephole("observe", "-o", str(capture), "--", *pair.command, cwd=own)
    if not capture.exists():
        raise RuntimeError(f"{pair.name}: {done.stderr.strip()}")
    opened = open_capture(capture)
    diagnosis = diagnose([opened], prices_for)
    found = [f for f in diagnosis.findings if f.rule == pair.rule and f.saving]
    arming = sum(diagnosis.arming[program] for program in {f.program for f in found})
    saving = sum(f.saving.ns for f in found if f.saving) - arming
    shutil.rmtree(capture)
    return max(0.0, saving / 1e9), bool(found)


def measured(pair: Pair, own: Path) -> dict[str, float]:
    """Seconds of CPU that the rule saves, with the interval; and of the program before."""
    words = ["evaluate", "--rules", pair.rule, "--allow", "all", "-n", str(PAIRS), "--same", "exit", "--json"]
    words += ["-o", str(own / "result"), "--", *pair.command]
    done = _peephole(*words, cwd=own)
    shutil.rmtree(own / "result", ignore_errors=True)
    try:
        cpu = json.loads(done.stdout)["figures"]["cpu"]
        before = cpu["before"]
        return {
            "before": before,
            "saved": before * (1 - cpu["ratio"]),
            "low": before * (1 - cpu["high"]),
            "high": before * (1 - cpu["low"]),
        }
    except (ValueError, KeyError) as e:
        raise RuntimeError(f"{pair.name}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}") from e


def judged(estimate: float, told: bool, found: dict[str, float]) -> dict[str, Any]:
    """How the estimate compares."""
    saved = found["saved"]
    sure = saved > 0 and (found["high"] - found["low"]) / 2 <= SURE * saved
    return {
        "estimate_s": round(estimate, 4),
        "saved_s": round(saved, 4),
        "low_s": round(found["low"], 4),
        "high_s": round(found["high"], 4),
        "before_s": round(found["before"], 4),
        "counts": sure,
        "within": bool(sure and abs(estimate - saved) <= WITHIN * saved),
        "missed_gain": 0.0 if told else max(0.0, round(saved / found["before"], 4)),
    }


def options(words: list[str]) -> argparse.Namespace:
    """`--only NAME,...`: these pairs; `--save FILE`: where the figures so far are kept; `--resume`: go on."""
    parser = argparse.ArgumentParser(prog="python -m bench predict")
    parser.add_argument("--only", default="", help="names of pairs, with commas")
    parser.add_argument("--resume", action="store_true", help="keep the figures so far, and measure the other pairs")
    saved = HERE.parent / "build" / "predict-so-far.json"
    parser.add_argument("--save", type=Path, default=saved, help=f"where the figures so far are kept ({saved})")
    return parser.parse_args(words)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Figures: `pairs` that count, `within_20` of them, `missed_gain_max`; `PAIR.*` for each."""
    only = set(filter(None, given.only.split(",")))
    each: dict[str, dict[str, Any]] = _so_far(given.save) if given.resume else {}
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        try:
            _say(f"preparing; figures so far are kept in {given.save}")
            top = Path(stack.enter_context(ext4(IMAGE_BYTES, fill)).point)
            where = "journalled ext4 image"
        except NoImage as e:
            top = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            fill(top)
            where = f"the temporary folder ({e})"
        _say(f"working in {top}; measuring prices")
        done = _peephole("calibrate", "--dir", str(top), cwd=top)
        if done.returncode:
            raise NoBench(done.stderr.strip())
        own = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        planned = pairs(top)
        for number, pair in enumerate(planned, start=1):
            if pair.name in each:
                continue
            why_not = _why_not(pair, only)
            if why_not:
                skipped[pair.name] = why_not
                continue
            _say(f"{number}/{len(planned)} {pair.name}, {pair.rule}: observing, then {PAIRS} pairs")
            try:
                each[pair.name] = judged(*predicted(pair, own), measured(pair, own))
                _say(f"  {told(each[pair.name])}")
            except RuntimeError as e:
                skipped[pair.name] = str(e)
                _say(f"  left out: {e}")
            _save(given.save, answer(each, skipped, where) | {"complete": False})
    found = answer(each, skipped, where)
    _save(given.save, found | {"complete": True})
    return found


def answer(each: dict[str, dict[str, Any]], skipped: dict[str, str], where: str) -> dict[str, Any]:
    """Figures and conditions of the pairs that have been measured."""
    counted = [one for one in each.values() if one["counts"]]
    figures: dict[str, Any] = {
        "pairs": len(counted),
        "within_20": sum(one["within"] for one in counted),
        "missed_gain_max": max((one["missed_gain"] for one in each.values()), default=0.0),
    }
    figures |= {f"{name}.{key}": value for name, one in each.items() for key, value in one.items()}
    conditions = {"where": where, "pairs_run": PAIRS, "load": os.getloadavg()[0], "skipped": dict(skipped)}
    return {"figures": figures, "conditions": conditions}


def _so_far(path: Path) -> dict[str, dict[str, Any]]:
    """The pairs that an earlier run has measured."""
    if not path.exists():
        return {}
    each: dict[str, dict[str, Any]] = {}
    for name, value in json.loads(path.read_text())["figures"].items():
        pair, dot, key = name.partition(".")
        if dot:
            each.setdefault(pair, {})[key] = value
    return each


def told(one: dict[str, Any]) -> str:
    """A pair's outcome in one line."""
    verdict = "does not count: too wide" if not one["counts"] else "within 20 %" if one["within"] else "outside 20 %"
    spread = f"{one['low_s']:.3f} to {one['high_s']:.3f}"
    return f"estimated {one['estimate_s']:.3f} s, saved {one['saved_s']:.3f} s ({spread}): {verdict}"


def _why_not(pair: Pair, only: set[str]) -> str:
    from peephole.diagnose.gives_up import exists

    missing = [tool for tool in pair.needs if shutil.which(tool) is None]
    if only and pair.name not in only:
        return "not asked for"
    return f"there is no {', '.join(missing) or pair.rule}" if missing or not exists(pair.rule) else ""


def _say(line: str) -> None:
    print(f"predict: {line}", file=sys.stderr, flush=True)


def _save(path: Path, found: dict[str, Any]) -> None:
    whole = path.with_name(f"{path.name}.new")
    whole.write_text(json.dumps(found, indent=1) + "\n")
    whole.replace(path)
