"""Actions of signals that are set to what they are: real shells, and what they can tell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from peephole.improve.arm import arm

COMMANDS = 40
SCRIPTS = {
    "commands": f"for i in $(seq {COMMANDS}); do /bin/true; done; echo $?",
    "pipes": f"for i in $(seq {COMMANDS}); do echo $i | cat; done",
    "substitutions": f"for i in $(seq {COMMANDS}); do x=$(/bin/echo $i); done; echo $x",
    "traps": f"trap 'echo came' USR1; for i in $(seq {COMMANDS}); do kill -USR1 $$; /bin/true; done",
    "traps that go": f"for i in $(seq {COMMANDS}); do trap 'echo came' USR1; kill -USR1 $$; trap - USR1; "
    "cat /dev/null; done",
    "ignored by commands": f"trap '' USR1; for i in $(seq {COMMANDS}); do sh -c 'kill -USR1 $$; echo lives'; done",
    "killed commands": f"for i in $(seq {COMMANDS}); do sh -c 'kill -TERM $$'; echo $?; done",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_shell_says_the_same_and_is_answered(name: str, tmp_path: Path) -> None:
    words = ["bash", "-c", SCRIPTS[name]]
    plain = subprocess.run(words, capture_output=True, timeout=60)
    with arm(["repeat_setting"]) as armed:
        env = armed.environment(os.environ)
        done = subprocess.run(words, env=env, capture_output=True, timeout=60)
        stats = armed.stats()
    assert (done.returncode, done.stdout) == (plain.returncode, plain.stdout)
    assert stats["not_covered"] == []
    assert stats["rules"]["repeat_setting"]["hits"] >= 2 * COMMANDS
