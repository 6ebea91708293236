/* Mechanisms on stream sockets: see rule.h. */
#include "layers.h"
#include "numbers.h"
#include "opens.h"
#include "run.h"

#define READY_IN_A_ROW 16	/* so many waits that need not wait, and then everything that is kept is sent */
#define PIECE_OVERHEAD 2048	/* of the kernel, for a piece that it keeps apart (skbuff.h, SKB_TRUESIZE) */
#define IN_VAIN 2		/* waits that found nothing; then */
#define SKIP 16			/* only one in so many is tried */
#define STUCK_MS 1000		/* the kernel has no room although it had: longer is no wait but a dead peer */

enum { TCP_ESTABLISHED = 1, TCP_CLOSE_WAIT = 8 };		/* net/tcp_states.h */
enum { MEMINFO_SNDBUF = 3, MEMINFO_WMEM_QUEUED = 5, MEMINFO_VARS = 9 };	/* linux/sock_diag.h */

static int64_t option(int64_t fd, int64_t level, int64_t name, void *value, uint32_t size)
{
	return ph_syscall(PH_NR_getsockopt, fd, level, name, (int64_t)value, (int64_t)&size, 0);
}

bool ph_is_stream(int64_t fd)
{
	int32_t protocol = 0;

	return option(fd, PH_SOL_SOCKET, PH_SO_PROTOCOL, &protocol, sizeof(protocol)) == 0 && protocol == PH_IPPROTO_TCP;
}

/* What this layer and those below it keep for fd. */
static int64_t kept(struct ph_k *k, int64_t fd)
{
	struct ph_description *d = ph_description_of(fd);
	int64_t bytes = 0;

	for (unsigned i = k->layer; d && i < ph_n_layers; i++)
		if ((d->handled & (1u << i)) && ph_layers[i].rule->buffer_bytes)
			bytes += ph_state_of(k->walk, d, i)->len;
	return bytes;
}

/* Connected, not corked, and without a mark for what may wait unsent, by which a program means to be stopped earlier. */
static bool plain_connection(int64_t fd)
{
	struct ph_description *d = ph_description_of(fd);
	uint32_t lowest = 0, corked = 0;
	uint8_t state = 0;

	if (d && d->plain_connection)
		return true;
	if (option(fd, PH_IPPROTO_TCP, PH_TCP_INFO, &state, sizeof(state)) < 0 ||
	    option(fd, PH_IPPROTO_TCP, PH_TCP_NOTSENT_LOWAT, &lowest, sizeof(lowest)) < 0 ||
	    option(fd, PH_IPPROTO_TCP, PH_TCP_CORK, &corked, sizeof(corked)) < 0 || corked ||
	    (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT) || lowest)
		return false;
	if (d)
		d->plain_connection = true;	/* until a call that no rule sees */
	return true;
}

int64_t ph_roomy(struct ph_k *k, int64_t fd)
{
	uint32_t memory[MEMINFO_VARS] = { 0 };
	int64_t room;

	if (k->walk->trial) {
		k->walk->aborted = true;
		return 0;
	}
	if (!plain_connection(fd) || option(fd, PH_SOL_SOCKET, PH_SO_MEMINFO, memory, sizeof(memory)) < 0)
		return 0;
	/* Writable ends where two thirds are queued (sk_stream_is_writeable). The kernel counts its own overhead too, which
	 * for large pieces is less than the bytes themselves. Only this process adds to the queue, under our eyes; the peer
	 * takes from it. */
	room = ((int64_t)memory[MEMINFO_SNDBUF] * 2 / 3 - (int64_t)memory[MEMINFO_WMEM_QUEUED]) / 2 - kept(k, fd);
	return room > 0 ? room : 0;
}

int64_t ph_cost(struct ph_k *k, int64_t n)
{
	(void)k;
	return n + PIECE_OVERHEAD;
}

int64_t ph_k_receive(struct ph_k *k, int64_t fd, int64_t user, int64_t n)
{
	uint64_t start = ph_below_begin(k);
	int64_t r = -PH_EAGAIN;

	if (!k->walk->trial || k->walk->glance)
		r = ph_syscall(PH_NR_recvfrom, fd, user, n, PH_MSG_DONTWAIT, 0, 0);
	if (r != -PH_EAGAIN)	/* the program's own call */
		ph_below_end(k, start);
	if (k->walk->trial && r == -PH_EAGAIN)
		k->walk->aborted = true;
	else
		k->walk->received = true;
	return r;
}

int64_t ph_k_ready(struct ph_k *k, int64_t epoll, int64_t events, int64_t n)
{
	static _Atomic uint32_t in_a_row, in_vain, skipped;
	uint64_t start = ph_below_begin(k);
	int64_t r = 0;

	/* Where the last time nothing was there, most often nothing is. */
	if (atomic_load(&in_vain) >= IN_VAIN && atomic_fetch_add(&skipped, 1) % SKIP)
		return 0;
	if (ph_anything_pending() && atomic_load(&in_a_row) < READY_IN_A_ROW) {
		r = ph_syscall(PH_NR_epoll_wait, epoll, events, n, 0, 0, 0);
		atomic_store(&in_vain, r ? 0 : atomic_load(&in_vain) + 1);
	}
	atomic_store(&in_a_row, r ? atomic_load(&in_a_row) + 1 : 0);
	if (r)
		ph_below_end(k, start);
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

static int64_t send_all(struct ph_k *k, int64_t fd, int64_t len, int64_t flags)
{
	uint8_t *buffer = ph_buffer_of(k->walk->d, k->layer);

	if (!buffer || len < 0 || len > PH_BUFFER_MAX)
		return -PH_EFAULT;
	for (int64_t done = 0; done < len;) {
		int64_t r = ph_syscall(PH_NR_sendto, fd, (int64_t)(buffer + done), len - done,
				       PH_MSG_DONTWAIT | PH_MSG_NOSIGNAL | flags, 0, 0);

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

int64_t ph_k_send_all(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len)
{
	(void)f;
	return send_all(k, fd, len, 0);
}

int64_t ph_k_send_more(struct ph_k *k, int64_t fd, struct ph_state *f, int64_t len)
{
	(void)f;
	if (k->walk->trial) {
		k->walk->aborted = true;
		return -PH_EAGAIN;
	}
	return send_all(k, fd, len, PH_MSG_MORE);
}

void ph_k_push(struct ph_k *k, int64_t fd)
{
	int32_t on = 0;
	uint32_t size = sizeof(on);

	(void)k;
	/* Where the program has corked the socket, it waits as the program means it to. */
	if (ph_syscall(PH_NR_getsockopt, fd, PH_IPPROTO_TCP, PH_TCP_CORK, (int64_t)&on, (int64_t)&size, 0) == 0 && !on)
		ph_syscall(PH_NR_setsockopt, fd, PH_IPPROTO_TCP, PH_TCP_CORK, (int64_t)&on, size, 0);
}
