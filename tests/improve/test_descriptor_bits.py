"""The close-on-exec bits of programs' descriptors: whoever is executed has those that it would have without us."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peephole.improve.arm import arm
from peephole.prove.language import rule_names

#: each way sets the bits of some files that it has just opened, and then tells what /proc says or a program sees
SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 6
static int fds[FILES];
static char *words[] = { "sh", "-c", "ls -l /proc/$$/fd | grep file", NULL };

static void bits(void)
{
	for (int i = 0; i < FILES; i++)
		printf("%d ", fcntl(fds[i], F_GETFD));
	printf("\n");
}

/* files 1, 3 and 5 are closed by exec; the last is so twice over, the second is not after all */
static void open_files(void)
{
	char name[8];

	for (int i = 0; i < FILES; i++) {
		sprintf(name, "file%d", i);
		fds[i] = open(name, O_RDWR | O_CREAT | (i == 4 ? O_CLOEXEC : 0), 0600);
		if (fcntl(fds[i], F_GETFD) != (i == 4 ? FD_CLOEXEC : 0))
			exit(2);
		fcntl(fds[i], F_SETFD, i & 1 ? FD_CLOEXEC : 0);
	}
	fcntl(fds[2], F_SETFD, FD_CLOEXEC | 8);
	fcntl(fds[2], F_SETFD, 2);
	bits();
}

/* What the kernel has: /proc is no call about a descriptor. */
static int kept(int fd)
{
	char name[32], line[64];
	unsigned flags = 0;
	FILE *info;

	sprintf(name, "/proc/self/fdinfo/%d", fd);
	info = fopen(name, "re");
	while (info && fgets(line, sizeof(line), info))
		sscanf(line, "flags: %o", &flags);
	if (info)
		fclose(info);
	return !!(flags & O_CLOEXEC);
}

static void *thread(void *unused)
{
	(void)unused;
	for (int i = 0; i < FILES; i++)
		printf("%d ", kept(fds[i]));
	fcntl(fds[0], F_SETFD, FD_CLOEXEC);
	fcntl(fds[1], F_SETFD, 0);
	bits();
	fflush(stdout);
	execv("/bin/sh", words);
	return NULL;
}

static void start(const char *how)
{
	pid_t pid = 0;
	int status;

	fflush(stdout);
	if (strcmp(how, "spawn") == 0)
		posix_spawn(&pid, "/bin/sh", NULL, NULL, words, environ);
	else if ((pid = strcmp(how, "vfork") == 0 ? vfork() : fork()) == 0)
		_exit(execv("/bin/sh", words));
	waitpid(pid, &status, 0);
	bits();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t one;

	open_files();
	if (strcmp(what, "dup") == 0) {
		printf("%d %d ", fcntl(dup(fds[1]), F_GETFD), fcntl(dup2(fds[3], 40), F_GETFD));
		printf("%d ", fcntl(dup3(fds[5], 41, O_CLOEXEC), F_GETFD));
		printf("%d\n", fcntl(fcntl(fds[0], F_DUPFD_CLOEXEC, 42), F_GETFD));
		close(fds[1]);
		dup2(fds[5], fds[0]);
	} else if (strcmp(what, "ioctl") == 0) {
		ioctl(fds[0], FIOCLEX);
		ioctl(fds[1], FIONCLEX);
	} else if (strcmp(what, "range") == 0) {
		close_range((unsigned)fds[0], (unsigned)fds[2], CLOSE_RANGE_CLOEXEC);
	} else if (strcmp(what, "again") == 0) {
		for (int i = 0; i < 2000; i++) {
			int fd = open("filing", O_RDWR | O_CREAT, 0600);

			if (fcntl(fd, F_GETFD) || fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_GETFD) != FD_CLOEXEC || close(fd))
				return 3;
		}
	} else if (strcmp(what, "fails") == 0) {
		execv("/nowhere", words);
	} else if (strcmp(what, "leaves") == 0) {	/* what is mapped is handled no longer, and then nothing is */
		write(fds[1], what, 6);
		mmap(NULL, 6, PROT_READ, MAP_SHARED, fds[1], 0);
		printf("%d ", kept(fds[1]));
		unshare(0);
		for (int i = 0; i < FILES; i++)
			printf("%d ", kept(fds[i]));
	} else if (strcmp(what, "thread") == 0) {
		pthread_create(&one, NULL, thread, NULL);
		for (;;)	/* no call of this thread's makes anything good */
			;
	} else {
		start(what);
		fcntl(fds[1], F_SETFD, 0);
	}
	bits();
	fflush(stdout);
	execv("/bin/sh", words);
	return 1;
}
"""
WAYS = ("exec", "fork", "vfork", "spawn", "dup", "ioctl", "range", "again", "fails", "leaves", "thread")
#: descriptors of a shell, of its children, and of what Python starts
LOOK = "ls -l /proc/self/fd"
SCRIPTS = {
    "bash": f"exec 5<a 6>b {{v}}<a; {LOOK} | grep -c /[ab]$; (exec 5<&-; exec {LOOK}) | grep -c /[ab]$;"
    f" {{ read -r x; echo $x >&6; }} <a 7<a; exec 6>&-; cat b; exec {LOOK} <&5 | grep -c /[ab]$",
    "dash": f"exec 5<a 6>b; while read -r x; do echo $x >&6; done <a; exec 6>&-; cat b <&5 7<a; exec {LOOK}",
}
PYTHON = r"""
import fcntl, os, subprocess
kept = [os.open("a", os.O_RDONLY) for i in range(4)]
for i, fd in enumerate(kept):
    fcntl.fcntl(fd, fcntl.F_SETFD, i & 1)
print([fcntl.fcntl(fd, fcntl.F_GETFD) for fd in kept], flush=True)
look = ["sh", "-c", "ls -l /proc/$$/fd | grep -c /a$"]
for options in ({"close_fds": False}, {"close_fds": True}, {"pass_fds": kept[:3]}, {"pass_fds": kept}):
    subprocess.run(look, **options)
print([fcntl.fcntl(fd, fcntl.F_GETFD) for fd in kept], flush=True)
os.execvp("sh", look)
"""


