"""Calls that several detectors name: the time of each is saved once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from helpers_capture import PRICES, capture_of

from peephole.diagnose.engine import diagnose
from peephole.diagnose.prices import Price
from peephole.trace import Finding

SYNC_NS = PRICES.of["fsync"].ns - 60  # a sync that a rule answers


def _saves(n: int) -> list[bytes]:
    """A file in /tmp is written, synced twice and renamed over the old one, again and again."""
    lines = []
    for i in range(n):
        lines += [f'7 open("/tmp/{i}.new", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3\n', '7 write(3, "x", 1) = 1\n']
        lines += ["7 fsync(3) = 0\n"] * 2 + ["7 close(3) = 0\n", f'7 rename("/tmp/{i}.new", "/tmp/{i}") = 0\n']
    return [line.encode() for line in lines]


def _syncs(findings: list[Finding]) -> list[Finding]:
    return [f for f in findings if "sync" in f.slug]


def test_a_sync_that_four_detectors_name_is_saved_once(tmp_path: Path) -> None:
    found = _syncs(diagnose([capture_of(_saves(100), tmp_path / "c")], PRICES).findings)
    assert sum(f.calls for f in found) == 200, "as many as there are"
    assert sum(f.saving.ns for f in found if f.saving) == 200 * SYNC_NS
    (first,) = [f for f in found if f.slug == "scratch_sync"]
    assert first.calls == 200, "it names all of them"
    assert first.overlaps == {"repeated_sync": 100, "fsync_before_rename": 100, "scattered_syncs": 99}


def test_who_can_be_applied_counts_the_call_and_advice_the_rest(tmp_path: Path) -> None:
    # 100-byte pieces are read and written: two rules take the reads and the writes, and of the copy nothing is left.
    lines = [b'7 open("/a/in", O_RDONLY) = 3\n', b'7 open("/a/out", O_WRONLY|O_CREAT|O_EXCL, 0600) = 4\n']
    lines += [b'7 read(3, "x"..., 100) = 100\n', b'7 write(4, "x"..., 100) = 100\n'] * 500
    dear = {**PRICES.of, "pread_4096": Price(9000, 9000, 9000)}
    found = {f.slug: f for f in diagnose([capture_of(lines, tmp_path / "c")], type(PRICES)("x", dear)).findings}
    assert found["small_reads"].calls == 500 and found["small_reads"].rule == "read_window"
    assert found["small_reads"].overlaps == {"copy_loop": 500}
    assert "copy_loop" not in found


def test_a_finding_that_shares_a_part_keeps_the_rest(tmp_path: Path) -> None:
    lines = [b'7 open("/d/log", O_RDWR|O_CREAT, 0600) = 3\n']
    lines += [b'7 write(3, "x", 1) = 1\n', b"7 fsync(3) = 0\n"] * 300
    lines += [b"7 fsync(3) = 0\n"] * 100
    found = {f.slug: f for f in diagnose([capture_of(lines, tmp_path / "c")], PRICES).findings}
    assert found["repeated_sync"].calls == 100 and found["repeated_sync"].overlaps == {}
    assert found["sync_per_commit"].calls == 300


def test_what_no_other_detector_names_is_counted_whole(tmp_path: Path) -> None:
    lines = [b'7 stat("/etc/localtime", {st_mode=S_IFREG|0644, st_size=114, ...}) = 0\n'] * 200
    (finding,) = diagnose([capture_of(lines, tmp_path / "c")], PRICES).findings
    assert (finding.slug, finding.calls, finding.overlaps) == ("repeated_stat", 199, {})
