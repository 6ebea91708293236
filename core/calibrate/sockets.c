/* Prices of calls on connections, pipes and event descriptors: over loopback, where sending includes receiving. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define SEND_ROOM (1 << 20)
#define OBJECT_PIECES 4

static int connected(int pair[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int room = SEND_ROOM, one = 1, r = 0;

	if (listener < 0)
		return -errno;
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (pair[0] < 0 || bind(listener, (struct sockaddr *)&at, len) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&at, &len) || connect(pair[0], (struct sockaddr *)&at, len))
		r = -errno;
	if (!r) {
		pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		r = ph_result(pair[1]);
	}
	if (!r)
		r = ph_result(setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	close(listener);
	return r;
}

int ph_socket_init(struct bench *b)
{
	struct epoll_event event = { .events = EPOLLIN };
	int r;

	if (pipe2(b->pipe, O_CLOEXEC) || pipe2(b->pipe2, O_CLOEXEC))
		return -errno;
	r = connected(b->near);
	if (!r)
		r = connected(b->far);
	if (r)
		return r;
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (b->epoll < 0)
		return -errno;
	return ph_result(epoll_ctl(b->epoll, EPOLL_CTL_ADD, b->near[1], &event));
}

static int drain(struct bench *b)
{
	int i, fds[2] = { b->near[1], b->far[1] };

	for (i = 0; i < 2; i++)
		while (recv(fds[i], b->bytes, PIECE_MAX, MSG_DONTWAIT) > 0)
			;
	return errno == EAGAIN ? 0 : -errno;
}

/* A full piece waits to be relayed. */
static int offer(struct bench *b)
{
	int r = drain(b);
	char last;

	if (r)
		return r;
	if (send(b->near[0], b->bytes, PIECE_MAX, 0) != PIECE_MAX)
		return -errno;
	/* All of it has arrived when its last byte can be seen. */
	while (recv(b->near[1], b->bytes, PIECE_MAX, MSG_PEEK) < PIECE_MAX)
		if (recv(b->near[1], &last, 1, MSG_PEEK) < 0)
			return -errno;
	return 0;
}

static int run_send(struct bench *b, long n)
{
	return ph_result(send(b->near[0], b->bytes, n, 0));
}

static int drain_back(struct bench *b)
{
	while (recv(b->near[0], b->bytes, PIECE_MAX, MSG_DONTWAIT) > 0)
		;
	return errno == EAGAIN ? 0 : -errno;
}

/* A server's answer in pieces; then it looks whether there is more to do. */
static int answer(struct bench *b, int pieces, long n)
{
	struct epoll_event event;
	int i;

	for (i = 0; i < pieces; i++)
		if (write(b->near[1], b->bytes, n) < 0)
			return -errno;
	return ph_result(epoll_wait(b->epoll, &event, 1, 0));
}

static int run_object(struct bench *b, long n)
{
	return answer(b, OBJECT_PIECES, n);
}

static int run_header_and_body(struct bench *b, long n)
{
	return answer(b, 2, n);
}

/* --- an event loop, and clients that wait for what it sends ---------------------------------------------------- */

#define CLIENTS 4

static struct {
	int fds[CLIENTS], epoll;
} loop = { .epoll = -1 };

/* A process of its own, which connects by itself, so that nobody shares the loop's side. */
static void client(const struct sockaddr_in *at)
{
	static char bytes[PIECE_MAX];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fd >= 0 && !connect(fd, (const struct sockaddr *)at, sizeof(*at)))
		while (recv(fd, bytes, sizeof(bytes), 0) > 0)
			;
	_exit(0);
}

static int wait_at(int i, int op, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = loop.fds[i] };

	return ph_result(epoll_ctl(loop.epoll, op, loop.fds[i], &event));
}

