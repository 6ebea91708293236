"""Where prices are measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from peephole.diagnose import calibrate
from peephole.diagnose.detectors import detectors
from peephole.diagnose.gives_up import exists
from peephole.diagnose.prices import FREE, Price, Prices, with_lines
from peephole.errors import EngineError


def _no_rule(name: str) -> AbstractContextManager[Mapping[str, str]]:
    raise EngineError("no rule can be brought in")


@pytest.mark.parametrize("place", ["/proc/self/fd", "/sys/devices", "/sys/class", "/proc"])
def test_a_file_system_that_holds_no_files_has_the_prices_of_the_temporary_folder(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def measured(mount: dict[str, object], folder: Path, with_rule: calibrate.WithRule) -> calibrate.Prices:
        asked.append(folder)
        return calibrate.Prices("there", {})

    monkeypatch.setattr(calibrate, "_load", lambda key: None)
    monkeypatch.setattr(calibrate, "_measured", measured)
    calibrate.prices_for.cache_clear()
    calibrate.prices_for(place, _no_rule)
    calibrate.prices_for.cache_clear()
    assert asked == [Path(tempfile.gettempdir())]


def test_two_sizes_give_the_price_of_a_call_and_of_a_byte() -> None:
    of = with_lines({"write_64": Price(464, 400, 500), "write_2048": Price(2448, 2400, 2500), "stat": Price(1, 1, 1)})
    assert (of["write_call"].ns, of["write_byte"].ns) == (400, 1)
    ruled = with_lines({f"r:{name}": price for name, price in of.items()})
    assert ruled["r:write_call"] == of["write_call"]
    assert "write_call" not in with_lines({"write_64": Price(1, 1, 1)})


def test_a_program_that_works_little_between_its_calls_pays_nearly_the_bare_price() -> None:
    prices = Prices("here", {"work": Price(1000, 1000, 1000, 1000), "stat": Price(600, 500, 800, 400)})
    assert prices["stat"].ns == 600 and prices.bare()["stat"].ns == 400
    assert prices.paid_by(250)["stat"] == Price(450, 350, 650)
    assert prices.paid_by(5000)["stat"].ns == prices.paid_by(None)["stat"].ns == 600
    of = with_lines({"read_64": Price(464, 464, 464, 364), "read_2048": Price(2448, 2448, 2448, 2348)})
    assert of["read_call"].of_share(0).ns == 300


def test_where_no_rule_can_be_brought_in_what_it_does_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calibrate, "_calls", lambda folder, names, env: {"getpid": Price(9, 9, 9)})
    found = Prices("here", calibrate.measure(tmp_path, _no_rule))
    assert found["answered"] == FREE and found["coalesce_writes:start"] == FREE
    assert found.has(["getpid", "memo_identity:getpid"]) and not found.has(["stat"])
    assert "no rule can be brought in" in caplog.text


#: these answer only what a command before has asked: one process alone shows no price
ACROSS = ("cache_stat",)


def test_what_a_rule_makes_of_a_call_is_measured_with_that_rule() -> None:
    handled = calibrate.handled()
    assert set(handled["coalesce_writes"]) == {"write_64", "write_2048"}
    for detector in detectors().values():
        ruled = {name.partition(":")[0] for name in detector.after if ":" in name}
        together = "+".join(sorted(filter(None, (detector.rule, *detector.needs))))
        assert ruled <= {together}, detector.slug
        if detector.rule and exists(detector.rule) and detector.rule not in ACROSS and not detector.waiting:
            assert ruled, detector.slug
