/* Mechanisms on stream sockets: see rule.h. */
#include "layers.h"
#include "numbers.h"
#include "opens.h"

#define READY_IN_A_ROW 16	/* so many waits that need not wait, and then everything that is kept is sent */
#define STUCK_MS 1000		/* the kernel has no room although it had: longer is no wait but a dead peer */

enum { MEMINFO_SNDBUF = 3, MEMINFO_WMEM_QUEUED = 5, MEMINFO_VARS = 9 };	/* linux/sock_diag.h */

static int64_t option(int64_t fd, int64_t name, void *value, uint32_t size)
{
	return ph_syscall(PH_NR_getsockopt, fd, PH_SOL_SOCKET, name, (int64_t)value, (int64_t)&size, 0);
}

bool ph_is_stream(int64_t fd)
{
	int32_t protocol = 0;

	return option(fd, PH_SO_PROTOCOL, &protocol, sizeof(protocol)) == 0 && protocol == PH_IPPROTO_TCP;
}

int64_t ph_roomy(struct ph_k *k, int64_t fd)
{
	uint32_t memory[MEMINFO_VARS] = { 0 };

	if (k->walk->trial) {
		k->walk->aborted = true;
		return 0;
	}
	if (option(fd, PH_SO_MEMINFO, memory, sizeof(memory)) < 0)
		return 0;
	/* The kernel counts its own overhead too, which for large pieces is less than the bytes themselves. Only this
	 * process adds to the queue, under our eyes; the peer takes from it. */
	return memory[MEMINFO_SNDBUF] >= (uint64_t)memory[MEMINFO_WMEM_QUEUED] + 2 * PH_BUFFER_MAX;
}

int64_t ph_k_receive(struct ph_k *k, int64_t fd, int64_t user, int64_t n)
{
	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	return ph_syscall(PH_NR_recvfrom, fd, user, n, PH_MSG_DONTWAIT, 0, 0);
}

int64_t ph_k_ready(struct ph_k *k, int64_t epoll, int64_t events, int64_t n)
{
	static _Atomic uint32_t in_a_row;
	int64_t r = 0;

	(void)k;
	if (ph_anything_pending() && atomic_load(&in_a_row) < READY_IN_A_ROW)
		r = ph_syscall(PH_NR_epoll_wait, epoll, events, n, 0, 0, 0);
	atomic_store(&in_a_row, r ? atomic_load(&in_a_row) + 1 : 0);
	return r;
}

/* Waits until there is room again; false: there will be none. */
static bool wait_for_room(int64_t fd)
{
	struct {
		int32_t fd;
		int16_t events, revents;
	} one = { .fd = (int32_t)fd, .events = PH_POLLOUT };

	return ph_syscall(PH_NR_poll, (int64_t)&one, 1, STUCK_MS, 0, 0, 0) != 0;
}

int64_t ph_k_send_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len)
{
	uint8_t *buffer = ph_buffer_of(k->walk->d, k->layer);

	(void)f;
	if (!buffer || len < 0 || len > PH_BUFFER_MAX)
		return -PH_EFAULT;
	for (int64_t done = 0; done < len;) {
		int64_t r = ph_syscall(PH_NR_sendto, fd, (int64_t)(buffer + done), len - done,
				       PH_MSG_DONTWAIT | PH_MSG_NOSIGNAL, 0, 0);

		if (r == -PH_EINTR || (r == -PH_EAGAIN && wait_for_room(fd)))
			continue;
		if (r == -PH_EAGAIN) {
			/* The peer must not take what comes later for what comes next. */
			ph_syscall(PH_NR_shutdown, fd, PH_SHUT_RDWR, 0, 0, 0, 0);
			return -PH_ECONNRESET;
		}
		if (r < 0)
			return r;
		done += r;
	}
	return len;
}
