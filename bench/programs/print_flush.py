"""Print lines to a file, each flushed, as many scripts do to see their output at once: FILE COUNT."""

import sys

with open(sys.argv[1], "w") as out:  # noqa: PTH123
    for i in range(int(sys.argv[2])):
        print(i, file=out, flush=True)
