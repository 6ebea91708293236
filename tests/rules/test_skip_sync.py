"""skip_sync on a database that its program opens more than once, as browsers do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from peephole.improve.arm import arm

PROGRAM = """
import sqlite3, sys
one, two = sqlite3.connect(sys.argv[1]), sqlite3.connect(sys.argv[1])
one.execute("pragma journal_mode=wal")
one.execute("pragma synchronous=full")
one.execute("create table t(n)")
for i in range(50):
    one.execute("insert into t values(?)", (i,))
    one.commit()
    assert two.execute("select count(*) from t").fetchone() == (i + 1,)
"""


def test_syncs_are_answered_on_a_file_that_is_open_twice(tmp_path: Path) -> None:
    script, database = tmp_path / "commits.py", tmp_path / "db"
    script.write_text(PROGRAM)
    with arm(["skip_sync"]) as armed:
        env = armed.environment(os.environ)
        subprocess.run([sys.executable, script, database], env=env, check=True, timeout=60)
        rule = armed.stats()["rules"]["skip_sync"]
    assert rule["hits"] >= 50
    assert rule["why_not"]["not_alone"] == 0
    assert sqlite3.connect(database).execute("select sum(n) from t").fetchone() == (1225,)
