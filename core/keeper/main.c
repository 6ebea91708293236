/* peephole-keeper FOLDER PID: looks after what is pending in the improved programs whose runtime folder is FOLDER.
 *
 * It writes an empty line when it is ready, and ends when process PID, and every program that has something in its memory,
 * has ended; after SIGTERM it no longer waits for PID. Exit 1 with a line that says why when it can't begin. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "slots.h"
#include "watches.h"

#define TICK_MS 40
#define SYNC_MS 3
#define TICKS 2		/* older than so many is too old */

static struct ph_slots slots;

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "peephole-keeper: %s: %s\n", what, why);
	return -1;
}

static int open_control(const char *folder)
{
	char path[4096];
	struct stat st;
	void *at = MAP_FAILED;
	int fd;

	snprintf(path, sizeof(path), "%s/control", folder);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && st.st_size == sizeof(struct ph_control))
		at = mmap(NULL, sizeof(struct ph_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	slots.control = at;
	if (at == MAP_FAILED || slots.control->magic != PH_CONTROL_MAGIC || slots.control->version != PH_CONTROL_VERSION)
		return fail(path, "not a control page of ours");
	return 0;
}

static int open_library(const char *folder)
{
	char path[4096];
	void *library;

	snprintf(path, sizeof(path), "%s/libpeephole.so", folder);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	slots.keeping = library ? dlsym(library, "ph_keeping") : NULL;
	if (!slots.keeping || slots.keeping->magic != PH_KEEPING_MAGIC || slots.keeping->version != PH_KEEPING_VERSION)
		return fail(path, library ? "not a runtime of ours" : dlerror());
	return 0;
}

static int make_memory(void)
{
	struct rlimit size;

	/* A limit on the size of files is one on a memfd too. */
	if (getrlimit(RLIMIT_FSIZE, &size) == 0) {
		size.rlim_cur = size.rlim_max;
		setrlimit(RLIMIT_FSIZE, &size);
	}
	if (getrlimit(RLIMIT_NOFILE, &size) == 0) {
		size.rlim_cur = size.rlim_max < 4096 ? size.rlim_max : 4096;
		setrlimit(RLIMIT_NOFILE, &size);
	}
	slots.memory = memfd_create("peephole", MFD_CLOEXEC);
	if (slots.memory < 0 ||
	    ftruncate(slots.memory, (off_t)(PH_SLOTS * slots.keeping->slot_bytes + sizeof(struct ph_table))) < 0)
		return fail("memory", strerror(errno));
	for (unsigned i = 0; i < PH_SLOTS; i++)
		slots.slots[i].process = -1;
	return 0;
}

static int tell(void)
{
	struct stat st;

	if (fstat(slots.memory, &st) < 0)
		return -1;
	slots.control->keeper_fd = (uint32_t)slots.memory;
	slots.control->keeper_dev = st.st_dev;
	slots.control->keeper_ino = st.st_ino;
	__atomic_store_n(&slots.control->keeper_pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
	return 0;
}

/* Says that it is ready; from then on it has no terminal, no folder, no descriptor of whoever started it. */
static int leave(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || setsid() < 0 || chdir("/") < 0 || tell() < 0 || write(1, "\n", 1) != 1)
		return fail("/dev/null", strerror(errno));
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	return 0;
}

/* Up to a tick, in which syncs are made in time, and files examined. The last of `wait` is free for what tells of files,
 * the one before it is for signals: true when one says that nobody waits for us any more. */
static bool wait_a_tick(struct pollfd *wait, nfds_t n)
{
	int64_t end = now_ms(CLOCK_MONOTONIC) + TICK_MS, left;
	struct signalfd_siginfo info;

	for (left = TICK_MS; left > 0; left = end - now_ms(CLOCK_MONOTONIC)) {
		int ms = slots.keeping->sync(slots.control, SYNC_MS, TICK_MS), examined = ph_watches_look(TICK_MS), got;

		wait[n - 1] = (struct pollfd){ .fd = ph_watches_fd(), .events = POLLIN };
		ms = examined < ms ? examined : ms;
		got = poll(wait, n, ms < left ? ms : (int)left);
		if (got > 0 && wait[n - 2].revents && read(wait[n - 2].fd, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo == SIGTERM)
				return true;
			got--;
		}
		if (got && !(got == 1 && wait[n - 1].revents))
			return false;
	}
	return false;
}

static void look_after(int starter, int signals)
{
	struct pollfd wait[PH_SLOTS + 3];
	bool finish = false;

	for (uint64_t tick = TICKS;; tick++) {
		int n = ph_slots_wait(&slots, wait), living;

		wait[n] = (struct pollfd){ .fd = finish ? -1 : starter, .events = POLLIN };
		wait[n + 1] = (struct pollfd){ .fd = signals, .events = POLLIN };
		if (wait_a_tick(wait, (nfds_t)n + 3) || wait[n].revents)
			finish = true;
		living = ph_slots_look(&slots, tick, tick - TICKS);
		__atomic_fetch_add(&slots.control->keeper_rounds, 1, __ATOMIC_RELEASE);
		if (finish && !living)
			return;
	}
}

int main(int argc, char **argv)
{
	int starter;
	sigset_t term;

	if (argc != 3)
		return fail("usage", "peephole-keeper FOLDER PID") < 0;
	close_range(3, ~0u, 0);
	if (open_control(argv[1]) < 0 || open_library(argv[1]) < 0 || make_memory() < 0)
		return 1;
	starter = (int)syscall(SYS_pidfd_open, atoi(argv[2]), 0);
	if (starter < 0)
		return fail(argv[2], strerror(errno)) < 0;
	for (int number = 1; number < 32; number++)
		if (number == SIGHUP || number == SIGINT || number == SIGQUIT || number == SIGPIPE || number == SIGXFSZ)
			signal(number, SIG_IGN);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigaddset(&term, SIGURG);
	sigprocmask(SIG_SETMASK, &term, NULL);
	ph_watches_begin(slots.control, slots.keeping->examining(slots.control));
	if (leave() < 0)
		return 1;
	look_after(starter, signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK));
	return 0;
}
