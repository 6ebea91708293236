/* The cpu-clock: ticks on every CPU that run a BPF program. No hardware counter is needed. */
#ifndef PH_RECORD_CLOCK_H
#define PH_RECORD_CLOCK_H

struct ph_clock {
	int n;
	int *fds;
};

int ph_clock_init(struct ph_clock *clock, int program_fd, unsigned int hz);
void ph_clock_fini(struct ph_clock *clock);

#endif