def _lines(words: list[str], folder: Path, env: dict[str, str]) -> list[str]:
    """What a command says, without what differs each time: when a link was made, and where folders are."""
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=True)
    lines = [line.split(" ")[-3:] if "->" in line else [line] for line in done.stdout.splitlines()]
    return [" ".join(line) for line in lines if "/proc/" not in line[-1] and "pipe:" not in line[-1]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bits")
    (folder / "bits.c").write_text(SOURCE)
    subprocess.run(["gcc", "-O1", "-pthread", "-o", folder / "bits", folder / "bits.c"], check=True)
    return folder / "bits"


@pytest.mark.parametrize("rules", [["shadow_descriptor"], rule_names()], ids=["alone", "all"])
@pytest.mark.parametrize("what", WAYS)
def test_another_program_has_the_descriptors_that_it_should(
    what: str, rules: list[str], program: Path, tmp_path: Path
) -> None:
    words = [str(program), what]
    plain = _lines(words, tmp_path, dict(os.environ))
    assert any("file" in line for line in plain), plain
    with arm(rules) as armed:
        assert _lines(words, tmp_path, armed.environment(os.environ)) == plain
        if what == "again":
            assert armed.stats()["rules"]["shadow_descriptor"]["hits"] >= 3 * 2000


@pytest.mark.parametrize("shell", SCRIPTS)
def test_redirections_of_shells_are_as_they_were(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    seen = []
    for rules in ([], ["shadow_descriptor"], rule_names()):
        (tmp_path / "a").write_text("one\ntwo\n")
        (tmp_path / "b").unlink(missing_ok=True)
        with arm(rules) as armed:
            env = armed.environment(os.environ) if rules else dict(os.environ)
            seen.append(_lines([shell, "-c", SCRIPTS[shell]], tmp_path, env))
    assert seen[0] and seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("rules", [["shadow_descriptor"], rule_names()], ids=["alone", "all"])
def test_what_python_passes_on_is_there_and_no_more(rules: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    words = [sys.executable, "-I", "-S", "-c", PYTHON]
    plain = _lines(words, tmp_path, dict(os.environ))
    assert plain == ["[0, 1, 0, 1]", "2", "0", "3", "4", "[0, 1, 0, 1]", "2"]
    with arm(rules) as armed:
        assert _lines(words, tmp_path, armed.environment(os.environ)) == plain
