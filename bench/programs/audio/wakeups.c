/* wakeups SERVER WARM SECONDS: a JACK client that counts xruns and how late its cycles begin, after WARM seconds; prints
 * one line of JSON. */
#include <jack/jack.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MOST 1000000

static atomic_int xruns;
static atomic_uint cycles;
static double late_us[MOST];
static double period_us;

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int cycle(jack_nframes_t frames, void *arg)
{
	static double last;
	double now = now_us();
	unsigned n = atomic_load(&cycles);

	(void)frames;
	(void)arg;
	if (last > 0 && n < MOST) {
		double late = now - last - period_us;

		late_us[n] = late > 0 ? late : 0;
		atomic_store(&cycles, n + 1);
	}
	last = now;
	return 0;
}

static int xrun(void *arg)
{
	(void)arg;
	atomic_fetch_add(&xruns, 1);
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	jack_client_t *client = NULL;
	unsigned n;
	int lost;

	if (argc != 4)
		return 2;
	for (int i = 0; i < 100 && !client; i++) {
		client = jack_client_open("wakeups", JackNoStartServer | JackServerName, NULL, argv[1]);
		if (!client)
			usleep(100000);
	}
	if (!client) {
		fprintf(stderr, "no JACK server %s\n", argv[1]);
		return 1;
	}
	period_us = 1e6 * jack_get_buffer_size(client) / jack_get_sample_rate(client);
	jack_set_process_callback(client, cycle, NULL);
	jack_set_xrun_callback(client, xrun, NULL);
	if (jack_activate(client))
		return 1;
	sleep((unsigned)atoi(argv[2]));
	atomic_store(&xruns, 0);
	atomic_store(&cycles, 0);
	sleep((unsigned)atoi(argv[3]));
	n = atomic_load(&cycles);
	lost = atomic_load(&xruns);
	jack_deactivate(client);
	jack_client_close(client);
	if (n < 100) {
		fprintf(stderr, "only %u cycles\n", n);
		return 1;
	}
	qsort(late_us, n, sizeof(*late_us), compare);
	printf("{\"xruns\": %d, \"cycles\": %u, \"late_p50_us\": %.1f, \"late_p99_us\": %.1f}\n", lost, n,
	       late_us[n / 2], late_us[n * 99 / 100]);
	return 0;
}
