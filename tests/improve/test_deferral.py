"""Signal handlers wait for the end of what a rule does firmly; holding signals back would cost two calls each time."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peephole import native
from peephole.improve.arm import arm

Runner = Callable[..., Any]

PROGRAM = r"""
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
static volatile int caught, done;
static void count(int signal) { caught++; }
static void *often(void *thread)
{
    while (!done && usleep(200) == 0)
        pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}
int main(int argc, char **argv)
{
    pthread_t self = pthread_self(), sender;
    struct stat st;
    struct sigaction action = { .sa_handler = count, .sa_flags = SA_RESTART };
    sigaction(atoi(argv[2]), &action, NULL);
    if (argc > 3)
        pthread_create(&sender, NULL, often, &self);
    for (int i = 0; i < 300; i++) {
        int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
        for (int j = 0; j < 10; j++)
            if (write(fd, "0123456789", 10) != 10)
                return 1;
        if (fstat(fd, &st) < 0 || st.st_size != 100 || fsync(fd) < 0 || close(fd) < 0)
            return 2;
    }
    done = 1;
    if (argc > 3)
        pthread_join(sender, NULL);
    return argc > 3 && !caught;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O1", "-o", folder / "program", folder / "program.c", "-pthread"], check=True)
    return folder / "program"


def traced(log: Path, words: list[str], env: dict[str, str] | None = None) -> list[str]:
    """The lines of strace: thread, call."""
    variables = [f"-E{name}={env[name]}" for name in ("LD_PRELOAD", "PEEPHOLE_CONTROL")] if env else []
    subprocess.run(["strace", "-f", "-o", log, *variables, *words], check=True, timeout=120)
    return log.read_text().splitlines()


def counted(lines: list[str]) -> Counter[str]:
    return Counter(line.split(maxsplit=1)[1].split("(")[0] for line in lines)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_firm_step_makes_no_call_for_a_handlers_sake(program: Path, tmp_path: Path) -> None:
    out, log = str(tmp_path / "out"), tmp_path / "log"
    plain = counted(traced(log, [str(program), out, "10"]))
    with arm(["coalesce_writes"]) as armed:
        env = armed.environment(os.environ)
        improved = counted(traced(log, [str(program), out, "10"], env))
        queued = counted(traced(log, [str(program), out, "40"], env))
        assert armed.stats()["rules"]["coalesce_writes"]["hits"] >= 2 * 2700
    assert plain["write"] == 3000 and improved["write"] == queued["write"] == 300
    # Once, when what is pending goes to the keeper's memory.
    assert improved["rt_sigprocmask"] == plain["rt_sigprocmask"] + 2
    assert queued["rt_sigprocmask"] >= 2 * 300  # real-time signals are not deferred
    assert improved.total() < plain.total()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_signal_that_comes_in_a_firm_step_is_sent_once_more(program: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    with arm(["coalesce_writes"]) as armed:
        lines = traced(log, [str(program), str(out), "10", "often"], armed.environment(os.environ))
    # To the thread that sends it. Without SA_SIGINFO nothing has to come with it.
    again = [line for line in lines if "tgkill(" in line and line.split()[0] == line.split(", ")[1]]
    assert again and len(again) < counted(lines)["rt_sigreturn"]
    assert out.read_bytes() == b"0123456789" * 10


@pytest.mark.long
@pytest.mark.parametrize("how", ["ruled", "trapped"])
def test_handlers_find_the_same_a_hundred_times(how: str, plain: Runner, request: pytest.FixtureRequest) -> None:
    program = str(native.path("conform_handlers"))
    expected, run = plain(program).out, request.getfixturevalue(how)
    for _ in range(100 if how == "ruled" else 10):
        assert run(program).out == expected
