/* Waits for a thread by sleeping, as some audio programs do: demo FILE COUNT */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static atomic_int done;

static void *work(void *file)
{
	fprintf(file, "what was waited for\n");
	done = 1;
	return NULL;
}

int main(int argc, char **argv)
{
	long count = argc > 2 ? atol(argv[2]) : 500, slept = 0;
	const struct timespec while_ = { 0, 100000 };
	FILE *f = argc > 1 ? fopen(argv[1], "w") : NULL;
	pthread_t thread;

	if (!f || pthread_create(&thread, NULL, work, f) != 0)
		return 2;
	while (slept <= count || !done)
		slept += nanosleep(&while_, NULL) == 0;
	pthread_join(thread, NULL);
	return fclose(f) == 0 ? 0 : 1;
}
