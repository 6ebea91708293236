/* Making processes and replacing them: fork, vfork, posix_spawn, clone, exec. argv[0] has to be an absolute path. */
#include "conform.h"

#include <dlfcn.h>
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>

extern char **environ;

static void say_wait(const char *what, pid_t pid)
{
	int status = 0;

	if (pid < 0) {
		say("  %s: %s\n", what, strerrorname_np(errno));
		return;
	}
	waitpid(pid, &status, 0);
	say_status(what, status);
}

static void forks(void)
{
	pid_t pid;

	for (int i = 0; i < 20; i++) {
		pid = fork();
		if (pid == 0)
			_exit(i);
		say_wait("fork", pid);
	}
	pid = fork();
	if (pid == 0) {
		pid_t inner = fork();

		if (inner == 0)
			_exit(5);
		say_wait("fork in fork", inner);
		_exit(6);
	}
	say_wait("outer", pid);
}

static volatile int shared_with_child;

static void vforks(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		shared_with_child = 42;
		_exit(3);
	}
	say_wait("vfork", pid);
	say("  the child wrote %d\n", shared_with_child);
	pid = vfork();
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "exit 9", NULL);
		_exit(99);
	}
	say_wait("vfork and exec", pid);
	pid = vfork();
	if (pid == 0) {
		int fd = open("/dev/null", O_WRONLY);

		dup2(fd, 1);
		close(fd);
		execl("/bin/echo", "echo", "not seen", NULL);
		_exit(99);
	}
	say_wait("vfork with redirection", pid);
	pid = vfork();
	if (pid == 0) {
		execl("/nonexistent", "x", NULL);
		_exit(errno == ENOENT ? 12 : 13);
	}
	say_wait("vfork and failing exec", pid);
	pid = vfork();
	if (pid == 0) {
		pid_t inner = fork();

		if (inner == 0)
			_exit(5);
		waitpid(inner, NULL, 0);
		_exit(6);
	}
	say_wait("fork in vfork", pid);
	say("  parent goes on %d\n", getppid() > 0);
}

static void spawns(void)
{
	char *const argv[] = { "sh", "-c", "exit 4", NULL }, *const bad[] = { "x", NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t set;
	pid_t pid = -1;
	int result;

	result = posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ);
	say_wait("posix_spawn", pid);
	say("  %d\n", result);
	say("  %s\n", strerrorname_np(posix_spawn(&pid, "/nonexistent", NULL, NULL, bad, environ)));
	say("  %s\n", strerrorname_np(posix_spawnp(&pid, "nonexistent-program", NULL, NULL, bad, environ)));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	posix_spawnattr_init(&attr);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigaddset(&set, SIGINT);
	signal(SIGSEGV, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	posix_spawnattr_setsigdefault(&attr, &set);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	result = posix_spawn(&pid, "/bin/sh", &actions, &attr, argv, environ);
	say_wait("posix_spawn with actions", pid);
	say("  %d\n", result);
	char *const status[] = { "sh", "-c", "kill -SEGV $$; echo '  ignored it'", NULL };
	result = posix_spawn(&pid, "/bin/sh", NULL, &attr, status, environ);
	say_wait("ignored, defaulted", pid);
	say("  %d\n", result);
	result = posix_spawn(&pid, "/bin/sh", NULL, NULL, status, environ);
	say_wait("ignored", pid);
	say("  %d\n", result);
	struct sigaction old;
	sigaction(SIGSEGV, NULL, &old);
	say("  still ignored here %d\n", old.sa_handler == SIG_IGN);
}

static int on_new_stack(void *argument)
{
	shared_with_child = *(int *)argument;
	return getppid() > 0 ? 11 : 12;
}

static void clones(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int argument = 7;

	say_wait("clone", clone(on_new_stack, stack + sizeof(stack), SIGCHLD, &argument));
	say("  its own memory %d\n", shared_with_child);
	say_wait("clone CLONE_VM|CLONE_VFORK",
		 clone(on_new_stack, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &argument));
	say("  shared memory %d\n", shared_with_child);
	argument = 8;
	say_wait("clone CLONE_VM", clone(on_new_stack, stack + sizeof(stack), CLONE_VM | SIGCHLD, &argument));
	say("  shared memory %d\n", shared_with_child);
	say_wait("clone CLONE_FILES", clone(on_new_stack, stack + sizeof(stack), CLONE_FILES | SIGCHLD, &argument));
	SAY_CALL(clone(on_new_stack, stack + sizeof(stack), CLONE_THREAD | SIGCHLD, &argument));
	say_wait("syscall(clone)", (pid_t)({
			 long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
			 if (pid == 0)
				 _exit(21);
			 pid;
		 }));
	say_wait("syscall(fork)", (pid_t)({
			 long pid = syscall(SYS_fork);
			 if (pid == 0)
				 _exit(22);
			 pid;
		 }));
}

static void *fork_in_thread(void *argument)
{
	long *codes = argument;

	for (int i = 0; i < 10; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0)
			_exit(getppid() > 0 ? 1 : 2);
		waitpid(pid, &status, 0);
		*codes += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
	}
	return NULL;
}

