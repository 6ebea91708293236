"""Rules are put into running servers and taken out again: no request is lost, no byte changed, nothing leaks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import peephole
from peephole import native
from peephole.improve.live import attach, covered, detach, mappings

RULES = sorted(path.parent.name for path in (Path(peephole.__file__).parent / "rules").glob("*/rule.py"))

#: those that let a sleep last as long as was asked
ON_TIME = [rule for rule in RULES if rule != "short_poll"]


def code_of(pid: int) -> str:
    """A digest of every byte of the program's own code."""
    digest = hashlib.sha256()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for m in mappings(pid):
            if m.access == "r-xp" and m.path.startswith("/"):
                memory.seek(m.start)
                digest.update(memory.read(m.end - m.start))
    return digest.hexdigest()


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class Load:
    """Clients in threads that check every byte of every answer until they are told to stop."""

    def __init__(self, clients: int, talk: object) -> None:
        self.requests = 0
        self.wrong: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(talk, i)) for i in range(clients)]

    def _run(self, talk: object, i: int) -> None:
        try:
            for _ in talk(i):  # type: ignore[operator]
                self.requests += 1
                if self._stop.is_set():
                    return
                time.sleep(0.0005)
        except Exception as e:
            self.wrong.append(repr(e))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(str(path))
            return
        time.sleep(0.02)
    pytest.fail(f"{path} never answered")


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[tuple[int, object]]:
    """redis-server with four I/O threads, and a client's conversation."""
    where = folder / "redis.sock"
    words = ["redis-server", "--port", "0", "--unixsocket", str(where), "--io-threads", "4", "--save", ""]
    words += ["--io-threads-do-reads", "yes", "--dir", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    wait_for(where)

    def talk(i: int) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(where))
            reader = s.makefile("rb")
            for n in range(1 << 30):
                value = hashlib.sha256(f"{i} {n}".encode()).hexdigest().encode() * (n % 40 + 1)
                s.sendall(b"SET k%d %s\r\nGET k%d\r\n" % (i, value, i))
                assert reader.readline() == b"+OK\r\n"
                assert reader.readline() == b"$%d\r\n" % len(value)
                assert reader.read(len(value) + 2) == value + b"\r\n"
                yield

    try:
        yield process.pid, talk
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[tuple[int, object]]:
    """One nginx worker, and a client's conversation."""
    where, content = folder / "nginx.sock", os.urandom(150_000)
    (folder / "www").mkdir()
    (folder / "www" / "file").write_bytes(content)
    (folder / "logs").mkdir()
    folder.chmod(0o755)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; user root; pid {folder}/pid; error_log {folder}/logs/error;\n"
        f"events {{}} http {{ access_log {folder}/logs/access; client_body_temp_path {folder}; "
        f"keepalive_requests 1000000; server {{ listen unix:{where}; root {folder}/www; }} }}\n"
    )
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    wait_for(where)
    worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])

    def talk(i: int) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(where))
            reader = s.makefile("rb")
            while True:
                s.sendall(b"GET /file HTTP/1.1\r\nHost: here\r\n\r\n")
                assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
                while (line := reader.readline()) != b"\r\n":
                    assert line
                assert reader.read(len(content)) == content
                yield

    try:
        yield worker, talk
    finally:
        process.terminate()
        process.wait(20)


GO = """
package main

import ("fmt"; "net"; "net/http"; "os"; "strings")

func main() {
	l, err := net.Listen("unix", os.Args[1])
	if err != nil { panic(err) }
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := strings.Repeat(r.URL.Path, 5000)
		os.WriteFile(os.Args[1] + ".file", []byte(body), 0600)
		fmt.Fprint(w, body)
	}))
}
"""


@contextlib.contextmanager
def go(folder: Path) -> Iterator[tuple[int, object]]:
    """A static server made by the Go compiler, and a client's conversation."""
    where = folder / "go.sock"
    (folder / "main.go").write_text(GO)
    env = os.environ | {
        "CGO_ENABLED": "0",
        "HOME": str(folder),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "-mod=mod",
    }
    subprocess.run(["go", "build", "-o", "server", "main.go"], cwd=folder, env=env, check=True)
    process = subprocess.Popen([str(folder / "server"), str(where)])
    wait_for(where)

    def talk(i: int) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(where))
            reader = s.makefile("rb")
            for n in range(1 << 30):
                s.sendall(b"GET /%d/%d HTTP/1.1\r\nHost: here\r\n\r\n" % (i, n))
                assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
                while (line := reader.readline()) != b"\r\n":
                    assert line
                body = b""
                while size := int(reader.readline(), 16):
                    body += reader.read(size)
                    reader.readline()
                reader.readline()
                assert body == b"/%d/%d" % (i, n) * 5000
                yield

    try:
        yield process.pid, talk
    finally:
        process.terminate()
        process.wait(20)


