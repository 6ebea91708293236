/* One process takes a stream of pieces from one socket and gives it to another, in several ways.
 *
 *	relay VARIANT BYTES PIECES     what a piece cost, as JSON; the end is 1 when the receiver saw other bytes than were sent
 *
 * Pieces of 16 KB and more are sent one after the other; of smaller ones each waits for the receiver, as a conversation does.
 * VARIANT is
 *	copy      what a program does: recv, send
 *	splice    through a pipe; the program's buffer is left as it was
 *	kept      the same as far as a program that may look at its buffer allows: the pages that lie whole in the buffer stay
 *	          in a pipe, from which they could be filled when somebody touches them, until the next piece; the rest is copied
 *	sockmap   in the kernel, by a BPF verdict; the program does not learn that there was something to relay
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 65536
#define PAGE 4096
#define LARGE 16384

static int answers[2];		/* a pipe: the receiver has a whole piece */

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static void must(bool done, const char *what)
{
	if (!done)
		fail(what);
}

static void connected(int ends[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	must(!bind(listener, (void *)&address, size) && !listen(listener, 1), "listen");
	must(!getsockname(listener, (void *)&address, &size), "getsockname");
	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	must(!connect(ends[0], (void *)&address, size), "connect");
	ends[1] = accept(listener, NULL, NULL);
	must(ends[1] >= 0, "accept");
	close(listener);
}

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 2654435761u >> 24);
}

/* --- both ends ---------------------------------------------------------------------------------------------- */

static void send_pieces(int fd, size_t bytes, long pieces)
{
	static uint8_t data[MOST];
	char answer;

	for (uint64_t offset = 0; pieces--; offset += bytes) {
		if (bytes < LARGE && offset)
			must(read(answers[0], &answer, 1) == 1, "answer");
		for (size_t i = 0; i < bytes; i++)
			data[i] = byte_at(offset + i);
		must(send(fd, data, bytes, 0) == (ssize_t)bytes, "send");
	}
	_exit(0);
}

static void receive_pieces(int fd, size_t bytes, long pieces)
{
	static uint8_t data[MOST];
	uint64_t offset = 0, answered = 0, end = (uint64_t)bytes * (uint64_t)pieces;

	while (offset < end) {
		ssize_t n = recv(fd, data, sizeof(data), 0);

		must(n > 0, "receive");
		for (ssize_t i = 0; i < n; i++)
			if (data[i] != byte_at(offset + (uint64_t)i))
				_exit(1);
		offset += (uint64_t)n;
		for (; bytes < LARGE && answered < offset / bytes; answered++)
			must(write(answers[1], "", 1) == 1, "answer");
	}
	_exit(0);
}

/* --- the relay ---------------------------------------------------------------------------------------------- */

static void send_all(int to, const char *data, ssize_t n, int flags)
{
	for (ssize_t done = 0; done < n;) {
		ssize_t r = send(to, data + done, (size_t)(n - done), flags);

		must(r > 0, "send");
		done += r;
	}
}

static void splice_all(int from, int to, ssize_t n)
{
	for (ssize_t done = 0; done < n;) {
		ssize_t r = splice(from, NULL, to, NULL, (size_t)(n - done), 0);

		must(r > 0, "splice");
		done += r;
	}
}

static void copy(int from, int to)
{
	static char buffer[MOST];
	ssize_t n;

	while ((n = recv(from, buffer, sizeof(buffer), 0)) > 0)
		send_all(to, buffer, n, 0);
}

static void spliced(int from, int to)
{
	int ends[2];
	ssize_t n;

	must(!pipe2(ends, O_CLOEXEC), "pipe2");
	while ((n = splice(from, NULL, ends[1], NULL, MOST, 0)) > 0)
		splice_all(ends[0], to, n);
}

