/* Threads: many at once, cancelled, exiting. Built with -fexceptions, so that cancellation unwinds through frames. */
#include "conform.h"

#include <pthread.h>
#include <semaphore.h>

static volatile long total;

static void *hammer(void *argument)
{
	long wrong = 0;
	char c[4];

	(void)argument;
	for (int i = 0; i < 2000; i++) {
		int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

		wrong += fd < 0 || read(fd, c, 4) != 4 || lseek(fd, 0, SEEK_SET) != 0 || close(fd) != 0;
		wrong += getppid() <= 0;
	}
	__atomic_fetch_add(&total, wrong, __ATOMIC_RELAXED);
	return NULL;
}

static void hammered(void)
{
	pthread_t threads[50];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 50; i++)
			pthread_create(&threads[i], NULL, hammer, NULL);
		for (int i = 0; i < 50; i++)
			pthread_join(threads[i], NULL);
	}
	say("  wrong %ld\n", total);
}

static void cleaned(void *what)
{
	say("  cleaned up %s\n", (const char *)what);
}

static void cleaned_variable(int *value)
{
	say("  left a frame with %d\n", *value);
}

static __attribute__((noinline)) void block_in_read(int fd)
{
	__attribute__((cleanup(cleaned_variable))) int local = 5;
	char c;

	if (read(fd, &c, 1) > 0)
		local = 6;
}

static void *cancelled(void *argument)
{
	__attribute__((cleanup(cleaned_variable))) int outer = 1;

	pthread_cleanup_push(cleaned, "the thread");
	block_in_read(*(int *)argument);
	pthread_cleanup_pop(0);
	outer = 2;
	return NULL;
}

static bool looping;

static void *cancelled_at_once(void *argument)
{
	__attribute__((cleanup(cleaned_variable))) int outer = 1;

	(void)argument;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	__atomic_store_n(&looping, true, __ATOMIC_RELEASE);
	for (;;)
		getppid();
	outer = 2;
	return NULL;
}

static void cancel(void)
{
	void *(*const functions[])(void *) = { cancelled, cancelled_at_once };
	int ends[2];

	if (pipe(ends) < 0)
		return;
	for (int round = 0; round < 6; round++) {
		pthread_t thread;
		void *result;

		pthread_create(&thread, NULL, functions[round % 2], &ends[0]);
		/* In its read or on the way there, that is the same; but not before it may be cancelled at once. */
		while (round % 2 && !__atomic_load_n(&looping, __ATOMIC_ACQUIRE))
			;
		usleep(20000);
		pthread_cancel(thread);
		looping = false;
		pthread_join(thread, &result);
		say("  cancelled %d\n", result == PTHREAD_CANCELED);
	}
}

static void *exits_alone(void *argument)
{
	(void)argument;
	usleep(20000);
	say("  the last thread\n");
	return NULL;
}

static void main_exits_first(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, exits_alone, NULL);
	pthread_exit(NULL);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn;

static void *takes_turns(void *argument)
{
	int me = *(int *)argument;

	for (int i = 0; i < 500; i++) {
		pthread_mutex_lock(&mutex);
		while (turn % 4 != me)
			pthread_cond_wait(&changed, &mutex);
		turn++;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void turns(void)
{
	pthread_t threads[4];
	int numbers[4] = { 0, 1, 2, 3 };

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, takes_turns, &numbers[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	say("  turns %d\n", turn);
}


static void *on_small_stack(void *argument)
{
	int fd = open("/dev/zero", O_RDONLY);
	char c;

	(void)argument;
	if (read(fd, &c, 1) != 1 || close(fd) != 0)
		say("  wrong\n");
	return NULL;
}

static void small_stacks(void)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 16384);
	for (int i = 0; i < 20; i++) {
		pthread_create(&thread, &attr, on_small_stack, NULL);
		pthread_join(thread, NULL);
	}
	say("  done\n");
}

static const struct check checks[] = {
	{ "fifty_threads", hammered },
	{ "cancellation_unwinds", cancel },
	{ "main_thread_exits_first", main_exits_first },
	{ "condition_variables", turns },
	{ "small_stacks", small_stacks },
};

CONFORM_MAIN(checks)
