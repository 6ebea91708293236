"""Reading ahead beside a program: what is read, what never happens, and what becomes of a plan that asks for it."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from peephole import native
from peephole.errors import PlanError
from peephole.improve import ahead, plan_file
from peephole.improve import plan as plans
from peephole.improve.consent import parse
from peephole.observe.capture import write_capture
from peephole.observe.strace import parse as parse_strace
from peephole.trace import Capture, Finding, Meta

PEEPHOLE = [sys.executable, "-m", "peephole"]
FINDING = Finding("cold_reads", "crossing", "p", [1], "/f", [], 100, 0, 0, True, 0, None, ahead.NAME, [], "")
PAGE = 4096


def capture_of(text: str, folder: Path) -> Capture:
    tables = parse_strace(line.encode() for line in text.splitlines())
    meta = Meta([], "import", 0, 0, tables.calls.num_rows, tables.lost)
    return write_capture(folder, tables.calls, tables.processes, tables.gaps, meta)


def pages(path: Path) -> int:
    """How many of a file's first pages are in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    asked, found = (ctypes.c_uint64 * 2)(0, path.stat().st_size), (ctypes.c_uint64 * 5)()
    fd = os.open(path, os.O_RDONLY)
    try:
        if libc.syscall(451, fd, asked, found, 0) != 0:
            pytest.skip("cachestat needs Linux 6.5")
    finally:
        os.close(fd)
    return int(found[0])


def cold_file(path: Path, size: int) -> Path:
    path.write_bytes(b"x" * size)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    return path


def read_ahead(records: list[tuple[str, int, Path]], tmp_path: Path) -> dict[str, Any]:
    """Run the helper on a list, to its end: what it says."""
    listed = tmp_path / "list"
    listed.write_bytes(b"".join(b"%b %d %b\0" % (k.encode(), n, os.fsencode(p)) for k, n, p in records))
    words = [native.path("peephole-ahead"), listed, str(os.getpid())]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)
    return dict(json.loads(done.stdout))


def test_cold_files_are_read_as_far_as_the_list_says(ext4: Path, tmp_path: Path) -> None:
    files = [cold_file(ext4 / f"cold{i}", 3 * PAGE) for i in range(40)]
    assert pages(files[0]) == 0
    said = read_ahead([("f", PAGE, file) for file in files], tmp_path)
    assert said["cold"] == 40 and said["bytes"] == 40 * PAGE and said["ended"] == "done"
    assert all(pages(file) >= 1 for file in files)


def test_it_stops_where_everything_is_warm(ext4: Path, tmp_path: Path) -> None:
    warm = ext4 / "warm"
    warm.write_bytes(b"x" * PAGE)
    said = read_ahead([("f", PAGE, warm)] * 20_000, tmp_path)
    assert said["ended"] == "warm" and said["warm"] < 200 and said["bytes"] == 0


def test_nothing_but_files_and_directories_is_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    opened = threading.Event()

    def write() -> None:
        os.close(os.open(fifo, os.O_WRONLY))
        opened.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    said = read_ahead([("f", 10, fifo), ("f", 10, Path("/dev/null")), ("f", 10, Path("/proc/self/status"))], tmp_path)
    assert not opened.wait(0.2) and said["bytes"] == 0
    os.close(os.open(fifo, os.O_RDONLY))  # lets the writer go
    writer.join(10)


def test_no_access_time_changes(ext4: Path, tmp_path: Path) -> None:
    folder = ext4 / "seldom"
    folder.mkdir()
    file = cold_file(folder / "file", PAGE)
    for path in (file, folder):
        os.utime(path, (1, 2_000_000_000))  # so old that a relatime mount would set it anew
    read_ahead([("d", 0, folder), ("f", PAGE, file)], tmp_path)
    assert file.stat().st_atime == 1 and folder.stat().st_atime == 1


