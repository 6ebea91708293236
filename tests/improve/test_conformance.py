"""What a program can notice of the interposer: nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peephole import native

Runner = Callable[..., Any]


@pytest.mark.parametrize("how", ["improved", "ruled", "trapped"])
@pytest.mark.parametrize("part", ["registers", "errors", "signals", "handlers", "processes", "threads", "limits"])
def test_a_program_sees_the_same_kernel(part: str, how: str, plain: Runner, request: pytest.FixtureRequest) -> None:
    program = str(native.path(f"conform_{part}"))
    expected, got = plain(program), request.getfixturevalue(how)(program)
    assert got.out.decode() == expected.out.decode()
    assert (got.code, got.err) == (expected.code, expected.err)
    assert got.stats["processes"] >= 1
    assert got.stats["sites_unpatched"] == 0


def compile_c(folder: Path, text: str, *flags: str) -> Path:
    source, program = folder / "program.c", folder / "program"
    source.write_text(text)
    subprocess.run(["gcc", "-o", str(program), str(source), *flags], check=True)
    return program


SHOWS_ITS_LIBRARIES = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
	char line[512];
	int loaded = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof(line), maps))
		loaded |= strstr(line, "libpeephole") != NULL;
	printf("loaded %d preload %s\\n", loaded, getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "unset");
	return 0;
}
"""


WRITES_MUCH = r"""
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    sigset_t pending;
    for (int i = 0; i < 1000; i++)
        if (write(file, "0123456789\n", 11) != 11)
            return 1;
    close(file);
    sigpending(&pending);
    printf("%s %d %s; child %d, pending %d\n", argv[0], argc, getenv("LD_PRELOAD") ? "preload" : "clean",
           waitpid(-1, NULL, __WALL) > 0, sigismember(&pending, SIGCHLD));
    fflush(stdout);
    return system("exit 5") >> 8;
}
"""
STATIC = {"glibc": ("gcc", "-static"), "glibc_pie": ("gcc", "-static-pie"), "musl": ("musl-gcc", "-static")}


@pytest.mark.parametrize("how", ["improved", "ruled"])
@pytest.mark.parametrize("kind", STATIC)
def test_a_static_program_is_covered_from_its_first_instruction(
    kind: str, how: str, tmp_path: Path, request: pytest.FixtureRequest, plain: Runner
) -> None:
    compiler, flag = STATIC[kind]
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    source, program, out = tmp_path / "program.c", tmp_path / "program", tmp_path / "out"
    source.write_text(WRITES_MUCH)
    subprocess.run([compiler, flag, "-o", program, source], check=True)
    words = ("sh", "-c", f"{program} {out} x; code=$?; cat {out}; exit $code")
    expected = plain(*words)
    assert expected.code == 5
    ran = request.getfixturevalue(how)(*words)
    assert ran.seen == expected.seen
    assert ran.stats["not_covered"] == []
    assert ran.stats["processes"] == 4  # sh, the program, the shell that it starts, cat
    if how == "ruled":
        assert ran.stats["rules"]["coalesce_writes"]["hits"] >= 999
    else:
        assert request.getfixturevalue(how)(str(program), str(out), "x").seen == (5, expected.out.splitlines(True)[0])


ASKS_FOR_SECCOMP = """
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (argc < 2 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0) == 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, 0) == 0)
        return 1;
    for (int i = 0; i < 100; i++)
        if (write(file, "x", 1) != 1)
            return 2;
    return 0;
}
"""


def test_a_program_that_only_asks_whether_there_is_a_sandbox_keeps_its_rules(
    tmp_path: Path, ruled: Runner, improved: Runner
) -> None:
    program = compile_c(tmp_path, ASKS_FOR_SECCOMP)
    assert improved(str(program), str(tmp_path / "out")).code == 0
    ran = ruled(str(program), str(tmp_path / "out"))
    assert ran.code == 0
    assert (tmp_path / "out").read_bytes() == b"x" * 100
    assert ran.stats["not_covered"] == []
    assert ran.stats["rules"]["coalesce_writes"]["hits"] >= 99


