"""The programs that `bench predict` predicts, each with the rule that it predicts for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bench.demo import python

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Pair:
    """A program that works in the current folder, and the rule that is predicted for it."""

    name: str
    rule: str
    command: list[str]
    fresh: str = ""
    needs: tuple[str, ...] = field(default=())


def _sh(text: str, shell: str = "/bin/sh") -> list[str]:
    return [shell, "-c", text]


#: a client that acknowledges each answer of 8000 bytes, and its server, which sends it in four pieces
ANSWERS = """
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die;
if (!fork) {
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $listener->sockport) or die;
    for (1..20000) { my $got = 0; while ($got < 8000) { $got += sysread($s, my $x, 8000) || die; } syswrite($s, "k"); }
    exit;
}
my $c = $listener->accept;
setsockopt($c, 6, 1, pack("l", 1)) or die;  # TCP_NODELAY: else each answer waits for an acknowledgement
my $piece = "x" x 2000;
for (1..20000) { syswrite($c, $piece) for 1..4; sysread($c, my $x, 1); }
wait;
"""
#: an event loop that asks for "writable" and takes it back before each look for events
INTEREST = """
import select, socket
listener = socket.create_server(("127.0.0.1", 0))
far = socket.create_connection(listener.getsockname())
near, _ = listener.accept()
epoll = select.epoll()
epoll.register(near, select.EPOLLIN)
for n in range(60000):
    epoll.modify(near, select.EPOLLIN | select.EPOLLOUT)
    epoll.modify(near, select.EPOLLIN)
    epoll.modify(near, select.EPOLLIN | select.EPOLLOUT)
    epoll.modify(near, select.EPOLLIN)
    epoll.poll(0)
