#include "clock.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_cpu(int cpu, int program_fd, unsigned int hz)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK,
					.sample_period = 1000000000ull / hz };
	int fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program_fd) || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

int ph_clock_init(struct ph_clock *clock, int program_fd, unsigned int hz)
{
	int cpus = libbpf_num_possible_cpus();

	*clock = (struct ph_clock){ .fds = calloc(cpus, sizeof(int)) };
	if (!clock->fds)
		return -ENOMEM;
	for (int cpu = 0; cpu < cpus; cpu++) {
		int fd = open_cpu(cpu, program_fd, hz);

		if (fd == -ENODEV)	/* a CPU that is not there */
			continue;
		if (fd < 0) {
			ph_clock_fini(clock);
			return fd;
		}
		clock->fds[clock->n++] = fd;
	}
	return 0;
}

void ph_clock_fini(struct ph_clock *clock)
{
	for (int i = 0; i < clock->n; i++)
		close(clock->fds[i]);
	free(clock->fds);
	*clock = (struct ph_clock){ 0 };
}