def test_a_static_program_that_can_not_be_executed_fails_as_ever(
    tmp_path: Path, plain: Runner, improved: Runner
) -> None:
    program = compile_c(tmp_path, "int main(void) { return 0; }", "-static")
    program.chmod(0o644)
    words = ("sh", "-c", f"{program}; echo $?")
    assert improved(*words).seen == plain(*words).seen


@pytest.mark.root
def test_a_set_uid_program_is_left_alone(tmp_path: Path, improved: Runner) -> None:
    if os.geteuid():
        pytest.skip("needs root to make one")
    program = compile_c(tmp_path, SHOWS_ITS_LIBRARIES)
    program.chmod(0o4755)
    for ran in (improved(str(program)), improved("sh", "-c", f"{program}; true")):
        assert ran.out == b"loaded 0 preload unset\n"
        assert [one["why"] for one in ran.stats["not_covered"]] == ["secure"]


@pytest.mark.root
def test_a_program_in_another_root_runs_without_us(tmp_path: Path, improved: Runner) -> None:
    if os.geteuid():
        pytest.skip("needs root for chroot")
    compile_c(tmp_path, SHOWS_ITS_LIBRARIES)
    for file in ("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"):
        to = tmp_path / file.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    (tmp_path / "proc").mkdir()
    ran = improved("chroot", str(tmp_path), "/program")
    assert [one["why"] for one in ran.stats["not_covered"]] == ["library"]


def test_a_script_gets_its_arguments(tmp_path: Path, plain: Runner, improved: Runner) -> None:
    program = tmp_path / "script"
    program.write_text('#!/bin/sh -e\necho script "$@"\nexit 7\n')
    program.chmod(0o755)
    assert improved(str(program), "a b", "c").seen == plain(str(program), "a b", "c").seen == (7, b"script a b c\n")


def test_a_text_without_interpreter_line_is_run_by_the_shell(tmp_path: Path, improved: Runner) -> None:
    program = tmp_path / "text"
    program.write_text("echo from sh $1\n")
    program.chmod(0o755)
    assert improved(str(program), "x").seen == (0, b"from sh x\n")
    assert improved("env", str(program), "x").seen == (0, b"from sh x\n")