def test_whatever_else_it_might_do_is_its_end(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    done = subprocess.run(
        [native.path("ahead_only"), victim], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    if done.returncode == 77:
        pytest.skip("no seccomp filters here")
    first, *rest = done.stdout.splitlines()
    assert first == "looks done" and len(rest) > 15 and all(line.endswith(" killed") for line in rest), done.stdout
    assert victim.read_text() == "as it was"


def test_it_ends_with_the_program(tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_bytes(b"f 1 /etc/passwd\0")
    with subprocess.Popen(["true"]) as program:
        program.wait()
    words = [native.path("peephole-ahead"), listed, str(program.pid)]
    done = subprocess.run(words, stdin=subprocess.PIPE, capture_output=True, timeout=30)
    assert done.returncode == 1 and b"No such process" in done.stderr


@pytest.mark.parametrize("text", [b"", b"f 1 /etc/passwd", b"\0\0\0", b"x 1 /a\0f -1 /a\0f  /a\0f 1 \0f 1\0"])
def test_a_list_that_is_none_is_not_followed(text: bytes, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_bytes(text)
    words = [native.path("peephole-ahead"), listed, str(os.getpid())]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert (done.returncode == 1) or json.loads(done.stdout)["files"] == 0


RUN = """\
7 chdir("/srv") = 0
7 openat(AT_FDCWD, "src", O_RDONLY|O_DIRECTORY) = 3
7 getdents64(3, 0x5500, 32768) = 72
7 openat(3, "a.c", O_RDONLY) = 4
7 read(4, "x"..., 65536) = 5000
7 read(4, ""..., 65536) = 0
7 close(4) = 0
7 newfstatat(3, "b.c", {st_mode=S_IFREG|0644, st_size=9, ...}, AT_SYMLINK_NOFOLLOW) = 0
7 openat(AT_FDCWD, "/srv/out", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 4
7 dup(3) = 5
7 openat(5, "c.c", O_RDONLY) = 6
7 pread64(6, "x"..., 100, 1000) = 100
7 openat(AT_FDCWD, "/proc/self/maps", O_RDONLY) = 8
7 openat(9, "unknown", O_RDONLY) = 10
7 openat(AT_FDCWD, "gone", O_RDONLY) = -1 ENOENT (No such file or directory)
"""


def test_the_list_has_what_a_run_read_in_its_order(tmp_path: Path) -> None:
    found = ahead.wanted_by(capture_of(RUN, tmp_path / "capture"))
    assert {path.decode(): (one.size, one.listed) for path, one in found.items()} == {
        "/srv": (0, False),
        "/srv/src": (0, True),
        "/srv/src/a.c": (5000, False),
        "/srv/src/b.c": (0, False),
        "/srv/src/c.c": (1100, False),
    }


def planned(tmp_path: Path, allow: str) -> tuple[plans.Plan, list[plans.Declined]]:
    capture = capture_of(RUN, tmp_path / "capture")
    return plans.with_ahead(plans.Plan(consent=str(parse(allow))), [FINDING], capture, tmp_path / "plan.toml")


def test_without_consent_nothing_is_listed(tmp_path: Path) -> None:
    plan, (declined,) = planned(tmp_path, "timing")
    assert plan.ahead is None and declined.missing == ("resources",) and not list(tmp_path.glob("*.ahead"))


def test_a_plan_is_read_with_its_list_or_not_at_all(tmp_path: Path) -> None:
    plan, _ = planned(tmp_path, "resources,timing")
    plan_file.save(plan, tmp_path / "plan.toml")
    assert plan_file.load(tmp_path / "plan.toml").ahead == plan.ahead
    assert plan.ahead is not None
    with plan.ahead.path.open("ab") as file:
        file.write(b"f 1 /etc/shadow\0")
    with pytest.raises(PlanError, match="is not the list"):
        plan_file.load(tmp_path / "plan.toml")
    plan.ahead.path.unlink()
    with pytest.raises(PlanError, match="No such file"):
        plan_file.load(tmp_path / "plan.toml")


def test_a_plan_that_lacks_consent_for_its_list_is_refused(tmp_path: Path) -> None:
    plan, _ = planned(tmp_path, "resources,timing")
    plan_file.save(plan, tmp_path / "plan.toml")
    text = (tmp_path / "plan.toml").read_text()
    (tmp_path / "plan.toml").write_text(text.replace("resources,timing", "timing"))
    with pytest.raises(PlanError, match="gives up resources"):
        plan_file.load(tmp_path / "plan.toml")


def test_improve_reads_ahead_beside_the_command(ext4: Path, tmp_path: Path) -> None:
    cold = cold_file(ext4 / "wanted", 2 * PAGE)
    text = f'7 openat(AT_FDCWD, "{cold}", O_RDONLY) = 3\n7 read(3, "x"..., 8192) = 8192\n'
    capture, path = capture_of(text, tmp_path / "capture"), tmp_path / "plan.toml"
    plan, _ = plans.with_ahead(plans.Plan(consent="resources,timing"), [FINDING], capture, path)
    plan_file.save(plan, path)
    stats = tmp_path / "stats.json"
    words = [*PEEPHOLE, "improve", "--plan", path, "--stats", stats, "--", "sh", "-c", "sleep 0.5; exit 3"]
    done = subprocess.run(words, capture_output=True, timeout=60)
    assert done.returncode == 3 and not done.stdout and not done.stderr
    told = json.loads(stats.read_text())["ahead"]
    assert told["rule"] == "prefetch_cold" and told["cold"] == 1 and told["ended"] == "done"
    assert pages(cold) == 2


def test_by_name_alone_it_says_what_it_needs() -> None:
    done = subprocess.run(
        [*PEEPHOLE, "improve", "--rules", "prefetch_cold", "--allow", "all", "--", "true"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 125 and "--plan" in done.stderr and "Traceback" not in done.stderr


def test_its_page_says_that_nothing_is_proved() -> None:
    said = subprocess.check_output([*PEEPHOLE, "rules", "prefetch_cold"], text=True)
    assert "gives up    resources, timing" in said and "seccomp" in said
    done = subprocess.run([*PEEPHOLE, "prove", "prefetch_cold"], capture_output=True, text=True)
    assert done.returncode == 2 and "rewrites nothing" in done.stderr


def test_evaluate_runs_it_beside_the_improved_side_only(ext4: Path, tmp_path: Path) -> None:
    cold = cold_file(ext4 / "evaluated", PAGE)
    text = f'7 openat(AT_FDCWD, "{cold}", O_RDONLY) = 3\n7 read(3, "x"..., 4096) = 4096\n'
    path = tmp_path / "plan.toml"
    capture = capture_of(text, tmp_path / "capture")
    plan, _ = plans.with_ahead(plans.Plan(consent="resources,timing"), [FINDING], capture, path)
    plan_file.save(plan, path)
    out = tmp_path / "out"
    words = [*PEEPHOLE, "evaluate", "--json", "--plan", path, "-n", "1", "-o", out, "--", "sleep", "0.2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    result = json.loads(done.stdout)
    (rule,) = result["rules"]
    assert rule["name"] == "prefetch_cold" and rule["why_not"]["killed"] == 0
    assert rule["hits"] + rule["why_not"]["warm"] >= 1
    assert {one["guarantee"] for one in result["given_up"]} == {"resources", "timing"}
    assert sorted(path.parent.name for path in (out / "runs").glob("*/beside.stdout")) == ["00-B", "01-B"]
