"""io_uring operations: submissions and completions brought together."""

from __future__ import annotations

from typing import Any

from peephole.observe.events import Event
from peephole.observe.records import RING_SUBMIT
from peephole.trace import OPERATION_COLUMNS

#: enum io_uring_op (include/uapi/linux/io_uring.h, 6.18)
_WORDS = (
    "NOP READV WRITEV FSYNC READ_FIXED WRITE_FIXED POLL_ADD POLL_REMOVE SYNC_FILE_RANGE SENDMSG RECVMSG TIMEOUT "
    "TIMEOUT_REMOVE ACCEPT ASYNC_CANCEL LINK_TIMEOUT CONNECT FALLOCATE OPENAT CLOSE FILES_UPDATE STATX READ WRITE "
    "FADVISE MADVISE SEND RECV OPENAT2 EPOLL_CTL SPLICE PROVIDE_BUFFERS REMOVE_BUFFERS TEE SHUTDOWN RENAMEAT UNLINKAT "
    "MKDIRAT SYMLINKAT LINKAT MSG_RING FSETXATTR SETXATTR FGETXATTR GETXATTR SOCKET URING_CMD SEND_ZC SENDMSG_ZC "
    "READ_MULTISHOT WAITID FUTEX_WAIT FUTEX_WAKE FUTEX_WAITV FIXED_FD_INSTALL FTRUNCATE BIND LISTEN RECV_ZC "
    "EPOLL_WAIT READV_FIXED WRITEV_FIXED PIPE"
)
OPCODES = tuple(_WORDS.split())


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def operations(events: list[Event]) -> list[dict[str, Any]]:
    """Rows of operations.parquet. A completion belongs to the oldest submission of its image with its user_data."""
    rows: list[dict[str, Any]] = []
    waiting: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in events:
        key = (event.image, event.user_data)
        row: dict[str, Any] = dict.fromkeys(OPERATION_COLUMNS)
        if event.type == RING_SUBMIT:
            name = OPCODES[event.status] if 0 <= event.status < len(OPCODES) else f"OP_{event.status}"
            fd = event.prev_image - (1 << 32) if event.prev_image >> 31 else event.prev_image
            row.update(pid=event.pid, tid=event.tid, image=event.image, submit_ns=event.ns, opcode=event.status)
            row.update(name=name, fd=fd, user_data=_signed(event.user_data))
            rows.append(row)
            waiting.setdefault(key, []).append(row)
            continue
        submitted = waiting.get(key)
        if submitted:
            row = submitted.pop(0)
        else:  # of a submission that was lost, or one more of a multishot operation
            row.update(pid=event.pid, tid=event.tid, image=event.image, user_data=_signed(event.user_data))
            rows.append(row)
        row.update(complete_ns=event.ns, ret=event.result)
    return rows
