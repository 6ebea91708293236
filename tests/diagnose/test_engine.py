"""From captures to findings: what is said, what is left out, what is withheld."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from helpers_capture import PRICES, capture_of

from peephole.diagnose import duck
from peephole.diagnose.detectors import detectors, example
from peephole.diagnose.engine import Diagnosis, diagnose
from peephole.diagnose.gives_up import exists, gives_up
from peephole.diagnose.objects import Objects, readable
from peephole.diagnose.prices import Price, Prices
from peephole.diagnose.tables import INERT, ON_DESCRIPTOR, tables_of
from peephole.observe.capture import open_capture, schema, write_capture
from peephole.trace import CALL_COLUMNS, GAP_COLUMNS, PROCESS_COLUMNS, Capture, Finding, Meta


def _copy(n: int, folder: str = "/mnt/copy") -> list[bytes]:
    lines = [b'7  1700000001.999 execve("/usr/bin/cp", ["cp"], 0x7f) = 0 <0.0001>\n']
    for i in range(n):
        at = 1_700_000_002 + i * 0.001
        lines.append(f'7  {at:.6f} stat("{folder}/{i}", {{st_mode=S_IFREG|0644, st_size=9}}) = 0 <0.0001>\n'.encode())
        lines.append(f'7  {at + 0.0002:.6f} open("{folder}/{i}", O_WRONLY|O_TRUNC) = 3 <0.0001>\n'.encode())
        lines.append(f'7  {at + 0.0004:.6f} write(3, "x", 1) = 1 <0.0001>\n'.encode())
        lines.append(f"7  {at + 0.0006:.6f} close(3) = 0 <0.0001>\n".encode())
    return lines


def _with_gap(capture: Capture, after_ns: int | None, before_ns: int | None) -> None:
    import pyarrow.parquet as pq

    gap = {"cpu": [0], "after_ns": [after_ns], "before_ns": [before_ns], "missing": [5]}
    pq.write_table(pa.table(gap, schema=schema(GAP_COLUMNS)), capture.gaps)


def _of(diagnosis: Diagnosis, slug: str = "truncating_overwrite") -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if finding.slug == slug]
    return finding


def test_files_of_one_folder_are_one_finding_with_its_saving(tmp_path: Path) -> None:
    found = diagnose([capture_of(_copy(200), tmp_path / "c")], PRICES)
    finding = _of(found)
    assert (finding.slug, finding.program, finding.calls) == ("truncating_overwrite", "cp", 200)
    assert finding.object == "/mnt/copy/** (200 files)"
    assert (finding.rule, finding.kind, finding.pids) == ("truncate_in_place", "guarantee", [7])
    assert finding.saving is not None
    assert finding.saving.ns == 200 * (50_000 - 60)
    assert finding.saving.low < finding.saving.ns < finding.saving.high
    assert finding.kernel_ns == 200 * 50_000 and finding.kernel_ns_estimated
    assert "visibility" in finding.gives_up


def test_captures_of_one_program_are_counted_together(tmp_path: Path) -> None:
    captures = [capture_of(_copy(100), tmp_path / name) for name in ("a", "b")]
    assert _of(diagnose(captures, PRICES)).calls == 200


def test_too_few_calls_are_not_worth_saying(tmp_path: Path) -> None:
    assert diagnose([capture_of(_copy(20), tmp_path / "c")], PRICES).findings == []


def test_a_saving_below_one_percent_of_the_programs_time_is_not_worth_saying(tmp_path: Path) -> None:
    work = b"7  1700009000.0 getpid() = 7 <0.0001>\n"
    assert diagnose([capture_of([*_copy(200), work], tmp_path / "c")], PRICES).findings == []


def test_waiting_is_not_the_programs_time(tmp_path: Path) -> None:
    wait = b"7  1700000003.0 poll(NULL, 0, -1) = 0 <8000.0>\n"
    assert _of(diagnose([capture_of([*_copy(200), wait], tmp_path / "c")], PRICES)).calls == 200


def test_what_rests_on_a_gap_is_withheld_and_counted(tmp_path: Path) -> None:
    capture = capture_of(_copy(200), tmp_path / "c")
    _with_gap(capture, 1_700_000_002_050_000_000, 1_700_000_002_099_990_000)
    found = diagnose([capture], PRICES)
    assert found.withheld == 100, "the overwrites, and the examinations before them"
    assert _of(found).calls == 150


def test_a_gap_of_unknown_time_withholds_everything(tmp_path: Path) -> None:
    capture = capture_of(_copy(200), tmp_path / "c")
    _with_gap(capture, None, None)
    found = diagnose([capture], PRICES)
    assert (found.withheld, found.findings) == (400, [])


def test_a_cut_log_keeps_what_ended_before_the_cut(tmp_path: Path) -> None:
    capture = capture_of([*_copy(200), b'7  1700000002.9 read(3, "x'], tmp_path / "c")
    found = diagnose([capture], PRICES)
    assert (found.lost, found.withheld) == (1, 0)
    assert _of(found).calls == 200


def test_a_file_that_another_process_opened_is_advice_only(tmp_path: Path) -> None:
    lines = [b'7  open("out", O_WRONLY|O_CREAT) = 3\n', b"7  fork() = 8\n", b"8  getpid() = 8\n"]
    lines += [b'8  write(3, "line\\n", 5) = 5\n'] * 500
    (finding,) = diagnose([capture_of(lines, tmp_path / "c")], PRICES).findings
    assert (finding.slug, finding.rule, finding.calls) == ("small_writes", None, 500)
    assert "another process" in finding.advice


def test_a_file_that_the_process_opened_before_an_exec_is_its_own(tmp_path: Path) -> None:
    lines = [b'7  open("out", O_WRONLY|O_CREAT) = 3\n', b'7  execve("/usr/bin/grep", ["grep"], 0x7f) = 0\n']
    lines += [b'7  write(3, "line\\n", 5) = 5\n'] * 500
    (finding,) = diagnose([capture_of(lines, tmp_path / "c")], PRICES).findings
    assert (finding.slug, finding.rule, finding.program) == ("small_writes", "coalesce_writes", "grep")


def test_new_files_are_no_finding(tmp_path: Path) -> None:
    lines = []
    for i in range(300):
        lines += [f'open("/d/{i}", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3\n'.encode()]
        lines += [b'write(3, "x", 1) = 1\n', b"close(3) = 0\n"]
    assert diagnose([capture_of(lines, tmp_path / "c")], PRICES).findings == []


def test_many_calls_are_first_sorted_by_name_and_stay_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for d in detectors().values() for text in d.fires.values()]
    capture = capture_of([line for text in texts for line in example(text)], tmp_path / "c")
    seen = []
    for many in (duck.MANY_CALLS, 0):
        monkeypatch.setattr(duck, "MANY_CALLS", many)
        with tables_of(capture) as tables:
            rows = tables.calls.to_pyarrow().to_pylist()
        seen.append(sorted((sorted(row.items()) for row in rows), key=str))
    assert seen[0] == seen[1] and len(seen[0]) == capture.meta.events


def test_hostile_names_are_shown_as_text() -> None:
    assert readable("/a\\x1B[31m\\xC3\\xA9\\xFF") == "/a\\x1b[31mé\\xff"


def test_trees_are_named_by_what_their_folders_share() -> None:
    objects = Objects()
    objects.add("/mnt/copy/a/", "/mnt/copy/a/1", 3)
    objects.add("/mnt/copy/b/c/", "/mnt/copy/b/c/1", 4)
    assert objects.name() == "/mnt/copy/** (7 files)"


def test_what_a_rule_gives_up_is_read_from_its_text() -> None:
    assert {"visibility", "survival"} <= set(gives_up("coalesce_writes"))
    assert gives_up("no_such_rule") == []
    # By the names that --allow takes; a rule that gives up nothing has an empty list.
    assert "append-atomicity" in gives_up("coalesce_writes") and gives_up("memo_identity") == []


def test_classes_of_calls_are_those_of_the_dispatcher() -> None:
    import re

    text = (Path(__file__).parents[2] / "core" / "runtime" / "calls.def").read_text()
    classes = dict(re.findall(r"^PH_CALL\(\d+, (\w+), (\w+),", text, re.M))
    assert {name for name, kind in classes.items() if kind == "INERT"} == set(INERT)
    assert {classes[name] for name in ON_DESCRIPTOR} <= {"FD", "DUP", "CLOSE"}


def test_a_rule_that_there_is_none_of_is_only_advice(tmp_path: Path) -> None:
    lines = [b'7  open("db", O_RDWR|O_CREAT) = 3\n', *[b'7  write(3, "x", 1) = 1\n', b"7  fdatasync(3) = 0\n"] * 200]
    finding = _of(diagnose([capture_of(lines, tmp_path / "c")], PRICES), "sync_per_commit")
    if exists("sync_window"):
        assert finding.rule == "sync_window"
    else:
        assert finding.rule is None and finding.gives_up == []
        assert "sync_window, which would do it, is not part of this Peephole" in finding.advice


def test_findings_that_save_too_little_together_are_not_worth_saying(tmp_path: Path) -> None:
    work = b"7  1700000700.0 getpid() = 7 <0.0001>\n"  # 600 s, of which strace leaves a twentieth: 30 s
    prices = Prices("example", {**PRICES.of, "stat": Price(2_000_000, 2_000_000, 2_000_000)})
    capture = capture_of([*_copy(200), work], tmp_path / "c")
    assert diagnose([capture], prices).findings == [], "0.4 s of 30 are more than 1 % and less than 5 %"
    assert diagnose([capture], Prices("dear", {**prices.of, "stat": Price(9e6, 9e6, 9e6)})).findings != []


def test_calls_in_a_tight_loop_are_priced_as_in_a_bare_loop(tmp_path: Path) -> None:
    prices = {name: Price(p.ns, p.low, p.high, p.ns / 2) for name, p in PRICES.of.items()}
    prices |= {"work": Price(10_000, 10_000, 10_000), "passed": Price(200, 200, 200)}
    saved = {}
    for gap in (1, 12):  # microseconds
        lines = [f'7 1700000000.{at * gap:06} read(3, "x", 64) = 64\n'.encode() for at in range(1, 4000)]
        capture = capture_of([b'7 1700000000.0 open("a", O_RDONLY) = 3\n', *lines], tmp_path / str(gap))
        meta = capture.folder / "meta.json"
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "engine": "ebpf"}))
        diagnosis = diagnose([open_capture(capture.folder)], Prices("example", prices))
        saved[gap] = next(f.saving.ns for f in diagnosis.findings if f.slug == "small_reads" and f.saving)
    assert saved[1] < 0.6 * saved[12]


def test_without_times_a_program_is_not_judged_by_its_time(tmp_path: Path) -> None:
    lines = [b'7  open("a", O_RDONLY) = 3\n', *[b"7  poll(NULL, 0, 1) = 0\n", b"7  lseek(3, 0, SEEK_CUR) = 0\n"] * 100]
    diagnosis = diagnose([capture_of(lines, tmp_path / "c")], PRICES)
    assert diagnosis.programs == {"?": None}
    assert _of(diagnosis, "known_position").calls == 100


def test_what_could_not_be_priced_claims_no_saving(tmp_path: Path) -> None:
    prices = Prices("here", {name: price for name, price in PRICES.of.items() if name != "overwrite_call"})
    assert "truncating_overwrite" not in {
        f.slug for f in diagnose([capture_of(_copy(200), tmp_path / "c")], prices).findings
    }


@pytest.mark.slow
def test_a_million_calls_are_diagnosed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rounds = 250_000
    n = 4 * rounds
    kind = np.tile(np.arange(4), rounds)
    names = np.array(["newfstatat", "openat", "write", "close"])[kind]
    file = np.repeat(np.arange(rounds), 4)
    columns: dict[str, object] = dict.fromkeys(CALL_COLUMNS)
    ns = np.arange(n) * 2000
    paths = pa.array([f"/data/{i % 1000}/{i}".encode() for i in range(rounds)]).take(pa.array(file))
    on_file = kind > 0
    columns.update(seq=np.arange(n), pid=np.full(n, 7), tid=np.full(n, 7), image=np.full(n, 1), exit_ns=ns)
    columns.update(name=pa.array(names).dictionary_encode(), a0=np.full(n, -100), a2=np.full(n, 0o1001))
    columns.update(ret=np.array([0, 3, 100, 0])[kind], ofd=pa.array(file + 1, mask=~on_file))
    columns.update(dev=pa.array(np.full(n, 9), mask=~on_file), ino=pa.array(file + 2, mask=~on_file))
    columns.update(
        ftype=pa.array(np.full(n, 8), mask=~on_file), size=pa.array(np.array([0, 0, 100, 0])[kind], mask=kind == 0)
    )
    columns["path"] = pa.array(paths, mask=None)
    columns["compat"] = np.zeros(n, bool)
    kinds = schema(CALL_COLUMNS)
    made = [
        pa.nulls(n, kinds.field(name).type) if value is None else _as(value, kinds.field(name).type)
        for name, value in columns.items()
    ]
    calls = pa.table(made, schema=kinds)
    process = {name: [None] for name in PROCESS_COLUMNS} | {"image": [1], "pid": [7], "exe": [b"/bin/copier"]}
    capture = write_capture(
        tmp_path / "c",
        calls,
        pa.table(process, schema=schema(PROCESS_COLUMNS)),
        pa.table({name: [] for name in GAP_COLUMNS}, schema=schema(GAP_COLUMNS)),
        Meta([], "ebpf", 0, int(ns[-1]), n, 0),
    )
    start = time.monotonic()
    found = diagnose([capture], PRICES)
    with capsys.disabled():
        print(f"\n{n} calls diagnosed in {time.monotonic() - start:.1f} s")
    assert _of(found).calls == rounds
    assert _of(found).object == f"/data/** ({rounds} files)"


def _as(value: object, kind: pa.DataType) -> pa.Array:
    array = value if isinstance(value, pa.Array) else pa.array(value)
    return array.cast(kind)