SERVERS = {"redis": (redis, "redis-server"), "nginx": (nginx, "nginx")}
WITH_GO = SERVERS | {"go": (go, "go")}


def put_in_and_out(name: str, cycles: int, folder: Path) -> None:
    start, needed = WITH_GO[name]
    if not shutil.which(needed):
        pytest.skip(f"{needed} is not installed")
    with start(folder) as (pid, talk):  # type: ignore[operator]
        before = code_of(pid)
        with Load(4, talk) as load:
            for cycle in range(cycles):
                rules = RULES if cycle % 2 else []
                assert attach(pid, rules)["missing"] == 0
                detach(pid)
                if cycle == 2:
                    fds, kb, n_maps = descriptors(pid), resident_kb(pid), len(mappings(pid))
            assert not load.wrong
        assert not load.wrong
        assert load.requests > cycles
        assert code_of(pid) == before
        assert covered(pid) == []
        assert descriptors(pid) <= fds + 4
        assert len(mappings(pid)) <= n_maps + 8
        assert resident_kb(pid) <= kb + 4096


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVERS)
def test_a_busy_server_notices_nothing(name: str, tmp_path: Path) -> None:
    put_in_and_out(name, 25, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", WITH_GO)
def test_a_busy_server_notices_nothing_a_thousand_times(name: str, tmp_path: Path) -> None:
    put_in_and_out(name, 1000, tmp_path)


# -- what single programs notice --------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(*words: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A program that says it is ready by a line, and ends when its standard input does."""
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(20)


def test_waits_signals_threads_and_children_go_on_undisturbed() -> None:
    with running(str(native.path("live_waits"))) as process:
        for cycle in range(20):
            attach(process.pid, ON_TIME if cycle % 2 else [])
            time.sleep(0.02)
            detach(process.pid)
        said, _ = process.communicate(timeout=60)
    assert said == "wrong 0 signals 1\n"
    assert process.returncode == 0


def test_fifty_threads_whose_stacks_lie_where_jumps_would_lead() -> None:
    with running(str(native.path("cost_peers")), "threads", "50") as process:
        for rules in (RULES, [], RULES):
            change = attach(process.pid, rules)
            assert (change["missing"], change["threads"]) == (0, 50)
            detach(process.pid)
        process.communicate(timeout=20)
    assert process.returncode == 0


WRITES = """
import os, signal, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
signal.signal(signal.SIGSEGV, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    for n in range(int(line)):
        os.write(fd, b"%d\\n" % n)
    other = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for n in range(int(line)):
        os.write(other, b"%d\\n" % n)
    os.close(other)
    print(os.fstat(fd).st_size, signal.getsignal(signal.SIGSEGV), flush=True)
os.system("/bin/true")
"""


def test_a_rule_acts_after_the_attach_and_nothing_is_pending_after_the_detach(tmp_path: Path) -> None:
    kept, made = tmp_path / "kept", tmp_path / "made"

    def ask(process: subprocess.Popen[str]) -> str:
        process.stdin.write("1000\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return process.stdout.readline()  # type: ignore[union-attr]

    with running("/usr/bin/python3", "-c", WRITES, str(kept), str(made)) as process:
        size = 3890
        assert ask(process) == f"{size} 1\n"
        attach(process.pid, ["coalesce_writes"])
        assert ask(process) == f"{2 * size} 1\n"
        (one,) = covered(process.pid)
        stats = one.stats()["rules"]["coalesce_writes"]
        # Only the file that was opened since: of the other, nobody knows who else has it.
        assert 900 <= stats["hits"] <= 1000
        detach(process.pid)
        assert kept.stat().st_size == made.stat().st_size == 2 * size
        assert ask(process) == f"{3 * size} 1\n"
        assert covered(process.pid) == []
        process.communicate(timeout=20)
    assert kept.read_bytes() == made.read_bytes()
    assert process.returncode == 0


SERVES = """
import os, select, socket
listener, epoll = socket.create_server(("127.0.0.1", 0)), select.epoll()
print("ready", listener.getsockname()[1], sep="\\n", flush=True)
epoll.register(listener, select.EPOLLIN)
while epoll.poll():
    s = listener.accept()[0]
    epoll.register(s, select.EPOLLIN)
    while asked := os.read(s.fileno(), 100):
        for piece in range(10):
            epoll.modify(s, select.EPOLLIN | select.EPOLLOUT)
            assert epoll.poll(20) != []
            os.write(s.fileno(), asked)
            epoll.modify(s, select.EPOLLIN)
    epoll.unregister(s)
    s.close()
"""


def test_rules_for_one_thread_act_after_the_attach_too() -> None:
    with running("/usr/bin/python3", "-c", SERVES) as process:
        port = int(process.stdout.readline())  # type: ignore[union-attr]

        def talk() -> None:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
                for i in range(50):
                    s.sendall(b"%04d" % i)
                    got = b""
                    while len(got) < 40:
                        got += s.recv(100)
                    assert got == b"%04d" % i * 10

        talk()
        time.sleep(0.5)  # it waits for the next one
        attach(process.pid, ["epoll_shadow", "gather_sends"])
        talk()
        (one,) = covered(process.pid)
        hits = {name: rule["hits"] for name, rule in one.stats()["rules"].items()}
        assert hits["epoll_shadow"] > 500
        assert hits["gather_sends"] > 400
        detach(process.pid)
        talk()
        process.kill()


RAW = """
long raw_write(int fd, const void *bytes, unsigned long n)
{
    long r;
    __asm__ volatile("mov $1, %%eax; syscall" : "=a"(r) : "D"(fd), "S"(bytes), "d"(n) : "rcx", "r11", "memory");
    return r;
}
"""
LOADS = """
import ctypes, os, sys
early = ctypes.CDLL(sys.argv[2]) if sys.argv[3] == "before" else None
print("ready", flush=True)
while sys.stdin.readline():
    library = early or ctypes.CDLL(sys.argv[2])
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for n in range(300):
        library.raw_write(fd, b"a", 1)
        os.write(fd, b"b")
    os.close(fd)
    print(open(sys.argv[1]).read() == "ab" * 300, flush=True)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_library_with_calls_of_its_own_is_patched_whenever_it_came(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peephole.improve.sites import learn

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source, library = tmp_path / "library.c", tmp_path / "library.so"
    source.write_text(RAW)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wl,--build-id", "-o", library, source], check=True)
    learn(library)
    with running("/usr/bin/python3", "-c", LOADS, str(tmp_path / "file"), str(library), when) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(3):
            assert attach(process.pid, ["coalesce_writes"])["missing"] == 0
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "True\n"
            assert covered(process.pid)[0].stats()["rules"]["coalesce_writes"]["hits"] == 600
            detach(process.pid)
            mapped = next(m for m in mappings(process.pid) if m.path == str(library) and "x" in m.access)
            with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
                memory.seek(mapped.start)
                text = memory.read(mapped.end - mapped.start)
            assert text == library.read_bytes()[mapped.offset :][: len(text)]
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_keeper_goes_when_the_last_process_is_let_go(tmp_path: Path) -> None:
    forks = "import os, sys; os.fork(); os.write(1, b'ready\\n'); sys.stdin.readline()"
    with running("/usr/bin/python3", "-c", forks) as process:
        attach(process.pid, ["coalesce_writes"])
        beside = covered(process.pid)[0].page.keeper_pid
        assert Path(f"/proc/{beside}/exe").readlink().name == "peephole-keeper"
        detach(process.pid)
        assert not Path(f"/proc/{beside}").exists()
        attach(process.pid, ["coalesce_writes"])
        assert covered(process.pid)[0].page.keeper_pid not in (0, beside)
        detach(process.pid)
        process.communicate("\n", timeout=20)


def test_a_library_is_learnt_with_those_that_come_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peephole.improve import sites

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source, inner, outer = tmp_path / "library.c", tmp_path / "inner.so", tmp_path / "outer.so"
    source.write_text(RAW)
    gcc = ["gcc", "-shared", "-fPIC", "-O1", "-Wl,--build-id"]
    subprocess.run([*gcc, "-o", inner, source], check=True)
    (tmp_path / "outer.c").write_text("int outer(void) { return 1; }")
    subprocess.run([*gcc, "-Wl,--no-as-needed", "-o", outer, tmp_path / "outer.c", inner], check=True)
    sites.learn(outer)
    assert sites.sites_of(inner) in sites.learned()


def test_a_rule_that_does_not_pay_ends_in_a_process_that_ran_already(tmp_path: Path) -> None:
    writes = (
        "import os, sys; print('ready', flush=True); sys.stdin.readline()\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
        "for n in range(40000): os.write(fd, b'x')\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    for price, end in ((1, "no_gain"), (100_000, None)):
        with running("/usr/bin/python3", "-c", writes, str(tmp_path / str(price))) as process:
            assert process.stdin is not None and process.stdout is not None
            attach(process.pid, ["coalesce_writes"], prices={"coalesce_writes": price})
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
            assert covered(process.pid)[0].stats()["rules"]["coalesce_writes"]["switched_off"] == end
            process.communicate(timeout=20)
        assert (tmp_path / str(price)).read_bytes() == b"x" * 40000


def test_what_it_starts_is_covered_and_its_forks_keep_theirs(tmp_path: Path) -> None:
    forks = (
        "import os, sys; print('ready', flush=True); sys.stdin.readline(); pid = os.fork(); "
        "sys.stdin.readline() if pid else os.read(3, 1)"
    )
    mine, childs = os.pipe()
    os.set_inheritable(mine, True)

    def prepare() -> None:
        os.dup2(mine, 3)

    with running("/usr/bin/python3", "-c", forks, pass_fds=(3,), preexec_fn=prepare) as process:
        attach(process.pid, [])
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        deadline = time.monotonic() + 20
        while len(children(process.pid)) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        (child,) = children(process.pid)
        assert {one.pid for one in covered() if one.pid in (process.pid, child)} == {process.pid, child}
        detach(process.pid)
        assert [one.pid for one in covered() if one.pid in (process.pid, child)] == [child]
        detach(child)
        assert covered(child) == []
    os.close(mine)
    os.close(childs)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# -- what can't be done is one line, and the process is as it was ------------------------------------------------------


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "peephole", *words], capture_output=True, text=True, timeout=60)


def refused(*words: str) -> str:
    done = cli(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("peephole: ") and done.stderr.count("\n") == 1
    return done.stderr


SLEEPS = "import sys; print('ready', flush=True); sys.stdin.read()"


def test_a_process_that_is_not_there_or_not_improved() -> None:
    assert "no such process" in refused("attach", "4194304", "--rules", "none")
    assert "no such process" in refused("detach", "4194304")
    assert "is not improved" in refused("detach", str(os.getpid()))
    assert "is not improved" in refused("status", str(os.getpid()))
    assert cli("attach", "1").returncode == 2


@pytest.mark.root
def test_a_kernel_thread_has_no_program() -> None:
    comm = Path("/proc/2/comm")
    if os.geteuid() or not comm.exists() or comm.read_text() != "kthreadd\n":
        pytest.skip("needs root and a kernel thread")
    assert "kernel thread" in refused("attach", "2", "--rules", "none")


WAITS_IN_GO = """
package main
import ("fmt"; "net"; "os")
func main() {
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	fmt.Println("ready", l.Addr() != nil)
	var b [16]byte
	os.Stdin.Read(b[:])
}
"""


@pytest.mark.long
@pytest.mark.parametrize("mode", ["exe", "pie"])
def test_a_go_program_can_be_attached_to_wherever_it_lies(mode: str, tmp_path: Path) -> None:
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    (tmp_path / "m.go").write_text(WAITS_IN_GO)
    env = os.environ | {"HOME": str(tmp_path), "GOCACHE": str(tmp_path / "cache"), "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", f"-buildmode={mode}", "-o", "program", "m.go"], cwd=tmp_path, env=env, check=True)
    with subprocess.Popen([tmp_path / "program"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready true\n"
        change = attach(process.pid, [])
        assert change["patches"] >= 40 and change["missing"] == 0
        detach(process.pid)
        ruled = attach(process.pid, ["coalesce_writes"])
        assert not ruled["rules"] and ruled["patches"] == 0
        detach(process.pid)
        process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.mark.root
def test_another_namespace_is_said_and_inside_it_works() -> None:
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    unshared = ["unshare", "-mpf", "--mount-proc"]
    with subprocess.Popen(
        [*unshared, sys.executable, "-c", SLEEPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as outer:
        assert outer.stdout is not None and outer.stdout.readline() == b"ready\n"
        (inner,) = children(outer.pid)
        assert "another mount or pid namespace" in refused("attach", str(inner), "--rules", "none")
        outer.communicate(timeout=20)
    words = "sleep 20 & {0} -m peephole attach $! --rules none && {0} -m peephole detach $!; kill $!"
    done = subprocess.run(
        [*unshared, "sh", "-c", words.format(sys.executable)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("attached to ") and "\ndetached from " in done.stdout, done.stderr


def test_another_peephole_takes_nothing_away_in_the_middle_of_an_attach(monkeypatch: pytest.MonkeyPatch) -> None:
    from peephole.improve import folder, live

    run = live._run

    def swept(*words: str | int) -> live.Change:
        folder.sweep()
        return run(*words)

    monkeypatch.setattr(live, "_run", swept)
    with running("/usr/bin/python3", "-c", SLEEPS) as process:
        assert attach(process.pid, RULES)["missing"] == 0
        detach(process.pid)


def test_twice_is_said() -> None:
    with running("/usr/bin/python3", "-c", SLEEPS) as process:
        assert cli("attach", str(process.pid), "--rules", "none").returncode == 0
        assert "already" in refused("attach", str(process.pid), "--rules", "none")
        shown = cli("status", str(process.pid))
        assert str(process.pid) in shown.stdout and "call sites" in shown.stdout
        assert '"schema": "peephole/status"' in cli("status", "--json").stdout
        assert "stood still" in cli("detach", str(process.pid)).stdout


def test_a_traced_process_is_left_to_its_tracer(tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    with running("/usr/bin/python3", "-c", SLEEPS) as process:
        tracer = subprocess.Popen(
            ["strace", "-o", str(tmp_path / "out"), "-p", str(process.pid)], stderr=subprocess.PIPE
        )
        assert tracer.stderr is not None and b"attached" in tracer.stderr.readline()
        assert f"is traced by strace ({tracer.pid})" in refused("attach", str(process.pid), "--rules", "none")
        tracer.terminate()
        tracer.wait(20)


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_a_static_program_can_be_attached_to(compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / "program.c"
    source.write_text('#include <stdio.h>\nint main(void) { puts("ready"); fflush(stdout); return getchar() == 0; }\n')
    subprocess.run([compiler, "-static", "-o", tmp_path / "program", source], check=True)
    with running(str(tmp_path / "program")) as process:
        before = code_of(process.pid)
        for rules in ([], RULES):
            assert attach(process.pid, rules)["missing"] == 0
            assert code_of(process.pid) != before
            detach(process.pid)
            assert code_of(process.pid) == before
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_a_stopped_process() -> None:
    with running("/usr/bin/python3", "-c", SLEEPS) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert "is stopped" in refused("attach", str(process.pid), "--rules", "none")
        process.send_signal(signal.SIGCONT)


def test_a_sandboxed_program_is_left_alone(tmp_path: Path) -> None:
    sandboxed = (
        "import ctypes, sys; libc = ctypes.CDLL(None); libc.prctl(38, 1, 0, 0, 0);"
        "f = (ctypes.c_uint64 * 1)(0x7fff000000000006); "
        "p = (ctypes.c_uint64 * 2)(1, ctypes.addressof(f)); "
        "assert libc.prctl(22, 2, ctypes.byref(p), 0, 0) == 0; print('ready', flush=True); sys.stdin.read()"
    )
    with running("/usr/bin/python3", "-c", sandboxed) as process:
        assert "seccomp" in refused("attach", str(process.pid), "--rules", "none")


def test_ctrl_c_in_the_middle_leaves_all_or_nothing() -> None:
    with running(str(native.path("live_waits"))) as process:
        before = code_of(process.pid)
        for after_ms in range(60, 420, 24):
            words = [sys.executable, "-m", "peephole", "attach", str(process.pid), "--rules", "none"]
            attaching = subprocess.Popen(
                words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            time.sleep(after_ms / 1000)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(attaching.pid, signal.SIGINT)
            attaching.communicate(timeout=60)
            if covered(process.pid):
                detach(process.pid)
            assert code_of(process.pid) == before
        said, _ = process.communicate(timeout=60)
    assert said == "wrong 0 signals 1\n"


def test_a_launched_program_can_be_taken_out_and_put_in_again(tmp_path: Path) -> None:
    from peephole.improve.arm import arm

    with arm(RULES) as armed, running("/usr/bin/python3", "-c", SLEEPS, env=armed.environment(os.environ)) as process:
        assert [one.pid for one in covered(process.pid)] == [process.pid]
        plain = subprocess.run(["cat", f"/proc/{process.pid}/comm"], capture_output=True, check=True)
        assert plain.stdout
        detach(process.pid)
        with running("/usr/bin/python3", "-c", SLEEPS) as other:
            assert libc_of(process.pid) == libc_of(other.pid)
        attach(process.pid, RULES)
        detach(process.pid)
        process.communicate(timeout=20)
    assert process.returncode == 0


def libc_of(pid: int) -> bytes:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        code = [m for m in mappings(pid) if m.access == "r-xp" and "/libc.so" in m.path]
        return b"".join(memory.seek(m.start) and memory.read(m.end - m.start) for m in code)
