"""What files hold: reads, writes, sizes."""

from __future__ import annotations

from peephole.prove.model.kernel.call import EBADF, EFAULT, EINVAL, ENOENT, ESPIPE, Call, first_error, kernel_call
from peephole.prove.model.machine import CELLS, CHUNK, INODES, Machine, Oracle
from peephole.prove.model.terms import Num, add, and_, eq, ite, le, least, lt, most, not_, or_, sub


def cell_at(m: Machine, slot: int, at: Num) -> Num:
    """The cell of a description's file at a place; 0 beyond the end."""
    value: Num = 0
    if isinstance(at, int):
        return m.of_file(slot, f"c{at}") if 0 <= at < CELLS else 0
    for k in range(CELLS):
        value = ite(eq(at, k), m.of_file(slot, f"c{k}"), value)
    return value


def put(m: Machine, slot: int, at: Num, cells: tuple[Num, ...], count: Num) -> None:
    """Write cells one after another: a crash may come between any two."""
    m.leave(lt(CELLS, add(at, count)))
    for k, cell in enumerate(cells):
        with m.under(lt(k, count)) as some:
            if some is False:
                continue
            place = add(at, k)
            for i in range(INODES):
                with m.under(m.is_file(slot, i)) as here:
                    if here is False:
                        continue
                    for c in range(CELLS):
                        with m.under(eq(place, c)):
                            m.set(f"i{i}.c{c}", cell)
                    m.set(f"i{i}.size", least(most(m.state[f"i{i}.size"], add(place, 1)), CELLS))
                    m.touch(i)
            m.snapshot()


def use_room(m: Machine, slot: int, count: Num) -> None:
    """The kernel has so much less room for what is sent on a stream."""
    if "d0.room" in m.state:
        with m.under(m.is_stream(slot)):
            m.set_d(slot, "room", most(sub(m.d(slot, "room"), count), 0))


def send(m: Machine, slot: int, cells: tuple[Num, ...], count: Num) -> None:
    """Send cells on a stream, or into a pipe: no disk holds them, and their times are nobody's."""
    start = m.of_file(slot, "size")
    m.leave(lt(CELLS, add(start, count)))
    kind = "stream" if "i0.stream" in m.state else "pipe"
    for i in range(INODES):
        with m.under(and_(m.is_file(slot, i), m.state[f"i{i}.{kind}"])) as here:
            if here is False:
                continue
            for k, cell in enumerate(cells):
                with m.under(lt(k, count)):
                    for c in range(k, CELLS):
                        with m.under(eq(start, c - k)):
                            m.set(f"i{i}.c{c}", cell)
            m.set(f"i{i}.size", least(add(start, count), CELLS))
    use_room(m, slot, count)


def _store(m: Machine, call: Call, oracle: Oracle, at: Num, advance: bool) -> Num:
    slot, n, data = call.slot, call["n"], call["data"]
    special = m.of_file(slot, "special")
    error, fine = first_error(
        (not_(m.d(slot, "wr")), -EBADF),
        (and_(lt(0, n), eq(data.good, 0)), -EFAULT),
        (and_(lt(0, n), not_(eq(oracle.fail, 0))), oracle.fail),
    )
    count = least(least(n, data.good), oracle.short)
    stream = or_(m.is_stream(slot), m.is_pipe(slot))
    with m.under(and_(fine, not_(special))):
        put(m, slot, at, data.cells, count)
        if advance:
            m.set_d(slot, "pos", ite(lt(0, count), add(at, count), m.d(slot, "pos")))
    with m.under(and_(fine, stream)) as sends:
        if sends is not False:
            send(m, slot, data.cells, count)
    return ite(fine, count, error)  # type: ignore[no-any-return]


@kernel_call("write", "writev", "sendmsg")
def write(m: Machine, call: Call, oracle: Oracle) -> Num:
    at = ite(m.d(call.slot, "app"), m.of_file(call.slot, "size"), m.d(call.slot, "pos"))
    return _store(m, call, oracle, at, advance=True)


@kernel_call("pwrite64")
def pwrite(m: Machine, call: Call, oracle: Oracle) -> Num:
    # With O_APPEND the offset is not looked at: pwrite(2), BUGS.
    special = m.of_file(call.slot, "special")
    at = ite(m.d(call.slot, "app"), m.of_file(call.slot, "size"), call["offset"])
    with m.under(not_(special)):
        r = _store(m, call, oracle, at, advance=False)
    return ite(special, -ESPIPE, r)  # type: ignore[no-any-return]


def _load(m: Machine, call: Call, oracle: Oracle, at: Num, advance: bool) -> Num:
    slot, n, good = call.slot, call["n"], call["good"]
    special = and_(m.of_file(slot, "special"), not_(m.is_pipe(slot)))
    left = most(sub(m.of_file(slot, "size"), at), 0)
    wanted = least(n, ite(special, n, left))
    error, fine = first_error(
        (not_(m.d(slot, "rd")), -EBADF),
        (not_(eq(oracle.fail, 0)), oracle.fail),
        (and_(lt(0, wanted), eq(good, 0)), -EFAULT),
    )
    count = least(least(wanted, good), oracle.short)
    with m.under(and_(fine, not_(special))):
        for k in range(CHUNK):
            with m.under(lt(k, count)):
                m.emit(f"byte{k}", cell_at(m, slot, add(at, k)))
        if advance:
            m.set_d(slot, "pos", add(at, count))
    return ite(fine, count, error)  # type: ignore[no-any-return]


