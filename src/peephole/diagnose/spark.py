"""A capture's tables in Spark: on this machine's cores, or on a cluster that sees the capture under the same path."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from peephole.diagnose.tables import Tables, derived, looked_at
from peephole.errors import CaptureError, EngineError, MissingToolError
from peephole.trace import EXTRA_TABLES, Capture

#: what Spark 4 runs on
JAVA_LEAST = 17
#: parts of a shuffle for each core of this machine; Spark's 200 would be 200 tasks for a handful of rows
_PARTS_A_CORE = 2
#: what Spark may use in this machine's memory
_MEMORY = "2g"
#: an exception's line in what Java says
_RAISED = re.compile(r"(?:: |Caused by: )?((?:\w+\.)+\w*(?:Exception|Error)\b.*)")
#: how Java's exceptions show that a file could not be read
_NOT_READ = ("FAILED_READ_FILE", "CANNOT_READ_FILE_FOOTER", "PATH_NOT_FOUND", "is not a Parquet file", "FileNotFound")


@contextmanager
def spark_tables(capture: Capture, master: str) -> Iterator[Tables]:
    """The tables of a capture, in the session at `master`, which stays for further captures.

    Raises MissingToolError without pyspark or Java, EngineError when `master` can't be used or fails, CaptureError when
    reading finds the capture corrupt.
    """
    backend = _backend(master)
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException

    views: list[str] = []
    try:
        recorded, processes, gaps = (
            _read(backend, path, views) for path in (capture.calls, capture.processes, capture.gaps)
        )
        extras = {name: _read(backend, path, views) for name in EXTRA_TABLES if (path := capture.extra(name))}
        tables = Tables(recorded, derived(looked_at(recorded)), processes, gaps, extras)
        try:
            yield tables
        finally:
            tables.release()
    except (PySparkException, Py4JError) as e:
        if any(word in str(e) for word in _NOT_READ):
            what = "cut off, corrupt, or not under this path on every worker"
            raise CaptureError(f"{capture.folder}: {what} ({_reason(e)}); record it again or share the folder") from e
        if isinstance(e, AnalysisException):
            raise  # a mistake of ours
        raise EngineError(f"{capture.folder}: Spark at {master} failed: {_reason(e)}") from e
    finally:
        for view in views:
            backend.session.catalog.dropTempView(view)


def _reason(error: BaseException) -> str:
    """What went wrong, in one line: of several Java exceptions the innermost."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [match[1] for line in lines if (match := _RAISED.match(line))]
    return ([*reversed(raised), *lines] or [type(error).__name__])[0][:300]


def _read(backend: Any, path: Path, views: list[str]) -> Any:
    """A table, its bytes as text."""
    from pyspark.sql.types import BinaryType

    frame = backend.session.read.parquet(path.resolve().as_uri())
    text = {field.name: _text(field.name) for field in frame.schema if isinstance(field.dataType, BinaryType)}
    views.append(f"recorded_{len(views)}_{os.urandom(4).hex()}")
    frame.withColumns(text).createOrReplaceTempView(views[-1])
    return backend.table(views[-1])


def _text(column: str) -> Any:
    r"""Bytes as DuckDB casts them to text: those that are not printable ASCII, quotes and backslashes as `\xNN`.

    Spark's own cast decodes UTF-8, and what is none of it becomes the same mark whatever it was.
    """
    from pyspark.sql import functions as f

    def latin(of: Any) -> Any:
        return f.decode(of, "ISO-8859-1")

    def shown(at: Any) -> Any:
        byte = f.substring(f.col(column), at, f.lit(1))
        return f.when(latin(byte).rlike(escaped), f.concat(f.lit("\\x"), f.hex(byte))).otherwise(latin(byte))

    escaped = r"""[^ -~]|["'\\]"""
    places = f.sequence(f.lit(1), f.octet_length(column))
    return f.when(latin(f.col(column)).rlike(escaped), f.array_join(f.transform(places, shown), "")).otherwise(
        latin(f.col(column))
    )


@cache
def _backend(master: str) -> Any:
    """Ibis on a session at `master`, which lives as long as this process."""
    try:
        import pyspark
    except ImportError as e:
        raise MissingToolError("--engine spark: pyspark is not installed; pip install 'peephole[spark]'") from e
    if int(pyspark.__version__.split(".")[0]) < 4:
        raise MissingToolError(f"--engine spark: pyspark is {pyspark.__version__}; pip install 'peephole[spark]'")
    _need_java()
    from ibis.backends.pyspark import Backend

    class Exact(Backend):  # type: ignore[misc]
        """Results come by Arrow: by pandas, integers in a column with nulls would lose their last digits."""

        def to_pyarrow(self, expr: Any, /, **kwargs: Any) -> Any:
            from ibis.formats.pyarrow import PyArrowData

            table = expr.as_table()
            rows = self.session.sql(self.compile(table)).toArrow()
            return expr.__pyarrow_result__(PyArrowData.convert_table(rows, table.schema()))

        @property
        def session(self) -> Any:
            return self._session

    Backend.register_options()  # as Ibis does where it makes the backend itself
    backend = Exact()
    backend.do_connect(_session(master))
    return backend


def _need_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    advice = f"install Java {JAVA_LEAST} (openjdk-{JAVA_LEAST}-jre-headless), or set JAVA_HOME to it"
    if java is None:
        raise MissingToolError(f"--engine spark: there is no Java{f' in {home}' if home else ''}; {advice}")
    told = subprocess.run([java, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', told)
    if version is None or int(version[1]) < JAVA_LEAST:
        raise MissingToolError(f"--engine spark: {java} is Java {version[1] if version else '?'}; {advice}")


def _session(master: str) -> Any:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    own = Path(tempfile.mkdtemp(prefix="peephole-spark-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    builder = SparkSession.builder.master(master).appName("peephole diagnose")
    options = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    if master.startswith("local"):
        cores = re.search(r"\d+", master)
        parts = _PARTS_A_CORE * (int(cores[0]) if cores else os.cpu_count() or 1)
        options |= {"spark.driver.memory": _MEMORY, "spark.sql.shuffle.partitions": str(parts)}
        options |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
        options |= {"spark.local.dir": str(own)}
        # All of it is one process: one that is slow, on a busy machine, is not one that is lost.
        options |= {"spark.sql.broadcastTimeout": "-1", "spark.network.timeout": "100000s"}
    for name, value in options.items():
        builder = builder.config(name, value)
    try:
        with _errors_to(own / "log"):
            session = builder.getOrCreate()
    except (PySparkException, Py4JError, RuntimeError) as e:
        raise EngineError(f"--engine spark: no session at {master}: {_why_not(e, own / 'log')}") from e
    atexit.register(session.stop)
    return session


def _why_not(error: Exception, log: Path) -> str:
    """The reason why no session began: the exception's, or what the log ends with where it has none."""
    told = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    bare = "JAVA_GATEWAY_EXITED" in str(error)
    return told[-1].strip()[:300] if bare and told else _reason(error)


@contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """Standard error goes to `log` meanwhile: Java, which begins here, keeps it, and its chatter is not ours."""
    kept = os.dup(2)
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