"""


def pairs(top: Path) -> list[Pair]:
    """The pairs; files are made below `top`."""
    return [*_written(top), *_read(top), *_saved(top), *_asked(top), *_synced(top), *_connected()]


def _written(top: Path) -> list[Pair]:
    write, lines = "coalesce_writes", f"{top}/lines.txt"
    shell_file = f"exec >{top}/out; i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done"
    awk = f'BEGIN {{ for (i = 0; i < 150000; i++) {{ print i > "{top}/out"; fflush("{top}/out") }} }}'
    perl = f'open(F, ">", "{top}/out"); F->autoflush(1); for ($i=0;$i<200000;$i++) {{ print F "$i\\n" }}'
    log_lines = HERE / "programs" / "log_lines.py"
    return [
        Pair("python_print", write, [python(), str(HERE / "programs" / "print_flush.py"), f"{top}/out", "150000"]),
        Pair("python_logging", write, [python(), str(log_lines), f"{top}/out", "40000"]),
        Pair("dd_512", write, ["dd", f"if={lines}", f"of={top}/out", "bs=512", "status=none"], needs=("dd",)),
        Pair("dd_128", write, ["dd", f"if={lines}", f"of={top}/out", "bs=128", "status=none"], needs=("dd",)),
        Pair("perl_autoflush", write, ["perl", "-MIO::Handle", "-e", perl], needs=("perl",)),
        Pair("awk_fflush", write, ["awk", awk], needs=("awk",)),
        Pair("dash_echo", write, _sh(shell_file, "/bin/dash"), needs=("dash",)),
        Pair("bash_echo", write, _sh(shell_file, "/bin/bash"), needs=("bash",)),
        Pair("sed_unbuffered", write, _sh(f"exec sed -u s/a/b/ {lines} >{top}/out"), needs=("sed",)),
        Pair("grep_lines", write, _sh(f"exec grep --line-buffered a {lines} >{top}/out"), needs=("grep",)),
        Pair("gzip", write, _sh(f"exec gzip -c {lines} >{top}/out"), needs=("gzip",)),
        Pair("sort", write, ["sort", "-o", f"{top}/out", lines], needs=("sort",)),
    ]


def _read(top: Path) -> list[Pair]:
    window, lines = "read_window", f"{top}/lines.txt"
    sysread = f'open(F, "<", "{lines}"); 1 while sysread(F, $x, 64);'
    unbuffered = f"f = open('{lines}', 'rb', buffering=0)\nwhile f.read(100): pass"
    by_line = f"head -n 20000 {lines} >{top}/some; while read -r x; do :; done <{top}/some"
    return [
        Pair("dd_read_256", window, ["dd", f"if={lines}", "of=/dev/null", "bs=256", "status=none"], needs=("dd",)),
        Pair("perl_sysread", window, ["perl", "-e", sysread], needs=("perl",)),
        Pair("python_unbuffered", window, [python(), "-c", unbuffered]),
        Pair("dash_read", window, _sh(by_line, "/bin/dash"), needs=("dash",)),
    ]


def _saved(top: Path) -> list[Pair]:
    truncate, exchange = "truncate_in_place", "exchange_rename"
    rewrite = (
        "import sys\nfor n in range(4000):\n f = open(sys.argv[1] + str(n % 50), 'w'); f.write('x' * 5000); f.close()"
    )
    redirect = f"i=0; while [ $i -lt 4000 ]; do echo text >{top}/f$((i%40)); i=$((i+1)); done"
    save = (
        "import os, sys\nfor n in range(1500):\n f = open(sys.argv[1] + '.new', 'w'); f.write('x' * 5000); f.close()\n"
        " os.replace(sys.argv[1] + '.new', sys.argv[1])"
    )
    perl = (
        f'for $n (1..3000) {{ $f = "{top}/s" . $n % 20; open(F, ">", "$f.new"); print F "x" x 3000; close(F);'
        ' rename("$f.new", $f) }'
    )
    return [
        Pair("cp_over", truncate, ["cp", "-rT", f"{top}/from", f"{top}/to"], needs=("cp",)),
        Pair("python_rewrite", truncate, [python(), "-c", rewrite, f"{top}/save"]),
        Pair("dash_redirect", truncate, _sh(redirect, "/bin/dash"), needs=("dash",)),
        Pair("bash_redirect", truncate, _sh(redirect, "/bin/bash"), needs=("bash",)),
        Pair("python_save", exchange, [python(), "-c", save, f"{top}/prefs"]),
        Pair("perl_save", exchange, ["perl", "-e", perl], needs=("perl",)),
    ]


def _asked(top: Path) -> list[Pair]:
    shadow, lines = "shadow_descriptor", f"{top}/lines.txt"
    tell = f"f = open('{lines}', 'rb', buffering=0)\nfor n in range(400000): f.tell()"
    seek = f'open(F, "<", "{lines}"); for (1..600000) {{ sysseek(F, 0, 1) }}'
    terminal = f'open(F, "<", "{lines}"); for (1..500000) {{ $x += -t F }}'
    asks = "import os\nfor n in range(400000): os.getpid()"
    search = (
        'for $n (1..4000) { for $d ("a".."z") { open(F, "<", "' + str(top) + '/path/$d/name" . $n % 200) and last } }'
    )
    close = "POSIX::close($_) for 3..400000"
    return [
        Pair("python_getpid", "memo_identity", [python(), "-c", asks]),
        Pair("perl_uid", "memo_identity", ["perl", "-e", "for (1..600000) { $x += $< + $> }"], needs=("perl",)),
        Pair("python_tell", shadow, [python(), "-c", tell]),
        Pair("perl_tell", shadow, ["perl", "-e", seek], needs=("perl",)),
        Pair("perl_isatty", shadow, ["perl", "-e", terminal], needs=("perl",)),
        Pair("perl_search", "cache_absent", ["perl", "-e", search], needs=("perl",)),
        Pair("perl_close", "close_unopened", ["perl", "-MPOSIX", "-e", close], needs=("perl",)),
    ]


def _synced(top: Path) -> list[Pair]:
    fsync = (
        f"import os\nf = open('{top}/journal', 'wb', buffering=0)\n"
        "for n in range(1500): f.write(b'x' * 300); os.fsync(f.fileno())"
    )
    sqlite = (
        f"import sqlite3\nd = sqlite3.connect('{top}/db', isolation_level=None)\n"
        "d.execute('drop table if exists t'); d.execute('create table t (a, b)')\n"
        "for n in range(400): d.execute('insert into t values (?, ?)', (n, 'x' * 100))"
    )
    return [
        Pair("python_fsync", "skip_sync", [python(), "-c", fsync]),
        Pair("python_sqlite", "skip_sync", [python(), "-c", sqlite]),
    ]


def _connected() -> list[Pair]:
    return [
        Pair("perl_answers", "gather_sends", ["perl", "-e", ANSWERS], needs=("perl",)),
        Pair("python_epoll", "epoll_shadow", [python(), "-c", INTEREST]),
    ]


def fill(top: Path) -> None:
    """What the programs work on."""
    (top / "lines.txt").write_text("".join(f"{n} a line of text\n" for n in range(250_000)))
    for letter in "abcdefghijklmnopqrstuvwxyz":
        (top / "path" / letter).mkdir(parents=True)
    for n in range(200):
        (top / "path" / "z" / f"name{n}").write_text("found\n")
    for tree in ("from", "to"):
        (top / tree).mkdir()
        for n in range(1500):
            (top / tree / f"f{n}").write_bytes(b"z" * (1000 + n % 7000))
