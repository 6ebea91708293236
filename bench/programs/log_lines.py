"""Log lines with the standard logging module, which flushes each: FILE COUNT."""

import logging
import sys

handler = logging.FileHandler(sys.argv[1], mode="w")
handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
log = logging.getLogger("demo")
log.addHandler(handler)
log.setLevel(logging.INFO)
for i in range(int(sys.argv[2])):
    log.info("event %d happened", i)