static void *spawn_in_thread(void *argument)
{
	char *const argv[] = { "true", NULL };
	long *codes = argument;

	for (int i = 0; i < 5; i++) {
		int status = 0;
		pid_t pid;

		if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ) == 0)
			waitpid(pid, &status, 0);
		*codes += !WIFEXITED(status) || WEXITSTATUS(status) ? 1000 : 1;
	}
	return NULL;
}

static void threads_fork(void)
{
	pthread_t threads[8];
	long codes[8] = { 0 };

	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, i % 2 ? fork_in_thread : spawn_in_thread, &codes[i]);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		say("  codes %ld\n", codes[i]);
	}
}

static void environment(void)
{
	static char block[1 << 20];
	int fd = open("/proc/self/environ", O_RDONLY);
	ssize_t n = read(fd, block, sizeof(block) - 1);
	int ours = 0;
	Elf64_auxv_t *auxv;
	char **end = environ;

	for (char *p = block; p < block + n; p += strlen(p) + 1)
		ours += strstr(p, "PEEPHOLE_CONTROL") != NULL || strstr(p, "libpeephole") != NULL || strstr(p, "PEEPHOLE_PAIR") != NULL;
	for (; *end; end++)
		ours += strstr(*end, "PEEPHOLE_CONTROL") != NULL || strstr(*end, "libpeephole") != NULL;
	say("  ours in it: %d; LD_PRELOAD=%s\n", ours, getenv("LD_PRELOAD") ?: "(unset)");
	auxv = (Elf64_auxv_t *)(end + 1);
	unsigned long page = 0, entry = 0;
	for (; auxv->a_type != AT_NULL; auxv++) {
		if (auxv->a_type == AT_PAGESZ)
			page = auxv->a_un.a_val;
		if (auxv->a_type == AT_ENTRY)
			entry = auxv->a_un.a_val;
	}
	say("  auxv behind it: page %lu, entry %d, vdso %d\n", page, entry == getauxval(AT_ENTRY),
	    getauxval(AT_SYSINFO_EHDR) != 0);
}

static void exec_as(char *const env[], const char *what)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		execle("/usr/bin/env", "env", NULL, env);
		_exit(99);
	}
	say_wait(what, pid);
}

static void execs(void)
{
	char *empty[] = { NULL }, *one[] = { "A=1", NULL }, *twice[] = { "A=1", "A=2", "", "no_equals_sign", NULL };
	char *argv[] = { "env", NULL };
	pid_t pid;
	int fd;

	exec_as(empty, "empty environment");
	exec_as(one, "one variable");
	exec_as(twice, "odd variables");
	pid = fork();
	if (pid == 0) {
		syscall(SYS_execve, "/usr/bin/env", argv, NULL);
		_exit(99);
	}
	say_wait("NULL environment", pid);
	fd = open("/usr/bin/env", O_RDONLY | O_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		fexecve(fd, argv, one);
		_exit(99);
	}
	say_wait("fexecve", pid);
	fd = open("/usr/bin", O_PATH | O_DIRECTORY | O_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		execveat(fd, "env", argv, one, 0);
		_exit(99);
	}
	say_wait("execveat", pid);
	say_status("env -i env -i env", system("env -i env -i B=2 env"));
	say_status("execvp over PATH", system("PATH=/nonexistent:/tmp:/usr/bin:/bin; export PATH; ls -d /"));
	say_status("ldd", system("ldd /bin/true | grep -c peephole"));
}

