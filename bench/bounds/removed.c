/* A store that is full: for each file that comes, the oldest is removed. In several ways.
 *
 *	removed VARIANT FOLDER COUNT       CPU for each file, as JSON; the end is 1 when the files are not as they should be
 *
 * VARIANT is
 *	plain     unlink; open(O_CREAT | O_TRUNC), write, close
 *	aside     the removed file goes into a folder of spare ones; one of them, if nobody has it open (fcntl(2), F_SETLEASE),
 *	          gets the new name, is written over, and cut to size at the end
 *	renamed   the same without the folder: the removed file keeps its name until a new one needs it
 *	same      the new file has the name of the removed one
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIVE 2000
#define MOST 32768

struct name {
	char text[32];
};

static void must(bool done, const char *what)
{
	if (!done) {
		perror(what);
		exit(2);
	}
}

static struct name name_of(unsigned file)
{
	struct name n;

	snprintf(n.text, sizeof(n.text), "%02X/%02X/%08X", file >> 8 & 15, file >> 4 & 15, file);
	return n;
}

static size_t size_of(unsigned version)
{
	version = (version ^ version >> 7) * 2654435761u;	/* sizes that follow each other have nothing to do with each other */
	version = (version ^ version >> 15) * 2246822519u;
	return 1024 + (version >> 8) % (MOST - 1024);
}

static char *data_of(unsigned version)
{
	static char data[MOST];

	memset(data, 'a' + (int)(version % 26), size_of(version));
	return data;
}

static void fill(int fd, unsigned version)
{
	must(write(fd, data_of(version), size_of(version)) == (ssize_t)size_of(version), "write");
}

static void make(unsigned file, unsigned version)
{
	int fd = open(name_of(file).text, O_CREAT | O_TRUNC | O_RDWR, 0644);

	must(fd >= 0, "open");
	fill(fd, version);
	close(fd);
}

static void write_over(int fd, unsigned version, unsigned before)
{
	fill(fd, version);
	if (size_of(version) < size_of(before))
		must(!ftruncate(fd, (off_t)size_of(version)), "ftruncate");
	close(fd);
}

static void take_over(const char *spare, unsigned file, unsigned version, unsigned before)
{
	int fd = open(spare, O_RDWR);

	must(fd >= 0 && !fcntl(fd, F_SETLEASE, F_WRLCK), "lease");
	must(!rename(spare, name_of(file).text), "rename");
	must(!fcntl(fd, F_SETLEASE, F_UNLCK), "lease");
	write_over(fd, version, before);
}

static void plain(unsigned file)
{
	must(!unlink(name_of(file - LIVE).text), "unlink");
	make(file, file);
}

static void aside(unsigned file)
{
	must(!rename(name_of(file - LIVE).text, "spare/0"), "rename");
	take_over("spare/0", file, file, file - LIVE);
}

static void renamed(unsigned file)
{
	take_over(name_of(file - LIVE).text, file, file, file - LIVE);
}

static void same(unsigned file)
{
	int fd = open(name_of(file % LIVE).text, O_RDWR);

	must(fd >= 0, "open");
	write_over(fd, file, file - LIVE);
}

static double cpu_us(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static bool as_it_should_be(unsigned file, unsigned version)
{
	static char found[MOST];
	int fd = open(name_of(file).text, O_RDONLY);
	ssize_t n = read(fd, found, sizeof(found));

	close(fd);
	return n == (ssize_t)size_of(version) && !memcmp(found, data_of(version), (size_t)n);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*replace)(unsigned file);
	} variants[] = { { "plain", plain }, { "aside", aside }, { "renamed", renamed }, { "same", same } };
	unsigned count = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
	void (*replace)(unsigned file) = NULL;
	bool good = true;
	double used;

	for (unsigned i = 0; count && i < 4; i++)
		if (!strcmp(argv[1], variants[i].name))
			replace = variants[i].replace;
	if (!replace || chdir(argv[2])) {
		fprintf(stderr, "usage: removed plain|aside|renamed|same FOLDER COUNT\n");
		return 2;
	}
	must(!mkdir("spare", 0700), "mkdir");
	for (unsigned i = 0; i < 256; i++) {
		struct name n = name_of(i << 4);

		n.text[2] = 0, mkdir(n.text, 0755);
		n.text[2] = '/', n.text[5] = 0, mkdir(n.text, 0755);
	}
	for (unsigned i = 0; i < LIVE; i++)
		make(i, i);
	sync();
	used = cpu_us();
	for (unsigned file = LIVE; file < LIVE + count; file++)
		replace(file);
	used = cpu_us() - used;
	for (unsigned file = count; file < LIVE + count; file++)
		good = good && as_it_should_be(replace == same ? file % LIVE : file, file);
	printf("{\"own_us\": %.4f}\n", used / count);
	return !good;
}