static void kept(int from, int to)
{
	char *buffer = malloc(MOST), *page = (char *)(((uintptr_t)buffer + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
	size_t head = (size_t)(page - buffer), whole = (MOST - head) & ~(size_t)(PAGE - 1);
	int there[2], out[2], nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ssize_t n, held = 0;

	must(nowhere >= 0 && !pipe2(there, O_CLOEXEC) && !pipe2(out, O_CLOEXEC), "pipe2");
	for (;;) {
		if (held > 0)
			splice_all(there[0], nowhere, held);
		n = recv(from, buffer, head, 0);
		if (n <= 0)
			break;
		held = n == (ssize_t)head ? splice(from, NULL, there[1], NULL, whole, SPLICE_F_NONBLOCK) : 0;
		if (held > 0)
			must(tee(there[0], out[1], (size_t)held, 0) == held, "tee");
		send_all(to, buffer, n, held > 0 ? MSG_MORE : 0);
		if (held > 0)
			splice_all(out[0], to, held);
	}
}

static int bpf(int command, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, command, attr, sizeof(*attr));

	must(r >= 0, "bpf");
	return r;
}

static void sockmap(int from, int to)
{
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_SOCKMAP, .key_size = 4, .value_size = 4, .max_entries = 2 };
	int table = bpf(BPF_MAP_CREATE, &map);
	struct bpf_insn verdict[] = {	/* return bpf_sk_redirect_map(skb, table, 0, 0) */
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = table },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_sk_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_SK_SKB, .insns = (uintptr_t)verdict, .license = (uintptr_t)"GPL",
				.insn_cnt = sizeof(verdict) / sizeof(verdict[0]) };
	union bpf_attr attach = { .target_fd = (uint32_t)table, .attach_bpf_fd = (uint32_t)bpf(BPF_PROG_LOAD, &load),
				  .attach_type = BPF_SK_SKB_STREAM_VERDICT };
	int sockets[2] = { to, from };

	bpf(BPF_PROG_ATTACH, &attach);
	for (uint32_t key = 0; key < 2; key++) {
		union bpf_attr put = { .map_fd = (uint32_t)table, .key = (uintptr_t)&key, .value = (uintptr_t)&sockets[key] };

		bpf(BPF_MAP_UPDATE_ELEM, &put);
	}
}

/* --- what it costs ------------------------------------------------------------------------------------------ */

static double own_us(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* Of the whole machine, all but idle: sockmap's work is done by whoever the kernel finds. */
static double machine_us(void)
{
	double user, nice, system, idle, waiting, irq, softirq;
	FILE *stat = fopen("/proc/stat", "re");

	must(stat && fscanf(stat, "cpu %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &waiting, &irq, &softirq) == 7,
	     "/proc/stat");
	fclose(stat);
	return (user + nice + system + irq + softirq) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(int from, int to);
	} variants[] = { { "copy", copy }, { "splice", spliced }, { "kept", kept }, { "sockmap", sockmap } };
	size_t bytes = argc == 4 ? (size_t)atol(argv[2]) : 0;
	long pieces = argc == 4 ? atol(argv[3]) : 0;
	int source[2], sink[2], begin[2], status = 0;
	double own, machine;
	pid_t receiver;
	char c = 0;

	if (bytes < 1 || bytes > MOST || pieces < 1) {
		fprintf(stderr, "usage: relay copy|splice|kept|sockmap BYTES PIECES\n");
		return 2;
	}
	connected(source);
	connected(sink);
	must(!pipe(answers) && !pipe(begin), "pipe");
	if (fork() == 0) {	/* begins when the relay stands: sockmap sees nothing that came before */
		close(source[1]), close(sink[0]), close(sink[1]), close(begin[1]);
		must(read(begin[0], &c, 1) == 1, "begin");
		send_pieces(source[0], bytes, pieces);
	}
	receiver = fork();
	if (receiver == 0) {
		close(source[0]), close(source[1]), close(sink[0]), close(begin[1]);
		receive_pieces(sink[1], bytes, pieces);
	}
	close(source[0]), close(sink[1]);
	own = own_us(), machine = machine_us();
	for (unsigned i = 0; i < 4; i++) {
		if (strcmp(argv[1], variants[i].name))
			continue;
		if (variants[i].run == sockmap)
			sockmap(source[1], sink[0]);
		must(write(begin[1], &c, 1) == 1, "begin");
		if (variants[i].run != sockmap)
			variants[i].run(source[1], sink[0]);
	}
	must(waitpid(receiver, &status, 0) == receiver, "wait");
	printf("{\"own_us\": %.4f, \"machine_us\": %.4f}\n", (own_us() - own) / (double)pieces, (machine_us() - machine) / (double)pieces);
	return status ? 1 : 0;
}