static void big_environment(void)
{
	static char names[3000][8];
	static char *env[3001];
	pid_t pid;

	for (int i = 0; i < 3000; i++) {
		snprintf(names[i], sizeof(names[i]), "V%d=1", i);
		env[i] = names[i];
	}
	for (int n = 3000; n > 100; n /= 4) {
		env[n] = NULL;
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			execle("/bin/sh", "sh", "-c", "env | grep -c ^V", NULL, env);
			_exit(99);
		}
		say_wait("big environment", pid);
	}
	pid = fork();
	if (pid == 0) {
		char *text = malloc(3 << 20);

		memset(text, 'x', (3 << 20) - 1);
		text[(3 << 20) - 1] = 0;
		char *too_big[] = { text, NULL };
		SAY_CALL(execle("/bin/true", "true", NULL, too_big));
		_exit(0);
	}
	say_wait("too big", pid);
}

static void descriptors(void)
{
	int fd = open("/dev/null", O_RDONLY);

	say("  first free %d\n", fd);
	close(fd);
	say("  in /proc/self/fd:\n");
	say("  %d\n", system("ls /proc/self/fd | wc -l"));
	for (int i = 3; i < 1024; i++)
		close(i);
	say("  after closing all: first free %d\n", open("/dev/null", O_RDONLY));
	SAY_CALL(close_range(3, ~0u, 0));
	say("  after close_range: first free %d\n", open("/dev/null", O_RDONLY));
	say("  %d\n", system("true"));
}

static void few_descriptors(void)
{
	struct rlimit limit = { 3, 3 };
	pid_t pid;

	setrlimit(RLIMIT_NOFILE, &limit);
	SAY_CALL(open("/dev/null", O_RDONLY));
	pid = fork();
	if (pid == 0) {
		close(0);
		execl("/bin/true", "true", NULL);
		_exit(99);
	}
	say_wait("exec with one descriptor free", pid);
	pid = vfork();
	if (pid == 0)
		_exit(1);
	say_wait("vfork", pid);
}

static void later(void)
{
	void *library = dlopen("libm.so.6", RTLD_NOW);
	double (*cosine)(double) = (double (*)(double))dlsym(library, "cos");

	say("  cos(0) = %g\n", cosine(0));
	say("  dlclose %d\n", dlclose(library));
	say("  %s\n", dlopen("libnothing.so.9", RTLD_NOW) ? "found" : "not found");
	FILE *p = popen("echo from popen", "r");
	char line[64] = "";
	if (!fgets(line, sizeof(line), p))
		say("  nothing\n");
	say("  %s  pclose %d\n", line, pclose(p));
}

/* A filter that kills for calls which this program and /bin/true do not make. */
static void shut_in(bool by_prctl)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fgetxattr, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ftruncate, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };
	char name[] = "/tmp/conform-XXXXXX";
	int fd = mkstemp(name);
	pid_t pid;

	unlink(name);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (by_prctl)
		SAY_CALL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter));
	else
		SAY_CALL(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
	SAY_CALL(write(fd, "x", 1));
	SAY_CALL(close(fd));
	pid = fork();
	if (pid == 0) {
		execl("/bin/true", "true", NULL);
		_exit(99);
	}
	say_wait("exec below a filter", pid);
}

static void seccomp(void)
{
	if (fork() == 0) {
		shut_in(true);
		_exit(0);
	}
	wait(NULL);
	shut_in(false);
}

static void at_exit_written(void)
{
	say("  exit handlers run\n");
}

static void exits(void)
{
	atexit(at_exit_written);
	printf("  buffered");
	exit(17);
}

static const struct check checks[] = {
	{ "fork", forks },
	{ "vfork", vforks },
	{ "posix_spawn", spawns },
	{ "clone", clones },
	{ "threads_fork_and_spawn", threads_fork },
	{ "environment", environment },
	{ "exec", execs },
	{ "big_environment", big_environment },
	{ "descriptors", descriptors },
	{ "few_descriptors", few_descriptors },
	{ "dlopen_and_popen", later },
	{ "seccomp", seccomp },
	{ "exit", exits },
};

CONFORM_MAIN(checks)
