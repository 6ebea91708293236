/* load PORT ORIGIN KIND CONNECTIONS REQUESTS OBJECTS [BYTES]: asks a server on loopback for objects and compares every
 * byte of every answer; a thread a connection. ORIGIN is the origin's port behind a proxy, 0 when PORT is the server.
 *
 *   get      objects in turn          reload   the same with Cache-Control: no-cache
 *   mixed    every second a reload    tunnel   CONNECT once a connection, then BYTES bytes a request through it
 *
 * Prints one line of JSON; exits 1 when a byte was wrong or a request failed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "content.h"

enum kind { GET, RELOAD, MIXED, TUNNEL };
static const char *const kinds[] = {"get", "reload", "mixed", "tunnel"};

static int port, origin;
static enum kind kind;
static unsigned connections, requests, objects;
static size_t bytes;

struct client {
	pthread_t thread;
	unsigned number;
	unsigned long wrong, failed, hits, done;
	unsigned long long received;
	unsigned char buf[1 << 18];
};

static int connect_to(int to)
{
	struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval limit = {.tv_sec = 20};
	int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(s, (struct sockaddr *)&there, sizeof(there))) {
		close(s);
		return -1;
	}
	return s;
}

/* Reads to the end of the header; returns how many bytes are there, *head of them header; 0 on failure. */
static size_t read_head(int s, struct client *c, size_t *head)
{
	size_t have = 0;

	for (;;) {
		ssize_t r = recv(s, c->buf + have, sizeof(c->buf) - 1 - have, 0);
		char *end;

		if (r <= 0)
			return 0;
		have += (size_t)r;
		c->buf[have] = 0;
		end = memmem(c->buf, have, "\r\n\r\n", 4);
		if (end) {
			*head = (size_t)(end + 4 - (char *)c->buf);
			return have;
		}
	}
}

static void compare(struct client *c, unsigned id, size_t at, const unsigned char *got, size_t n)
{
	while (n > 0) {
		size_t m = n;
		const unsigned char *want = content_at(id, at, &m);

		if (memcmp(want, got, m))
			for (size_t i = 0; i < m; i++)
				c->wrong += want[i] != got[i];
		at += m;
		got += m;
		n -= m;
	}
}

static int one_request(int s, struct client *c, unsigned id, int reload)
{
	size_t size = kind == TUNNEL ? bytes : content_size(id), head, have, at, length = (size_t)-1;
	char where[64] = "", path[64], request[512], *header;
	int n;

	if (kind == TUNNEL)
		snprintf(path, sizeof(path), "/b/%u/%zu", id, size);
	else
		snprintf(path, sizeof(path), "/o/%u", id);
	if (origin && kind != TUNNEL)
		snprintf(where, sizeof(where), "http://127.0.0.1:%d", origin);
	n = snprintf(request, sizeof(request), "GET %s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", where, path,
		     origin ? origin : port, reload ? "Cache-Control: no-cache\r\n" : "");
	if (send(s, request, (size_t)n, MSG_NOSIGNAL) != n)
		return -1;
	have = read_head(s, c, &head);
	if (!have || memcmp(c->buf, "HTTP/1.1 200", 12))
		return -1;
	c->buf[head - 1] = 0;
	header = strcasestr((char *)c->buf, "\nContent-Length:");
	if (header)
		length = strtoul(header + 16, NULL, 10);
	header = strcasestr((char *)c->buf, "\nX-Cache: HIT");
	c->hits += header != NULL;
	if (length != size || have - head > size)
		return -1;
	compare(c, id, 0, c->buf + head, have - head);
	for (at = have - head; at < size;) {
		size_t want = size - at < sizeof(c->buf) ? size - at : sizeof(c->buf);
		ssize_t r = recv(s, c->buf, want, 0);

		if (r <= 0)
			return -1;
		compare(c, id, at, c->buf, (size_t)r);
		at += (size_t)r;
	}
	c->received += size;
	c->done++;
	return 0;
}

static int open_tunnel(int s, struct client *c)
{
	char request[128];
	size_t head;
	int n = snprintf(request, sizeof(request), "CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
			 origin, origin);

	if (send(s, request, (size_t)n, MSG_NOSIGNAL) != n || !read_head(s, c, &head))
		return -1;
	return memcmp(c->buf, "HTTP/1.1 200", 12) ? -1 : 0;
}

static void *run(void *arg)
{
	struct client *c = arg;
	int s = connect_to(port);

	if (s < 0 || (kind == TUNNEL && open_tunnel(s, c))) {
		c->failed++;
		return NULL;
	}
	for (unsigned i = c->number; i < requests; i += connections) {
		int reload = kind == RELOAD || (kind == MIXED && i / connections % 2);

		if (one_request(s, c, i % objects, reload)) {
			c->failed++;
			close(s);
			s = connect_to(port);
			if (s < 0 || kind == TUNNEL)
				return NULL;
		}
	}
	close(s);
	return NULL;
}

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct client *clients, sum = {0};
	double begin, took;

	if (argc < 7)
		return 2;
	port = atoi(argv[1]);
	origin = atoi(argv[2]);
	for (unsigned k = 0; k < 4; k++)
		if (!strcmp(argv[3], kinds[k]))
			kind = (enum kind)k;
	connections = (unsigned)atoi(argv[4]);
	requests = (unsigned)atoi(argv[5]);
	objects = (unsigned)atoi(argv[6]);
	bytes = argc > 7 ? strtoul(argv[7], NULL, 10) : 0;
	content_init();
	clients = calloc(connections, sizeof(*clients));
	begin = seconds(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < connections; i++) {
		clients[i].number = i;
		if (pthread_create(&clients[i].thread, NULL, run, &clients[i]))
			return 1;
	}
	for (unsigned i = 0; i < connections; i++) {
		pthread_join(clients[i].thread, NULL);
		sum.wrong += clients[i].wrong;
		sum.failed += clients[i].failed;
		sum.hits += clients[i].hits;
		sum.done += clients[i].done;
		sum.received += clients[i].received;
	}
	took = seconds(CLOCK_MONOTONIC) - begin;
	printf("{\"requests\": %lu, \"requests_per_s\": %.1f, \"wrong_bytes\": %lu, \"failed\": %lu, \"hits\": %lu, "
	       "\"received_mb\": %.3f, \"client_cpu_s\": %.4f}\n",
	       sum.done, (double)sum.done / took, sum.wrong, sum.failed, sum.hits, (double)sum.received / 1048576,
	       seconds(CLOCK_PROCESS_CPUTIME_ID));
	return sum.wrong || sum.failed || sum.done != requests;
}
