"""A capture's tables in DuckDB, which is embedded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peephole.diagnose.tables import Tables, derived, looked_at
from peephole.errors import CaptureError, EngineError
from peephole.trace import EXTRA_TABLES, Capture

#: what DuckDB may use before it writes to a private temporary folder
MEMORY_LIMIT = "2500MB"
#: from so many calls on, they are sorted into a file for each call first: a detector then reads the calls that it names
MANY_CALLS = 300_000


@contextmanager
def duckdb_tables(capture: Capture) -> Iterator[Tables]:
    """The tables of a capture, in an embedded DuckDB that lives as long as they do.

    Raises CaptureError when reading finds the capture corrupt, EngineError when memory and disk are too little.
    """
    import duckdb
    import ibis

    with tempfile.TemporaryDirectory(prefix="peephole-") as place:
        # The order of rows is never relied on, and keeping it costs memory.
        connection = ibis.duckdb.connect(
            temp_directory=place, memory_limit=MEMORY_LIMIT, preserve_insertion_order=False
        )
        try:
            recorded, processes, gaps = (
                connection.read_parquet(str(path)) for path in (capture.calls, capture.processes, capture.gaps)
            )
            extras = {
                name: connection.read_parquet(str(path)) for name in EXTRA_TABLES if (path := capture.extra(name))
            }
            calls = looked_at(recorded)
            if capture.meta.events >= MANY_CALLS:
                calls = _by_name(connection, calls, Path(place) / "calls")
            # A view is short in every query that is made of it, and Ibis takes its time for long ones.
            calls = connection.create_view("derived_calls", derived(calls))
            tables = Tables(recorded, calls, processes, gaps, extras)
            try:
                yield tables
            finally:
                tables.release()
        except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
            raise  # a mistake of ours
        except (RuntimeError, duckdb.InterruptException) as e:
            if isinstance(e, duckdb.InterruptException) or "Query interrupted" in str(e):
                raise KeyboardInterrupt from e  # DuckDB takes ctrl-C for itself while it works
            raise
        except duckdb.OutOfMemoryException as e:
            room = f"{MEMORY_LIMIT} of memory and the disk of {place}"
            raise EngineError(f"{capture.folder}: {room} are too little; set TMPDIR to a larger one") from e
        except duckdb.Error as e:
            why = str(e).splitlines()[0]
            raise CaptureError(f"{capture.folder}: cut off or corrupt ({why}); record it again") from e
        finally:
            connection.disconnect()


def _by_name(connection: Any, calls: Any, folder: Path) -> Any:
    """`calls`, read from a folder with files for each call's name."""
    connection.raw_sql(
        f"COPY ({connection.compile(calls)}) TO '{folder}' (FORMAT parquet, PARTITION_BY (name), COMPRESSION lz4_raw,"
        " DICTIONARY_SIZE_LIMIT 4096)"
    )
    return connection.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=True)