static int begin_loop(struct bench *b)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int listener, i, one = 1, r = 0;

	(void)b;
	if (loop.epoll >= 0)
		return 0;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	loop.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (listener < 0 || loop.epoll < 0 || bind(listener, (struct sockaddr *)&at, len) || listen(listener, CLIENTS) ||
	    getsockname(listener, (struct sockaddr *)&at, &len))
		return -errno;
	for (i = 0; i < CLIENTS; i++) {
		pid_t child = fork();

		if (child < 0)
			return -errno;
		if (child == 0)
			client(&at);
	}
	for (i = 0; i < CLIENTS && !r; i++) {
		loop.fds[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (loop.fds[i] < 0 || setsockopt(loop.fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
			return -errno;
		r = wait_at(i, EPOLL_CTL_ADD, EPOLLIN);
	}
	close(listener);
	return r;
}

/* An answer in pieces to each, a piece whenever its socket is found writable. */
static int run_paced(struct bench *b, long n)
{
	struct epoll_event events[CLIENTS];
	int i, piece, ready, r = 0;

	for (i = 0; i < CLIENTS && !r; i++)
		r = wait_at(i, EPOLL_CTL_MOD, EPOLLOUT);
	for (piece = 0; piece < OBJECT_PIECES && !r; piece++) {
		ready = epoll_wait(loop.epoll, events, CLIENTS, -1);
		r = ph_result(ready);
		for (i = 0; i < ready && !r; i++)
			r = ph_result(write(events[i].data.fd, b->bytes, n));
	}
	for (i = 0; i < CLIENTS && !r; i++)
		r = wait_at(i, EPOLL_CTL_MOD, EPOLLIN);
	return r ? r : ph_result(epoll_wait(loop.epoll, events, CLIENTS, 0));
}

static int run_recv_eagain(struct bench *b, long arg)
{
	(void)arg;
	return ph_fails(recv(b->near[1], b->bytes, 64, MSG_DONTWAIT), EAGAIN, EAGAIN);
}

static int run_poll(struct bench *b, long events)
{
	struct pollfd one = { .fd = b->near[0], .events = (short)events };

	return ph_result(poll(&one, 1, 0));
}

static int run_epoll_ctl(struct bench *b, long events)
{
	struct epoll_event event = { .events = EPOLLIN | (b->turn++ & 1 ? events : 0) };

	return ph_result(epoll_ctl(b->epoll, EPOLL_CTL_MOD, b->near[1], &event));
}

static int run_relay(struct bench *b, long n)
{
	long got = recv(b->near[1], b->bytes, n, 0);

	return got < 0 ? -errno : ph_result(send(b->far[0], b->bytes, got, 0));
}

static int run_splice(struct bench *b, long n)
{
	long got = splice(b->near[1], NULL, b->pipe[1], NULL, n, SPLICE_F_MOVE);
	long left, put;

	if (got < 0)
		return -errno;
	for (left = got; left > 0; left -= put) {
		put = splice(b->pipe[0], NULL, b->far[0], NULL, left, SPLICE_F_MOVE);
		if (put < 0)
			return -errno;
	}
	return 0;
}

static int drain_and_fill(struct bench *b)
{
	int r = drain(b);

	return r ? r : ph_fill_file(b);
}

static int run_read_send(struct bench *b, long n)
{
	if (pread(b->fd, b->bytes, n, 0) < 0)
		return -errno;
	return ph_result(send(b->near[0], b->bytes, n, 0));
}

static int run_sendfile(struct bench *b, long n)
{
	off_t at = 0;

	return ph_result(sendfile(b->near[0], b->fd, &at, n));
}

#define PIPE_BATCH 5000		/* after 4096 reads in a row peek_pipe begins to act */

static int fill_pipe(struct bench *b)
{
	return ph_result(write(b->pipe[1], b->bytes, PIPE_BATCH));
}

static int run_pipe_read(struct bench *b, long n)
{
	return ph_result(read(b->pipe[0], b->bytes, n));
}

static int empty_pipe(struct bench *b)
{
	struct pollfd one = { .fd = b->pipe[0], .events = POLLIN };

	while (poll(&one, 1, 0) > 0)
		if (read(b->pipe[0], b->bytes, PIECE_MAX) < 0)
			return -errno;
	return 0;
}

static int run_pipe_write(struct bench *b, long n)
{
	return ph_result(write(b->pipe[1], b->bytes, n));
}

const struct op ph_socket_ops[] = {
	{ "send_512", 64, drain, run_send, 512, 0 },
	{ "answer_512", 16, drain_back, run_header_and_body, 512, 2 },
	{ "answer_4096", 4, drain_back, run_object, 4096, OBJECT_PIECES },
	{ "paced_4096", 8, begin_loop, run_paced, 4096, CLIENTS * OBJECT_PIECES },
	{ "recv_eagain", 256, drain, run_recv_eagain, 0, 0 },
	{ "poll", 256, NULL, run_poll, POLLOUT, 0 },
	{ "epoll_ctl", 256, NULL, run_epoll_ctl, EPOLLPRI, 0 },
	{ "relay_65536", 1, offer, run_relay, PIECE_MAX, 0 },
	{ "splice_65536", 1, offer, run_splice, PIECE_MAX, 0 },
	{ "read_send_16384", 8, drain_and_fill, run_read_send, 16384, 0 },
	{ "sendfile_16384", 8, drain_and_fill, run_sendfile, 16384, 0 },
	{ "pipe_write_1", PIPE_BATCH, empty_pipe, run_pipe_write, 1, 0 },
	{ "pipe_read_1", PIPE_BATCH, fill_pipe, run_pipe_read, 1, 0 },
	{ 0 },
};
