"""The benches' results in the documentation, and the paper's sequences."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench.images import KINDS, NoImage, file_system
from bench.servers import compiled

from bench import paper, results


def test_the_results_page_is_what_the_result_files_say() -> None:
    said = (results.DOCS / "results.md").read_text()
    assert said == results.results_page(), "docs/results.md is stale: run python -m bench.results"


def test_the_papers_tables_are_what_the_result_file_says() -> None:
    said = (results.DOCS / "paper.md").read_text()
    assert said == results.paper_page(said), "docs/paper.md is stale: run python -m bench.results"


def test_loads_that_gain_nothing_have_a_row() -> None:
    found = {
        "figures": {
            "a.verdict": "gain", "a.cpu_ratio": 0.5, "b.verdict": "no-gain", "b.cpu_ratio": 1.0,
            "c.cpu_ratio": 0.99, "d.verdict": "no-gain", "wrong_bytes": 0,
        },
        "conditions": {"kernel": "6.1", "load_average": 3.0},
    }  # fmt: skip
    text = results.section("squid", found)
    assert "| a | gain | 0.50 |" in text and "| b | no gain | 1.00 |" in text
    assert "| c | no gain | 0.99 |" in text and "| d | no gain | - |" in text
    assert "wrong bytes: 0" in text and "kernel 6.1" in text and "other work ran on the machine" in text


def test_the_papers_private_mapping_loses_the_data_and_a_shared_one_does_not(tmp_path: Path) -> None:
    program = compiled(paper.SOURCE, tmp_path)
    found = paper.equivalent(program, tmp_path)
    for table, (write, private, shared) in paper.TABLES.items():
        assert found[f"table{table}.{write}"] and found[f"table{table}.{shared}"]
        assert not found[f"table{table}.{private}"]
    # As printed, nothing of what was copied reaches the file; where it grows, only what was written after the mapping.
    assert set(paper.left_behind(program, 1, "map_private", tmp_path)) == set(b"o")
    grown = paper.left_behind(program, 2, "cases_private", tmp_path)
    half = paper.BYTES // 2
    assert grown[:half] == b"o" * half and set(grown[half:]) == set(b"3")


def test_a_table_stands_in_the_papers_form() -> None:
    one = paper.Times(write_s=0.6, mmap_s=0.3, main_s=0.1, ratio=0.5, cpu_ratio=0.5)
    lines = paper.table_text(1, one).splitlines()
    assert lines[0].split() == ["%", "time", "inclusive", "exclusive", "calls", "us/call", "name"]
    assert lines[1].split() == ["60.00", "0.6000", "0.6000", "10000", "60.0", "openWriteCloseTest"]
    assert lines[2].split() == ["30.00", "0.9000", "0.3000", "10000", "30.0", "mmapTest"]
    assert lines[3].split()[:3] == ["10.00", "1.0000", "0.1000"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("kind", ["tmpfs", "ext4_noauto_da_alloc"])
def test_file_systems_are_mounted_and_gone_afterwards(kind: str) -> None:
    assert kind in KINDS
    try:
        with file_system(kind, 64 << 20 if kind == "tmpfs" else 160 << 20) as point:
            (point / "file").write_text("x")
            mine = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(point) in line]
            assert len(mine) == 1 and (kind == "tmpfs" or "noauto_da_alloc" in mine[0])
    except NoImage as e:
        pytest.skip(str(e))
    assert str(point) not in Path("/proc/self/mounts").read_text()
    assert not point.exists()
