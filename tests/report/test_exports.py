"""Each export, read again by its own format's reader."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from peephole.observe import ebpf
from peephole.observe.capture import write_capture
from peephole.observe.launch import Launch
from peephole.observe.strace import parse
from peephole.report.exports import chrome, folded, perfetto, speedscope, strace
from peephole.trace import Capture, Meta

LOG = r"""
100 1600001000.000000 execve("/bin/sh", ["sh", "-c", "a \"b\""], NULL) = 0 <0.000100>
100 1600001000.000200 openat(AT_FDCWD, "/tmp/a\nb\377", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3 <0.000010>
100 1600001000.000300 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 101 <0.000050>
101 1600001000.000400 read(3, 0x7ffe0000, 100) = 0 <0.000005>
101 1600001000.000420 exit_group(3) = ?
101 1600001000.000430 +++ exited with 3 +++
100 1600001000.000500 write(3, 0x7ffe0000, 5) = -1 ENOSPC (No space left on device) <0.000020>
100 1600001000.000600 wait4(-1, NULL, WNOHANG, NULL) = 101 <0.000007>
100 1600001000.000700 exit_group(0) = ?
100 1600001000.000710 +++ exited with 0 +++
"""
TIMED = 6  # calls that came back


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    return captured(LOG.encode(), tmp_path / "capture")


def captured(text: bytes, place: Path) -> Capture:
    tables = parse(text.lstrip().splitlines(keepends=True))
    meta = Meta(["sh", "-c", 'a "b"'], "import", 0, 1, tables.calls.num_rows, 0)
    return write_capture(place, tables.calls, tables.processes, tables.gaps, meta)


def written(module: Any, capture: Capture) -> bytes:
    out = io.BytesIO()
    module.write(capture, out)
    return out.getvalue()


def test_perfetto_s_library_reads_the_spans(capture: Capture) -> None:
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

    trace = Trace()
    trace.ParseFromString(written(perfetto, capture))
    names: dict[int, str] = {}
    tracks: dict[int, tuple[int, int]] = {}
    processes, open_spans, spans = {}, {}, []
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        names |= {name.iid: name.name for name in packet.interned_data.event_names}
        described = packet.track_descriptor
        if described.HasField("process"):
            processes[described.process.pid] = (described.process.process_name, list(described.process.cmdline))
        elif described.HasField("thread"):
            tracks[described.uuid] = (described.thread.pid, described.thread.tid)
        if packet.HasField("track_event"):
            event = packet.track_event
            if event.type == TrackEvent.TYPE_SLICE_BEGIN:
                said = {note.name: note.string_value or note.int_value for note in event.debug_annotations}
                open_spans[event.track_uuid] = (names[event.name_iid], packet.timestamp, said)
            else:
                name, start, said = open_spans.pop(event.track_uuid)
                spans.append((name, tracks[event.track_uuid], start, packet.timestamp - start, said))
    assert not open_spans and len(spans) == TIMED
    assert processes[100] == ("sh", ["sh", "-c", 'a "b"'])
    assert spans[1][:4] == ("openat", (100, 100), 1600001000000200000, 10000)
    assert spans[1][4]["call"] == r'openat(AT_FDCWD, "/tmp/a\nb\377", O_RDWR|O_CREAT|O_CLOEXEC, 0644) = 3'
    assert next(s for s in spans if s[0] == "write")[4]["ret"] == -28


def test_chrome_s_events_are_json_with_all_that_a_viewer_needs(capture: Capture) -> None:
    trace = json.loads(written(chrome, capture))
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(spans) == TIMED and {"name", "pid", "tid", "ts", "dur", "cat"} <= spans[0].keys()
    opened = next(event for event in spans if event["name"] == "openat")
    assert (opened["ts"], opened["dur"], opened["args"]["path"]) == (1600001000000200.0, 10.0, "/tmp/a\nb\\xff")
    named = {event["pid"]: event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert named == {100: "sh", 101: "sh"}


def test_speedscope_s_profile_adds_up(capture: Capture) -> None:
    whole = json.loads(written(speedscope, capture))
    assert whole["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    (profile,) = whole["profiles"]
    frames = [frame["name"] for frame in whole["shared"]["frames"]]
    assert profile["type"] == "sampled" and profile["unit"] == "nanoseconds" and profile["startValue"] == 0
    assert len(profile["samples"]) == len(profile["weights"]) and sum(profile["weights"]) == profile["endValue"]
    by_name = {frames[stack[-1]]: weight for stack, weight in zip(profile["samples"], profile["weights"], strict=True)}
    assert by_name["write"] == 20000 and by_name["execve"] == 100000
    assert all(0 <= frame < len(frames) for stack in profile["samples"] for frame in stack)


def test_folded_lines_are_a_stack_and_a_number(capture: Capture) -> None:
    lines = written(folded, capture).decode().splitlines()
    stacks = {tuple(stack.split(";")): int(weight) for stack, _, weight in (line.rpartition(" ") for line in lines)}
    assert stacks[("sh", "read")] == 5000 and stacks[("sh", "wait4")] == 7000


def test_strace_s_text_is_imported_again_as_the_same_calls(capture: Capture, tmp_path: Path) -> None:
    text = written(strace, capture)
    again = captured(text, tmp_path / "again")
    assert table(again) == table(capture)
    assert b"+++ exited with 3 +++" in text


def table(capture: Capture) -> list[Any]:
    import pyarrow.parquet as pq

    names = ["name", "pid", "tid", "ret", "path", "enter_ns", "exit_ns", "a0", "a1", "a2", "ofd"]
    found = pq.read_table(capture.calls, columns=names).to_pylist()
    # a clone's flags are told by name in a log, and by register in what is written of it
    return [{k: v for k, v in row.items() if row["name"] != "clone" or k[0] != "a"} for row in found]


@pytest.mark.root
def test_a_recorded_capture_goes_through_every_export(tmp_path: Path) -> None:
    if os.geteuid() or ebpf.why_not():
        pytest.skip("BPF needs root")
    launch = Launch(["sh", "-c", "ls -l / | wc -l; true"], stdout=subprocess.DEVNULL)
    capture, code = ebpf.record(launch, tmp_path / "capture")
    assert code == 0
    counts = {m.__name__.rpartition(".")[2]: m.write(capture, io.BytesIO()) for m in (chrome, perfetto, strace)}
    assert counts["strace"] == capture.meta.events and counts["chrome"] == counts["perfetto"]
    weights = [line.rpartition(" ")[2] for line in written(folded, capture).decode().splitlines()]
    assert sum(map(int, weights)) == capture.meta.events
    again = captured(written(strace, capture), tmp_path / "again")
    import pyarrow.parquet as pq

    before, after = (pq.read_table(c.calls, columns=["name"])["name"].to_pylist() for c in (capture, again))
    assert Counter(before) == Counter(after)


def test_the_command_line_writes_a_private_file_and_refuses_what_it_does_not_know(
    capture: Capture, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from peephole.cli.export import command

    out = tmp_path / "trace"
    done = CliRunner().invoke(command, [str(capture.folder), "--to", "chrome", "-o", str(out)])
    assert done.exit_code == 0 and out.stat().st_mode & 0o777 == 0o600
    assert json.loads(out.read_bytes())["traceEvents"]
    assert CliRunner().invoke(command, [str(capture.folder), "--to", "word", "-o", str(out)]).exit_code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["capture", "trace"]
