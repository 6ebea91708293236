/* origin PORT: serves /o/ID (an object of its own size) and /b/ID/BYTES (that many bytes) over HTTP/1.1, a thread a
 * connection, on loopback, until it is killed.   origin --write DIR COUNT: writes DIR/o/ID files instead. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "content.h"

static int send_all(int s, struct iovec *v, int n)
{
	while (n > 0) {
		ssize_t r = writev(s, v, n);

		if (r <= 0)
			return -1;
		while (n > 0 && (size_t)r >= v->iov_len) {
			r -= (ssize_t)v->iov_len;
			v++;
			n--;
		}
		if (n > 0) {
			v->iov_base = (char *)v->iov_base + r;
			v->iov_len -= (size_t)r;
		}
	}
	return 0;
}

static int answer(int s, const char *request)
{
	char date[64], head[512];
	unsigned id;
	size_t size, at, n;
	time_t now = time(NULL);
	const char *path = strchr(request, ' ');
	struct tm tm;

	if (path && sscanf(path, " /b/%u/%zu", &id, &size) == 2)
		;
	else if (path && sscanf(path, " /o/%u", &id) == 1)
		size = content_size(id);
	else
		return -1;
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	n = (size_t)snprintf(head, sizeof(head),
			     "HTTP/1.1 200 OK\r\nDate: %s\r\nLast-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n"
			     "Cache-Control: max-age=864000\r\nContent-Type: application/octet-stream\r\n"
			     "Content-Length: %zu\r\n\r\n", date, size);
	struct iovec first[2] = {{head, n}};

	n = size;
	first[1].iov_base = (void *)content_at(id, 0, &n);
	first[1].iov_len = n;
	if (send_all(s, first, 2))
		return -1;
	for (at = n; at < size; at += n) {
		n = size - at;
		struct iovec more = {(void *)content_at(id, at, &n), n};

		more.iov_len = n;
		if (send_all(s, &more, 1))
			return -1;
	}
	return 0;
}

static void *serve(void *arg)
{
	int s = (int)(long)arg;
	char buf[8192];
	size_t have = 0;

	for (;;) {
		ssize_t r = read(s, buf + have, sizeof(buf) - 1 - have);

		if (r <= 0)
			break;
		have += (size_t)r;
		buf[have] = 0;
		for (char *end; (end = strstr(buf, "\r\n\r\n"));) {
			size_t used = (size_t)(end + 4 - buf);

			if (answer(s, buf))
				goto out;
			memmove(buf, buf + used, have - used + 1);
			have -= used;
		}
	}
out:
	close(s);
	return NULL;
}

static int write_files(const char *folder, unsigned count)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/o", folder);
	mkdir(name, 0755);
	for (unsigned id = 0; id < count; id++) {
		size_t size = content_size(id), n = size;
		FILE *f;

		snprintf(name, sizeof(name), "%s/o/%u", folder, id);
		f = fopen(name, "w");
		if (!f || fwrite(content_at(id, 0, &n), 1, size, f) != size || fclose(f)) {
			perror(name);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t thread;

	content_init();
	if (argc == 4 && !strcmp(argv[1], "--write"))
		return write_files(argv[2], (unsigned)atoi(argv[3]));
	if (argc != 2)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	here.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) || listen(listener, 128)) {
		perror("origin");
		return 1;
	}
	for (;;) {
		int s = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (s < 0)
			continue;
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&thread, NULL, serve, (void *)(long)s))
			close(s);
		else
			pthread_detach(thread);
	}
}
