/* An event loop that asks for "writable" before each line, and takes it back after it: demo FILE COUNT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int peer(const char *path, struct sockaddr_in *there)
{
	int s = socket(AF_INET, SOCK_STREAM, 0);
	FILE *f = fopen(path, "w");
	char buf[65536];
	ssize_t r = -1;

	if (!f || connect(s, (struct sockaddr *)there, sizeof(*there)))
		return 1;
	while ((r = recv(s, buf, sizeof(buf), 0)) > 0)
		if (fwrite(buf, 1, (size_t)r, f) != (size_t)r)
			return 1;
	return r || fclose(f);
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), loop = epoll_create1(0), status, s;
	struct epoll_event event = {.events = EPOLLIN};
	socklen_t size = sizeof(here);
	long count = argc > 2 ? atol(argv[2]) : 1000;
	char line[128];
	pid_t child;

	if (argc < 2 || bind(listener, (struct sockaddr *)&here, sizeof(here)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&here, &size))
		return 2;
	child = fork();
	if (child == 0)
		_exit(peer(argv[1], &here));
	s = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	if (s < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, s, &event))
		return 1;
	for (long i = 0; i < count; i++) {
		int n = snprintf(line, sizeof(line), "line %ld of an answer that is sent in small pieces\n", i);

		event.events = EPOLLIN | EPOLLOUT;
		if (epoll_ctl(loop, EPOLL_CTL_MOD, s, &event) || epoll_wait(loop, &event, 1, 10000) != 1 ||
		    write(s, line, (size_t)n) != n)
			return 1;
		event.events = EPOLLIN;
		if (epoll_ctl(loop, EPOLL_CTL_MOD, s, &event))
			return 1;
	}
	close(s);
	waitpid(child, &status, 0);
	return status != 0;
}
