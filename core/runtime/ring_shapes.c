/* What the recorder's own tables say of a call. In a file of its own, since what it includes has other names for things
 * than the runtime. */
#include "../record/arity.h"
#include "../record/shapes.h"

#include "ring.h"

/* Calls that wait for nothing and nobody, so that how long they take is known beforehand: of these the entry is not timed. */
static const uint16_t short_calls[] = {
	__NR_getpid, __NR_getppid, __NR_gettid, __NR_getpgrp, __NR_getpgid, __NR_getsid, __NR_getuid, __NR_geteuid, __NR_getgid,
	__NR_getegid, __NR_getresuid, __NR_getresgid, __NR_getgroups, __NR_getpriority, __NR_getrlimit, __NR_getrusage,
	__NR_times, __NR_time, __NR_gettimeofday, __NR_clock_gettime, __NR_clock_getres, __NR_uname, __NR_umask, __NR_getcpu,
	__NR_sched_getaffinity, __NR_sched_getscheduler, __NR_sched_getparam, __NR_sched_get_priority_max,
	__NR_sched_get_priority_min, __NR_capget, __NR_sigaltstack, __NR_rt_sigprocmask, __NR_rt_sigpending, __NR_lseek, __NR_dup,
	__NR_getsockname, __NR_getpeername, __NR_getsockopt, __NR_set_robust_list, __NR_get_robust_list, __NR_set_tid_address,
	__NR_rseq, __NR_arch_prctl, __NR_getitimer, __NR_setitimer, __NR_alarm, __NR_timer_gettime, __NR_timerfd_gettime,
};

static unsigned arity(unsigned nr)
{
	if (nr < sizeof(call_arity) - 1)
		return (unsigned)(call_arity[nr] - '0');
	if (nr >= ARITY_LATE_FROM && nr < ARITY_LATE_FROM + sizeof(call_arity_late) - 1)
		return (unsigned)(call_arity_late[nr - ARITY_LATE_FROM] - '0');
	return 6;
}

void ph_ring_shapes(uint16_t shapes[PH_RING_SHAPES])
{
	for (unsigned nr = 0; nr < PH_RING_SHAPES; nr++)
		shapes[nr] = (uint16_t)(arity(nr) | PH_RING_TIMED);
	for (unsigned i = 0; i < sizeof(call_shapes) / sizeof(call_shapes[0]); i++) {
		unsigned shape = call_shapes[i].shape, path = PH_SHAPE_ARG(shape, 3), path2 = PH_SHAPE_ARG(shape, 6);

		if (call_shapes[i].nr < PH_RING_SHAPES)
			shapes[call_shapes[i].nr] |= (uint16_t)(path << PH_RING_PATH_AT | path2 << PH_RING_PATH2_AT);
	}
	for (unsigned i = 0; i < sizeof(short_calls) / sizeof(short_calls[0]); i++)
		shapes[short_calls[i]] &= (uint16_t)~PH_RING_TIMED;
}
