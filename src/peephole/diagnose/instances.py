"""What a detector gives back: one row an instance of its waste, with the columns that the engine expects."""

from __future__ import annotations

from typing import Any

from peephole.diagnose.tables import DEVICE, FIFO, SOCKET, Tables


def instances(
    rows: Any,
    object: Any,
    *,
    calls: Any = 1,
    bytes: Any = 0,
    begin_ns: Any = None,
    end_ns: Any = None,
    certainty: Any = 2,
    handled: Any = True,
    blocked_ns: Any = None,
    claims: Any = None,
    **counts: Any,
) -> Any:
    """Select an instance's columns from `rows`, which have `image` and, unless told otherwise, `ns` and `seq`.

    `claims` are the calls that it saves, an array of their `seq`. `dev` and `blocked_ns` are taken from the rows where
    these have them. Integers and texts stand for themselves;
    everything else is an Ibis expression on `rows`. docs/howto-add-a-detector.md says what the columns mean.
    """
    import ibis

    def value(given: Any, otherwise: Any) -> Any:
        given = otherwise if given is None else given
        return ibis.literal(given) if isinstance(given, bool | int | str) else given

    have = rows.columns
    waited = rows.blocked_ns if "blocked_ns" in have else ibis.literal(0)
    return rows.select(
        image=rows.image.cast("int64"),
        dev=rows.dev.cast("int64") if "dev" in have else ibis.null("int64"),
        object=value(object, None),
        calls=value(calls, None).cast("int64"),
        bytes=value(bytes, None).cast("int64"),
        begin_ns=value(begin_ns, rows.ns if "ns" in have else None),
        end_ns=value(end_ns, rows.ns if "ns" in have else None),
        certainty=value(certainty, None),
        handled=value(handled, None),
        blocked_ns=value(blocked_ns, waited).fill_null(0).cast("int64"),
        claims=ibis.array([rows.seq]) if claims is None else claims,
        **{name: value(count, None).cast("int64") for name, count in counts.items()},
    )


def described(t: Tables, rows: Any) -> Any:
    """`rows` of calls on descriptors, with `object`: what the descriptor names; and `own`: its process opened it,
    as this program or as the one that it was before an exec.
    """
    import ibis
    from ibis import _

    opened = t.opens.select("ofd", opened="path", opener="image", opening="pid")
    joined = rows.left_join(opened, "ofd").drop("ofd_right")
    file = ibis.coalesce(_.opened, _.path.nullif("")) if "path" in rows.columns else _.opened
    kinds = [(SOCKET, "sockets"), (FIFO, "pipes")]
    if "ftype" in rows.columns:
        kind = ibis.cases(*[(_.ftype == number, ibis.literal(word)) for number, word in kinds], else_=file)
        kind = ibis.coalesce(kind, ibis.ifelse(_.ftype == DEVICE, ibis.literal("a device"), ibis.null("string")))
    else:
        kind = file
    processes = t.programs.select(user=_.image, process=_.pid)
    joined = joined.left_join(processes, joined.image == processes.user).drop("user")
    own = (_.opener == _.image).fill_null(False) | (_.opening == _.process).fill_null(False)
    return joined.mutate(object=ibis.coalesce(kind, ibis.literal("an inherited file")), own=own).drop(
        "opened", "opener", "opening", "process"
    )