def test_the_users_own_preload_is_kept(tmp_path: Path, improved: Runner) -> None:
    library = tmp_path / "own.so"
    source = tmp_path / "own.c"
    source.write_text("#include <unistd.h>\npid_t getppid(void) { return 4242; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    env = os.environ | {"LD_PRELOAD": str(library)}
    show = "import os; print(os.getppid(), os.environ['LD_PRELOAD'], os.environ.get('PEEPHOLE_CONTROL'))"
    expected = f"4242 {library} None\n".encode()
    direct = improved("/usr/bin/python3", "-c", show, env=env)
    below = improved("sh", "-c", f'/usr/bin/python3 -c "{show}"', env=env)
    both = improved("sh", "-c", f'exec env LD_PRELOAD={library} /usr/bin/python3 -c "{show}"')
    assert direct.out == below.out == both.out == expected
    assert direct.stats["processes"] == 1


def test_descendants_with_an_empty_environment_are_covered(improved: Runner) -> None:
    ran = improved("env", "-i", "/usr/bin/env", "-i", "/bin/sh", "-c", "/usr/bin/env -i /bin/true; /bin/true")
    assert ran.code == 0
    assert ran.stats["processes"] == 6


def test_the_exit_code_is_the_commands_own(improved: Runner, tmp_path: Path) -> None:
    assert improved("sh", "-c", "exit 41").code == 41
    assert improved("sh", "-c", "kill -KILL $$").code == 128 + 9
    assert improved("no-such-command").code == 127
    assert improved("/etc/passwd").code == 126
    assert improved(str(tmp_path)).code == 126


def test_nothing_is_left_behind(tmp_path: Path, improved: Runner) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    improved("true", env=os.environ | {"XDG_RUNTIME_DIR": str(folder)})
    assert list(folder.iterdir()) == []


def test_an_improved_program_may_improve_another(improved: Runner) -> None:
    import sys

    ran = improved(sys.executable, "-m", "peephole", "improve", "--rules", "none", "--", "sh", "-c", "env")
    assert ran.code == 0
    assert b"libpeephole" not in ran.out and b"PEEPHOLE_CONTROL" not in ran.out


def test_a_foreign_control_file_is_not_believed(tmp_path: Path) -> None:
    from peephole.improve.arm import arm

    with arm([]) as armed:
        env = armed.environment(os.environ)
        Path(env["PEEPHOLE_CONTROL"]).chmod(0o666)
        subprocess.run(["true"], env=env, check=True)
        assert armed.stats()["processes"] == 0
        Path(env["PEEPHOLE_CONTROL"]).chmod(0o600)
        subprocess.run(["true"], env=env, check=True)
        assert armed.stats()["processes"] == 1


def test_a_daemon_goes_on_after_the_launcher_left(tmp_path: Path, improved: Runner) -> None:
    import time

    out = tmp_path / "out"
    improved("sh", "-c", f"(sleep 1; /bin/echo still here; /bin/true) >{out} 2>&1 </dev/null & true")
    deadline = time.monotonic() + 20
    # The shell has left, perhaps before the one behind it opened the file.
    while not (out.exists() and out.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert out.read_text() == "still here\n"


def test_a_program_with_calls_of_its_own_gets_no_rules(tmp_path: Path, ruled: Runner, improved: Runner) -> None:
    go = '__asm__(".section .note.go.buildid,\\"a\\",@note; .long 4, 4, 4; .ascii \\"Go\\\\0\\\\0abcd\\"; .previous");'
    program = compile_c(tmp_path, go + "int main(void) { return 3; }", "-Wl,--build-id=none")
    ran = ruled(str(program))
    assert ran.code == 3
    assert [one["why"] for one in ran.stats["not_covered"]] == ["sites"]
    assert improved(str(program)).stats["not_covered"] == []


SWITCHED = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
for n in range(2000):
    os.write(fd, b"x")
    if n == 999:
        print("ready", flush=True)
        sys.stdin.readline()
"""


def test_rules_are_switched_off_with_a_shell(tmp_path: Path) -> None:
    from peephole.improve.arm import arm

    file = tmp_path / "file"
    with arm(["coalesce_writes"]) as armed:
        env = armed.environment(os.environ)
        words = ["/usr/bin/python3", "-c", SWITCHED, str(file)]
        with subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            # As docs/interposer.md says.
            switch = f"printf '\\0\\0\\0\\0' | dd of={env['PEEPHOLE_CONTROL']} bs=1 seek=16 conv=notrunc"
            subprocess.run(["sh", "-c", switch], check=True, stderr=subprocess.DEVNULL)
            process.communicate("\n", timeout=30)
        hits = armed.stats()["rules"]["coalesce_writes"]["hits"]
    assert process.returncode == 0
    assert file.read_bytes() == b"x" * 2000
    assert 900 <= hits <= 1000


@pytest.mark.root
def test_a_program_that_gives_up_root_runs_without_what_it_can_not_reach(plain: Runner, improved: Runner) -> None:
    if os.geteuid():
        pytest.skip("needs root to give it up")
    words = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/id", "-u")
    ran = improved(*words)
    assert (ran.seen, ran.err) == (plain(*words).seen, b"")
    assert [one["why"] for one in ran.stats["not_covered"]] == ["library"]


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
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for n in range(100): os.write(fd, b"x")
library = ctypes.CDLL(sys.argv[2])
for n in range(100):
    library.raw_write(fd, b"raw", 3)
    os.write(fd, b"x")
"""


def test_a_library_that_makes_calls_of_its_own_is_patched_when_it_is_known(
    tmp_path: Path, ruled: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source, library, file = tmp_path / "library.c", tmp_path / "library.so", tmp_path / "file"
    source.write_text(RAW)
    seen = []
    # Unknown at first, then known; then an upgrade puts another in its place, which is unknown again.
    for version in (1, 1, 2, 2):
        library.unlink(missing_ok=True)
        flags = ["-shared", "-fPIC", "-O1", f"-DVERSION={version}", "-Wl,--build-id", f"-Wl,-soname,v{version}"]
        subprocess.run(["gcc", *flags, "-o", library, source], check=True)
        file.unlink(missing_ok=True)
        ran = ruled("/usr/bin/python3", "-c", LOADS, str(file), str(library))
        assert (ran.code, ran.err, file.read_bytes()) == (0, b"", b"x" * 100 + b"rawx" * 100)
        hits = ran.stats["rules"]["coalesce_writes"]["hits"]
        seen.append((hits // 100, [one["exe"] for one in ran.stats["not_covered"]]))
    assert seen == [(1, [str(library)]), (3, []), (1, [str(library)]), (3, [])]


def test_a_library_that_is_linked_to_the_program_is_patched_too(tmp_path: Path, ruled: Runner) -> None:
    source, library, file = tmp_path / "library.c", tmp_path / "libraw.so", tmp_path / "file"
    source.write_text(RAW)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wl,--build-id", "-o", library, source], check=True)
    main = (
        "#include <fcntl.h>\nlong raw_write(int, const void *, unsigned long);\nint main(int argc, char **argv) {"
        "int fd = open(argv[1], O_WRONLY | O_CREAT, 0600); for (int i = 0; i < 500; i++)"
        "raw_write(fd, argv[0], 1); return argc; }"
    )
    program = compile_c(tmp_path, main, str(library))
    ran = ruled(str(program), str(file))
    assert (ran.code, len(file.read_bytes()), ran.stats["not_covered"]) == (2, 500, [])
    assert ran.stats["rules"]["coalesce_writes"]["hits"] >= 500


def test_each_of_many_libraries_is_patched(tmp_path: Path, ruled: Runner) -> None:
    libraries = [tmp_path / f"libraw{i}.so" for i in range(20)]
    for i, library in enumerate(libraries):
        source = library.with_suffix(".c")
        source.write_text(RAW.replace("raw_write", f"raw_write{i}"))
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wl,--build-id", "-o", library, source], check=True)
    main = (
        "#include <fcntl.h>\n"
        + "".join(f"long raw_write{i}(int, const void *, unsigned long);\n" for i in range(20))
        + "int main(int argc, char **argv) { int fd = open(argv[1], O_WRONLY | O_CREAT, 0600);"
        + "".join(f"for (int i = 0; i < 50; i++) raw_write{i}(fd, argv[0], 1);" for i in range(20))
        + "return argc; }"
    )
    ran = ruled(str(compile_c(tmp_path, main, *map(str, libraries))), str(tmp_path / "file"))
    assert (ran.code, len((tmp_path / "file").read_bytes()), ran.stats["not_covered"]) == (2, 1000, [])
    assert ran.stats["rules"]["coalesce_writes"]["hits"] >= 1000


def test_a_program_of_old_that_a_shell_starts_is_covered(tmp_path: Path, ruled: Runner) -> None:
    main = (
        "#include <fcntl.h>\n#include <unistd.h>\nint main(int argc, char **argv) {"
        "int fd = open(argv[1], O_WRONLY | O_CREAT, 0600); for (int i = 0; i < 500; i++)"
        "write(fd, argv[0], 1); return argc; }"
    )
    program = compile_c(tmp_path, main, "-Wl,--no-as-needed", "-l:libpthread.so.0", "-l:librt.so.1")
    ran = ruled("/bin/sh", "-c", f"{program} {tmp_path}/file; true")
    assert (ran.code, len((tmp_path / "file").read_bytes()), ran.stats["not_covered"]) == (0, 500, [])
    assert ran.stats["rules"]["coalesce_writes"]["hits"] >= 500


def test_a_program_whose_own_text_makes_calls_gets_no_rules(tmp_path: Path, ruled: Runner) -> None:
    main = RAW + "int main(int argc, char **argv) { raw_write(1, argv[1], 1); return argc; }"
    ran = ruled(str(compile_c(tmp_path, main, "-Wl,--build-id")), "x")
    assert (ran.code, ran.out) == (2, b"x")
    assert [one["why"] for one in ran.stats["not_covered"]] == ["sites"]
