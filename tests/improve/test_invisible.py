"""Programs that look for what does not belong to them, or close it: they find nothing, and break nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

LOOKS = {
    "descriptors": "print(sorted(os.listdir('/proc/self/fd')))",
    "what the kernel says of one": "print(open('/proc/self/fdinfo/%d' % fd).read())",
    "closing every number": """
closed = []
for n in range(3, 1024):
    try:
        os.close(n)
        closed.append(n)
    except OSError: pass
print(closed, os.open(sys.argv[1], os.O_WRONLY))
""",
    "close_range": "os.closerange(3, 1 << 20); print(os.open(sys.argv[1], os.O_WRONLY))",
    "few descriptors": """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))
got = []
try:
    while True: got.append(os.open(sys.argv[1], os.O_WRONLY))
except OSError as e: print(got, e.errno)
""",
    "the environment": """
print([n for n in os.environ if 'PEEPHOLE' in n or n == 'LD_PRELOAD'])
print([s for s in open('/proc/self/environ', 'rb').read().split(b'\\0') if b'PEEPHOLE' in s or b'LD_PRE' in s])
""",
    "children": "import subprocess; print(b'PEEPHOLE' in subprocess.run(['env'], capture_output=True).stdout)",
}
#: the same with something pending in a rule, and after it what became of the file
BODY = """import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
for i in range(100): os.write(fd, b"%d\\n" % i)
LOOK
for i in range(100):
    try: os.write(fd, b"%d\\n" % i)
    except OSError as e: print(e.errno)
"""


@pytest.mark.parametrize("what", LOOKS)
def test_a_program_sees_what_it_sees_alone(tmp_path: Path, plain: Any, ruled: Any, what: str) -> None:
    path = tmp_path / "file"
    seen = []
    for run in (plain, ruled):
        path.write_text("old and longer than nothing")
        ran = run(sys.executable, "-c", BODY.replace("LOOK", LOOKS[what]), str(path))
        seen.append((ran.seen, ran.err, path.read_bytes()))
    assert seen[0] == seen[1]
    assert seen[0][0][1]


@pytest.mark.parametrize("limits", ["-n 3", "-n 4", "-v 60000"])
def test_narrow_limits_are_the_program_s_own(tmp_path: Path, plain: Any, ruled: Any, limits: str) -> None:
    script = f"ulimit {limits}; exec /bin/echo here > {tmp_path}/out"
    seen = []
    for run in (plain, ruled):
        ran = run("sh", "-c", script, env=os.environ.copy()) if run is plain else run("sh", "-c", script)
        seen.append((ran.seen, ran.err, (tmp_path / "out").exists() and (tmp_path / "out").read_text()))
    assert seen[0] == seen[1]