@kernel_call("read")
def read(m: Machine, call: Call, oracle: Oracle) -> Num:
    return _load(m, call, oracle, m.d(call.slot, "pos"), advance=True)


@kernel_call("pread64")
def pread(m: Machine, call: Call, oracle: Oracle) -> Num:
    pipe = m.is_pipe(call.slot)
    with m.under(not_(pipe)):
        r = _load(m, call, oracle, call["offset"], advance=False)
    return ite(pipe, -ESPIPE, r)  # type: ignore[no-any-return]


def cut(m: Machine, slot: int, size: Num) -> None:
    """Set the size of a description's file: cells beyond become 0."""
    for i in range(INODES):
        with m.under(m.is_file(slot, i)):
            for c in range(CELLS):
                with m.under(le(size, c)):
                    m.set(f"i{i}.c{c}", 0)
            m.set(f"i{i}.size", size)
            m.touch(i)
    m.leave(lt(CELLS, size))
    m.snapshot()


@kernel_call("ftruncate")
def ftruncate(m: Machine, call: Call, oracle: Oracle) -> Num:
    slot, n = call.slot, call["n"]
    error, fine = first_error(
        (lt(n, 0), -EINVAL),
        (or_(not_(m.d(slot, "wr")), m.of_file(slot, "special")), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    with m.under(fine):
        cut(m, slot, n)
    return error


@kernel_call("copy_file_range")
def copy_file_range(m: Machine, call: Call, oracle: Oracle) -> Num:
    """From `other` at its position to `slot`, at its position or at a given offset."""
    out, source, n = call.slot, call.other, call["n"]
    same = eq(m.d(out, "ino"), m.d(source, "ino"))
    odd = or_(m.of_file(out, "special"), m.of_file(source, "special"))
    error, fine = first_error(
        (not_(m.is_open(source)), -EBADF),
        (or_(not_(m.d(source, "rd")), not_(m.d(out, "wr")), m.d(out, "app")), -EBADF),
        (or_(odd, same), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    start = m.d(source, "pos")
    at = ite(call["placed"], call["offset"], m.d(out, "pos"))
    count = least(least(n, most(sub(m.of_file(source, "size"), start), 0)), oracle.short)
    cells = tuple(cell_at(m, source, add(start, k)) for k in range(CHUNK))
    with m.under(fine):
        put(m, out, at, cells, count)
        with m.under(lt(0, count)):
            m.set_d(source, "pos", add(start, count))
            with m.under(not_(call["placed"])):
                m.set_d(out, "pos", add(at, count))
    return ite(fine, count, error)  # type: ignore[no-any-return]


@kernel_call("sendfile")
def sendfile(m: Machine, call: Call, oracle: Oracle) -> Num:
    """From `other`, at its position or at a given offset, to `slot`."""
    out, source, n = call.slot, call.other, call["n"]
    error, fine = first_error(
        (not_(and_(m.is_open(source), m.d(source, "rd"), m.d(out, "wr"))), -EBADF),
        (or_(m.of_file(source, "special"), m.d(out, "app")), -EINVAL),
        (not_(eq(oracle.fail, 0)), oracle.fail),
    )
    start = ite(call["placed"], call["offset"], m.d(source, "pos"))
    count = least(least(n, most(sub(m.of_file(source, "size"), start), 0)), oracle.short)
    cells = tuple(cell_at(m, source, add(start, k)) for k in range(CHUNK))
    with m.under(fine):
        with m.under(not_(m.of_file(out, "special"))):
            put(m, out, m.d(out, "pos"), cells, count)
            m.set_d(out, "pos", add(m.d(out, "pos"), count))
        with m.under(m.is_stream(out)) as sends:
            if sends is not False:
                send(m, out, cells, count)
        with m.under(not_(call["placed"])):
            m.set_d(source, "pos", add(start, count))
    return ite(fine, count, error)  # type: ignore[no-any-return]


def cut_inode(m: Machine, i: int, n: Num) -> None:
    for c in range(CELLS):
        with m.under(le(n, c)):
            m.set(f"i{i}.c{c}", 0)
    m.set(f"i{i}.size", n)
    m.touch(i)
    m.snapshot()


@kernel_call("truncate")
def truncate(m: Machine, call: Call, oracle: Oracle) -> Num:
    """By name: also what another process does to a file through a descriptor of its own."""
    ino, n = m.state[f"n{call['name']}"], call["n"]
    for i in range(INODES if "clock" in m.state else 0):  # a link would be followed
        m.leave(and_(eq(ino, i), le(0, m.state[f"i{i}.link"])))
    for i in range(INODES):
        with m.under(and_(eq(ino, i), not_(m.state[f"i{i}.special"]))):
            cut_inode(m, i, n)
    return ite(le(0, ino), 0, -ENOENT)  # type: ignore[no-any-return]
