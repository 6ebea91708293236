/* Work set by a number: spin COUNT adds the numbers below COUNT up, one step each. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	volatile unsigned long sum = 0;

	if (argc != 2)
		return 2;
	for (unsigned long left = strtoul(argv[1], NULL, 10); left; left--)
		sum += left;
	printf("done\n");
	return 0;
}
