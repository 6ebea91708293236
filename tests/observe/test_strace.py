"""Strace text: invented lines for each form, and logs of real programs under the real strace."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.errors import CaptureError
from peephole.observe.strace import Tables, parse
from peephole.observe.strace_args import number, split, string
from peephole.observe.strace_files import SHAPES

ROOT = Path(__file__).parents[2]
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def _parse(text: str) -> Tables:
    return parse(line.encode() + b"\n" for line in text.strip("\n").splitlines())


def _rows(text: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = _parse(text).calls.to_pylist()
    return rows


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"O_WRONLY|O_CREAT|O_TRUNC", 0o1101),
        (b"0644", 0o644),
        (b"AT_FDCWD</root>", -100),
        (b"3</tmp/a b>", 3),
        (b"0</dev/pts/0<char 136:0>>", 0),
        (b"5<TCP:[127.0.0.1:1->127.0.0.1:2]>", 5),
        (b"0x7fffffffffff", 0x7FFFFFFFFFFF),
        (b"0xffffffffffffffff", -1),
        (b"8192*1024", 8192 * 1024),
        (b"BTRFS_IOC_CLONE or FICLONE", 0x40049409),
        (b"SEEK_END", 2),
        (b"NULL", 0),
        (b"0x7ffe /* 35 vars */", 0x7FFE),
        (b'"text"', None),
        (b"{st_mode=1}", None),
        (b"NO_SUCH_FLAG", None),
    ],
)
def test_an_argument_is_the_number_that_the_register_held(text: bytes, value: int | None) -> None:
    assert number(text) == value


def test_arguments_are_split_outside_of_quotes_and_brackets() -> None:
    text = rb'3</a, b>, "x, \"y)", [{iov_base="a, b", iov_len=3}], {a=1, b=[2, 3]}, 0x1'
    assert split(text) == [b"3</a, b>", rb'"x, \"y)"', b'[{iov_base="a, b", iov_len=3}]', b"{a=1, b=[2, 3]}", b"0x1"]


def test_a_string_is_unescaped_and_a_cut_one_is_unknown() -> None:
    assert string(rb'"a\n\"\\\1772\xe9\0"') == b'a\n"\\\x7f2\xe9\0'
    assert string(b'"cut"...') is None


def test_every_kind_of_time_is_understood() -> None:
    stamps = {
        "10:00:01 ": 36_001 * 10**9,
        "10:00:01.500000 ": 36_001_500_000_000,
        "1795491482.716417 ": 1_795_491_482_716_417_000,
        "     0.000007 ": 7000,
        "10:00:01 (+     0.000000) ": 36_001 * 10**9,
        "": None,
    }
    for stamp, enter_ns in stamps.items():
        (row,) = _rows(f"{stamp}getpid() = 7")
        assert row["enter_ns"] == enter_ns, stamp


def test_midnight_does_not_turn_time_back() -> None:
    first, second = _rows("23:59:59 getpid() = 7\n00:00:01 getpid() = 7")
    assert int(str(second["enter_ns"])) - int(str(first["enter_ns"])) == 2 * 10**9


def test_number_and_instruction_pointer_are_taken_and_stepped_over() -> None:
    (row,) = _rows('12  1.5 [ 257] [00007f5e3b2ad1b7] openat(AT_FDCWD, "x", O_RDONLY) = -1 ENOENT (No such) <0.000004>')
    assert (row["tid"], row["ip"], row["ret"], row["nr"]) == (12, 0x7F5E3B2AD1B7, -2, 257)
    assert row["exit_ns"] == 1_500_004_000


def test_a_call_in_two_pieces_is_one_row_where_it_ended() -> None:
    rows = _rows(
        """
1  1700000001.0 read(0, <unfinished ...>
2  1700000001.1 getpid() = 2
1  1700000001.2 <... read resumed>"x", 10) = 1
"""
    )
    assert [row["name"] for row in rows] == ["getpid", "read"]
    assert (rows[1]["enter_ns"], rows[1]["exit_ns"], rows[1]["a2"]) == (
        1_700_000_001 * 10**9,
        1_700_000_001_200_000_000,
        10,
    )


def test_a_notice_in_the_middle_of_a_line_is_taken_out() -> None:
    tables = _parse(
        """
clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLDstrace: Process 8 attached
, child_tidptr=0x7f) = 8
[pid     8] getpid() = 8
[pid     7] getpid() = 7
[pid     8] +++ exited with 3 +++
--- SIGCHLD {si_signo=SIGCHLD} ---
getpid() = 7
+++ exited with 0 +++
"""
    )
    assert tables.calls.column("tid").to_pylist() == [7, 8, 7, 7]
    child = tables.processes.to_pylist()[1]
    assert (child["pid"], child["ppid"], child["exit_code"]) == (8, 7, 3 << 8)


def test_a_thread_is_of_its_process_and_shares_its_descriptors() -> None:
    rows = _rows(
        """
7  clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, stack=0x7f}, 88) = 8
8  open("a", O_RDONLY) = 3
7  read(3, "", 10) = 0
"""
    )
    assert [row["pid"] for row in rows] == [7, 7, 7]
    assert rows[1]["ofd"] == rows[2]["ofd"]


def test_descriptions_are_followed_through_dup_fork_exec_and_close() -> None:
    rows = _rows(
        """
7  open("a", O_RDWR|O_CLOEXEC) = 3
7  dup2(3, 1) = 1
7  fcntl(3, F_DUPFD_CLOEXEC, 10) = 10
7  fork() = 8
8  write(1, "x", 1) = 1
8  execve("/bin/true", ["true"], 0x7f) = 0
8  write(1, "x", 1) = 1
8  write(3, "x", 1) = -1 EBADF (Bad file descriptor)
7  close(1) = 0
7  open("b", O_RDONLY) = 1
7  read(1, "", 5) = 0
7  read(3, "", 5) = 0
"""
    )
    first = rows[0]["ofd"]
    second = rows[9]["ofd"]
    expected = [first, first, first, None, first, None, first, None, first, second, second, first]
    assert [row["ofd"] for row in rows] == expected
    assert second != first
    assert rows[6]["path"] == b"a"
    assert rows[6]["offset"] == 2


def test_positions_are_known_until_something_moves_them_by_an_unknown_amount() -> None:
    rows = _rows(
        """
