/* A shell's way with a pipe: lines are read byte by byte, and a child takes a line of its own now and then. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* One line: how many bytes; 0 at the end. */
static int read_line(int from, FILE *out)
{
	int n = 0;
	char c;

	while (read(from, &c, 1) == 1) {
		fputc(c, out);
		n++;
		if (c == '\n')
			break;
	}
	return n;
}

static void write_lines(int to, int lines)
{
	FILE *out = fdopen(to, "w");

	for (int i = 0; i < lines; i++)
		fprintf(out, "line %d of the pipe, of some length or other\n", i);
	fclose(out);
	_exit(0);
}

static void child_reads(int from, FILE *out)
{
	pid_t child;

	fflush(out);
	child = fork();
	if (child == 0) {
		fputs("child: ", out);
		read_line(from, out);
		fclose(out);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	int lines = argc > 2 ? atoi(argv[2]) * 20 : 0, ends[2];
	FILE *out = argc > 2 ? fopen(argv[1], "a") : NULL;

	if (!out || pipe(ends) < 0)
		return 1;
	if (fork() == 0) {
		close(ends[0]);
		write_lines(ends[1], lines);
	}
	close(ends[1]);
	for (int i = 1; read_line(ends[0], out); i++)
		if (i % 300 == 0)
			child_reads(ends[0], out);
	wait(NULL);
	return fclose(out) == 0 ? 0 : 1;
}
