/* peephole-sites FILE [OUTPUT]: the system-call instructions of an ELF file, as a site list (OUTPUT) or as text. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "classify.h"

static const char *const tier_names[PH_TIER_COUNT] = { "none", "T1", "T1r", "T1f", "T2", "T3" };

static struct ph_sites *list_sites(const struct image *image, const struct flow *flow)
{
	uint64_t n = 0;
	struct ph_sites *sites;

	for (uint64_t i = 0; i + 1 < image->text_bytes; i++)
		n += image->text[i] == 0x0f && image->text[i + 1] == 0x05;
	sites = calloc(1, sizeof(*sites) + n * sizeof(sites->sites[0]));
	if (!sites)
		return NULL;
	sites->magic = PH_SITES_MAGIC;
	sites->version = PH_SITES_VERSION;
	sites->text_start = image->text_start;
	sites->text_bytes = image->text_bytes;
	sites->build_id_bytes = image->build_id_bytes;
	memcpy(sites->build_id, image->build_id, image->build_id_bytes);
	for (uint64_t i = 0; i + 1 < image->text_bytes; i++) {
		if (image->text[i] != 0x0f || image->text[i + 1] != 0x05)
			continue;
		if (site_is_sigreturn(flow, i))
			sites->sigreturns++;
		else if (site_is_real(flow, i))
			site_classify(flow, i, &sites->sites[sites->n++]);
		else
			sites->rejected++;
	}
	site_pads(flow, sites);
	return sites;
}

static void print_sites(const struct ph_sites *sites)
{
	unsigned by_tier[PH_TIER_COUNT] = { 0 }, padded = 0;

	for (uint32_t i = 0; i < sites->n; i++) {
		const struct ph_site *s = &sites->sites[i];

		by_tier[s->tier]++;
		padded += s->pads[0] != 0;
		printf("%x %d %s %u%s\n", s->start + s->before, s->nr, tier_names[s->tier], s->length, s->pads[0] ? " T3" : "");
	}
	printf("# %u sites:", sites->n);
	by_tier[PH_TIER_PAD] = padded;
	for (unsigned t = 0; t < PH_TIER_COUNT; t++)
		printf(" %s %u", tier_names[t], by_tier[t]);
	printf("; %u rejected, %u sigreturn\n", sites->rejected, sites->sigreturns);
}

static int write_sites(const struct ph_sites *sites, const char *path)
{
	size_t bytes = sizeof(*sites) + sites->n * sizeof(sites->sites[0]);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t r;

	if (fd < 0)
		return -errno;
	r = write(fd, sites, bytes);
	if (close(fd) < 0 || r != (ssize_t)bytes)
		return -EIO;
	return 0;
}

int main(int argc, char **argv)
{
	struct ph_sites *sites;
	struct image image;
	struct flow flow;
	int r;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: peephole-sites FILE [OUTPUT]\n");
		return 2;
	}
	r = image_open(argv[1], &image);
	if (r == 0)
		r = flow_walk(&flow, &image);
	if (r < 0) {
		fprintf(stderr, "peephole-sites: %s: %s\n", argv[1],
			r == -ENOEXEC ? "not a 64-bit x86 ELF file with one executable segment" : strerror(-r));
		return 1;
	}
	sites = list_sites(&image, &flow);
	if (!sites) {
		fprintf(stderr, "peephole-sites: out of memory\n");
		return 1;
	}
	if (argc == 2) {
		print_sites(sites);
		return 0;
	}
	r = write_sites(sites, argv[2]);
	if (r < 0)
		fprintf(stderr, "peephole-sites: %s: %s\n", argv[2], strerror(-r));
	return r < 0;
}
