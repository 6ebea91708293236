/* Starting the observed command: held back until the recorder is attached. */
#ifndef PH_RECORD_LAUNCH_H
#define PH_RECORD_LAUNCH_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

struct ph_launch {
	pid_t pid;
	int go;			/* write one byte and the command starts */
	int failed;		/* read: the errno of a failed exec, or end of file */
	sigset_t old_mask;
	int64_t cpu_ns;		/* of the command and of all that it waited for, once it has ended */
};

int ph_launch_init(struct ph_launch *launch, const char *path, char *const argv[], uint64_t cookie);
/* 0, or the -errno of exec; the child is then already reaped. */
int ph_launch_go(struct ph_launch *launch);
/* Kill and reap a command that was not started. */
void ph_launch_cancel(struct ph_launch *launch);
/* There is no command: only hold the signals back. */
void ph_launch_none(struct ph_launch *launch);
/* Wait at most timeout_ns for a signal; 1: one that asks to end came. */
int ph_launch_asked_to_end(long timeout_ns);
/* Wait at most timeout_ns for the command's end or a signal to pass on. 1: ended, *status is set; 0: go on. */
int ph_launch_wait(struct ph_launch *launch, long timeout_ns, int *status);
/* The file that execvp() would run, or -errno. */
int ph_launch_find(const char *name, char *path, size_t n);

#endif