openat(AT_FDCWD, "a", O_RDWR) = 3
write(3, "abc", 3) = 3
lseek(3, 100, SEEK_SET) = 100
openat(AT_FDCWD, "b", O_RDWR) = 4
copy_file_range(3, NULL, 4, NULL, 9, 0) = 9
write(4, "x", 1) = 1
fcntl(4, F_SETFL, O_RDWR|O_APPEND) = 0
write(4, "x", 1) = 1
"""
    )
    assert [row["offset"] for row in rows] == [0, 3, 100, 0, 109, 10, 10, None]


def test_stat_tells_type_and_size() -> None:
    (row,) = _rows('newfstatat(AT_FDCWD</d>, "f", {st_mode=S_IFREG|0644, st_size=90, ...}, 0) = 0')
    assert (row["ftype"], row["size"], row["path"], row["ofd"]) == (8, 90, b"/d/f", None)


def test_32_bit_calls_are_marked_and_not_numbered() -> None:
    rows = _rows("7  getpid() = 7\n7  strace: [ Process PID=7 runs in 32 bit mode. ]\n7  getpid() = 7")
    assert [(row["compat"], row["nr"]) for row in rows] == [(False, 39), (True, None)]


def test_results_without_a_number_and_restarts_are_kept() -> None:
    rows = _rows("7  nanosleep({tv_sec=9}, NULL) = ? ERESTART_RESTARTBLOCK (Interrupted)\n7  exit_group(0) = ?")
    assert [row["ret"] for row in rows] == [-516, None]


@pytest.mark.parametrize(
    "garbage",
    ["hello", "open(", 'open("a', 'open("a, O_RDONLY) = 3', "getpid() = ", "getpid() = -1 EWHAT (?)", "[1, 2"],
)
def test_a_line_of_garbage_is_named(garbage: str) -> None:
    with pytest.raises(CaptureError, match="line 2 "):
        _parse(f"getpid() = 7\n{garbage}\ngetpid() = 7")


@pytest.mark.parametrize("cut", ['write(1, "x', "write(1, ", "getp", "getpid() = 7"])
def test_a_cut_last_line_is_left_out_and_counted(cut: str) -> None:
    tables = parse([b"1.0 getpid() = 7\n", f"1.1 {cut}".encode()])
    assert (tables.calls.num_rows, tables.lost) == (1, 1)
    assert tables.gaps.to_pylist() == [{"cpu": None, "after_ns": 10**9, "before_ns": None, "missing": 1}]


@pytest.mark.parametrize("text", [b"", b"\n", b"\x00\xff\x7fELF", b"% time     seconds\n"])
def test_text_without_any_call_is_refused(text: bytes) -> None:
    with pytest.raises(CaptureError):
        parse(text.splitlines(keepends=True))


def test_every_prefix_of_a_log_is_read_or_refused_clearly() -> None:
    whole = b'7  1.0 openat(AT_FDCWD</>, "a", O_RDWR) = 3</a> <0.000001>\n7  1.1 read(3</a>, <unfinished ...>\n'
    whole += b'8  1.1 --- SIGINT {si_signo=SIGINT} ---\n7  1.2 <... read resumed>"abc", 9) = 3 <0.100000>\n'
    for end in range(1, len(whole)):
        try:
            assert parse(whole[:end].splitlines(keepends=True)).calls.num_rows <= 2
        except CaptureError:
            assert end < whole.index(b"\n") + 1


def test_the_shapes_of_calls_are_those_of_the_recorder() -> None:
    text = (ROOT / "core" / "record" / "shapes.h").read_text()
    listed = dict(re.findall(r"\{ __NR_(\w+), ([^}]+?) \}", text))
    assert set(listed) == set(SHAPES)
    for name, shape in listed.items():
        numbers = {word: int(at) for word, at in re.findall(r"\b([A-Z_0-9]+)\((\d)\)", shape)}
        mine = SHAPES[name]
        other = (numbers.get("FD", 0), numbers.get("PATH", 0), numbers.get("PATH2", 0), numbers.get("PH_SHAPE_PAIR", 0))
        assert (mine.fd, mine.path, mine.second, mine.pair) == other, name
        assert mine.new == ("NEW" in shape or "RETURNS" in shape), name


_SCRIPT = """
exec 3>"$1/o"; echo hi >&3; echo a > "$1/x"; echo b > "$1/x"; cat "$1/x" | wc -c
(cd /; ls etc >/dev/null); ls no 2>&1; true
"""


@needs_strace
@pytest.mark.parametrize("flags", [[], ["-y"], ["-yy", "-i", "-n"], ["-ttt", "-T"], ["-tt"], ["-r"], ["-s", "2", "-v"]])
def test_the_log_of_a_shell_script_is_read_whole(flags: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", _SCRIPT, "sh", str(tmp_path)]
    subprocess.run(["strace", "-f", *flags, "-o", log, *command], check=True, stdout=subprocess.DEVNULL)
    text = log.read_bytes()
    tables = parse(text.splitlines(keepends=True))
    ended = len(re.findall(rb"\) += ", text))
    assert tables.lost == 0
    assert tables.calls.num_rows == ended
    assert tables.calls.column("nr").null_count == 0
    names = [row["exe"].rsplit(b"/", 1)[-1] for row in tables.processes.to_pylist() if row["argv"]]
    assert {b"sh", b"cat", b"wc", b"ls"} <= set(names)
    rows = tables.calls.to_pylist()
    written = {row["ofd"] for row in rows if row["name"] == "write" and (row["path"] or b"").endswith(b"/x")}
    opened = {row["ofd"] for row in rows if row["name"] == "openat" and row["path"] == f"{tmp_path}/x".encode()}
    assert len(written) == 2 and written < opened  # the third open is cat's


@needs_strace
def test_threads_and_children_of_a_python_program_are_followed(tmp_path: Path) -> None:
    program = """
import os, subprocess, sys, threading
def work(i):
    with open(sys.argv[1] + f"/t{i}", "w") as f:
        for _ in range(50):
            f.write("x"); f.flush()
    subprocess.run(["true"])
threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    log = tmp_path / "log"
    subprocess.run(["strace", "-f", "-y", "-ttt", "-T", "-o", log, sys.executable, "-c", program, tmp_path], check=True)
    with log.open("rb") as lines:
        tables = parse(lines)
    rows = tables.calls.to_pylist()
    for i in range(4):
        path = f"{tmp_path}/t{i}".encode()
        writes = [row for row in rows if row["name"] == "write" and row["path"] == path]
        assert len(writes) == 50
        assert len({row["ofd"] for row in writes}) == 1
        assert [row["offset"] for row in writes] == list(range(1, 51))
    assert len({row["pid"] for row in rows}) == 5  # python and four `true`: threads are not processes
