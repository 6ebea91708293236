"""The bench of verdicts counts what was wrong, and goes on where it was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import verdicts


def one(kind: str, verdict: str, seed: int) -> dict[str, object]:
    return {"program": "spin", "kind": kind, "seed": seed, "verdict": verdict, "pairs": 10, "repeat": 2}


def test_a_loss_between_equals_is_wrong_and_only_a_gain_is_found() -> None:
    found = verdicts.figures_of(
        [one("aa", "no-gain", 0), one("aa", "loss", 1), one("effect", "gain", 0), one("effect", "no-gain", 1)]
    )
    assert (found["aa_runs"], found["aa_false"]) == (2, 1)
    assert (found["effect_runs"], found["effect_found"]) == (2, 1)
    assert found["spin.aa_pairs"] == 10


def test_what_an_interrupted_run_had_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEEPHOLE_VERDICTS_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PEEPHOLE_VERDICTS", "2:spin")
    for seed in range(2):
        verdicts.keep(one("aa", "no-gain", seed), seed + 1, 2)
    asked: list[tuple[float, int]] = []
    monkeypatch.setattr(
        verdicts, "evaluate", lambda _, __, effect, seed: asked.append((effect, seed)) or ("gain", 10, 1)
    )
    assert verdicts.measure()["figures"]["effect_found"] == 2
    assert asked == [(verdicts.EFFECT, 0), (verdicts.EFFECT, 1)]
