"""Open file descriptions: from addresses that the kernel uses again to ids that are never used again.

The kernel's struct file is a name for a description only while that is open. An address begins a new description
where a call that makes one returned it, where its inode is another, and after a loss (what was lost may have closed
it). So two descriptions never get one id while everything was seen; a description that other processes passed in
(SCM_RIGHTS) at a reused address for the same inode is the one case that can't be told.

close() has taken its description away when it returns: its id is the last one seen under that number in that
process, or in its parent when it was forked. It stays unknown where nothing was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peephole.observe.events import Tree
from peephole.observe.records import COMPAT, CREATED, apart

Ints = NDArray[np.int64]

#: dup, dup2, dup3: the result names the same description as the argument; so do fcntl's F_DUPFD and …_CLOEXEC
_DUPS = (32, 33, 292)
_FCNTL, _F_DUPFD, _F_DUPFD_CLOEXEC = 72, 0, 1030
_CLOSE, _EBADF = 3, -9


@dataclass(frozen=True)
class Lineage:
    """For each call: the description's id (0: none), and the row whose record has the file's identity (-1: none)."""

    ofd: Ints
    identity: Ints


@dataclass(frozen=True)
class Sightings:
    """Those calls of a spill that say something of descriptors, in time order."""

    total: int  # calls in the spill
    row: Ints  # each one's place among them
    ns: Ints
    file: NDArray[np.uint64]
    created: NDArray[np.bool_]
    inode: Ints  # any number that differs between inodes
    process: Ints
    fd: Ints
    nr: Ints  # -1 for a 32-bit call
    ret: Ints
    a0: Ints
    a1: Ints


def sightings(calls: Any, order: Ints, tree: Tree) -> Sightings:
    """The columns that lineage needs, from the spilled records taken in `order`."""
    highest = max([*tree.process_of, int(calls["image"].max(initial=0))], default=0)
    process_of = np.arange(highest + 1, dtype=np.int64)
    for image, process in tree.process_of.items():
        process_of[image] = process
    told = apart(calls, ("file", "flags", "nr"), order)
    by_number = np.isin(told["nr"], (_CLOSE, *_DUPS, _FCNTL)) & ((told["flags"] & COMPAT) == 0)
    row = np.flatnonzero((told["file"] != 0) | by_number)
    raw = apart(calls, ("exit_ns", "file", "flags", "ino", "dev", "image", "fd", "nr", "ret", "args"), order[row])
    return Sightings(
        total=len(order),
        row=row,
        ns=raw["exit_ns"],
        file=raw["file"],
        created=(raw["flags"] & CREATED) != 0,
        inode=raw["ino"] ^ (raw["dev"].astype(np.int64) << 40),
        process=process_of[raw["image"]],
        fd=raw["fd"].astype(np.int64),
        nr=np.where(raw["flags"] & COMPAT, -1, raw["nr"]).astype(np.int64),
        ret=raw["ret"],
        a0=raw["args"][0],
        a1=raw["args"][1],
    )


def lineage(seen: Sightings, tree: Tree, gap_ends: Ints) -> Lineage:
    """Ids for every call; `gap_ends` are the times at which something had been lost before."""
    opened = np.array(tree.opened, dtype=object).reshape(-1, 4)
    pair_ns, pair_process, pair_fd = (opened[:, i].astype(np.int64) for i in range(3))
    pair_file = opened[:, 3].astype(np.uint64)
    at = np.flatnonzero(seen.file)
    ns = np.concatenate([seen.ns[at], pair_ns])
    n_pairs = len(pair_ns)
    ids = _description_ids(
        ns,
        np.concatenate([seen.file[at], pair_file]),
        np.concatenate([seen.created[at], np.ones(n_pairs, dtype=bool)]),
        np.concatenate([seen.inode[at], np.zeros(n_pairs, dtype=np.int64)]),
        np.sort(gap_ends),
    )
    ofd = np.zeros(len(seen.ns), dtype=np.int64)
    ofd[at] = ids[: len(at)]
    identity = np.full(len(seen.ns), -1, dtype=np.int64)
    identity[at] = at
    pairs = (pair_ns, pair_process, pair_fd, ids[len(at) :])
    _resolve_closes(seen, tree, pairs, ofd, identity)
    known = Lineage(np.zeros(seen.total, dtype=np.int64), np.full(seen.total, -1, dtype=np.int64))
    known.ofd[seen.row] = ofd
    known.identity[seen.row] = np.where(identity >= 0, seen.row[identity], -1)
    return known


def _by_group(keys: NDArray[Any]) -> tuple[Ints, NDArray[Any]]:
    """A stable order that brings equal keys together, and small numbers that stand for the keys."""
    import pyarrow as pa

    codes = pa.array(keys).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    if len(codes) == 0 or int(codes.max()) < 1 << 16:
        codes = codes.astype(np.uint16)  # sorted by counting, several times faster
    return np.argsort(codes, kind="stable"), codes


def _description_ids(
    ns: Ints, file: NDArray[np.uint64], created: NDArray[np.bool_], inode: Ints, gap_ends: Ints
) -> Ints:
    if len(ns) == 0:
        return np.zeros(0, dtype=np.int64)
    time = np.argsort(ns, kind="stable")
    groups, codes = _by_group(file[time])
    order = time[groups]
    code, node, fresh = codes[groups], inode[order], created[order].copy()
    epoch = np.searchsorted(gap_ends, ns[order], side="right")
    fresh[0] = True
    fresh[1:] |= code[1:] != code[:-1]
    fresh[1:] |= (node[1:] != node[:-1]) & (node[1:] != 0) & (node[:-1] != 0)
    fresh[1:] |= epoch[1:] != epoch[:-1]
    # Number them in the order of their first sighting.
    starts = order[fresh]
    rank = np.empty(len(starts), dtype=np.int64)
    rank[np.argsort(ns[starts], kind="stable")] = np.arange(1, len(starts) + 1)
    ids = np.empty(len(ns), dtype=np.int64)
    ids[order] = rank[np.cumsum(fresh) - 1]
    return ids


def _resolve_closes(
    seen: Sightings, tree: Tree, pairs: tuple[Ints, Ints, Ints, Ints], ofd: Ints, identity: Ints
) -> None:
    """Fill in what successful closes closed."""
    closes = np.flatnonzero((seen.nr == _CLOSE) & (seen.ret != _EBADF))
    if len(closes) == 0:
        return
    dup = np.isin(seen.nr, _DUPS) | ((seen.nr == _FCNTL) & ((seen.a1 == _F_DUPFD) | (seen.a1 == _F_DUPFD_CLOEXEC)))
    dups = np.flatnonzero(dup & (seen.ret >= 0) & (ofd > 0))
    plain = np.flatnonzero(ofd)
    pair_ns, pair_process, pair_fd, pair_ofd = pairs
    none = np.full(len(pair_ns), -1, dtype=np.int64)
    # Everything that says what a descriptor is: a call on it, the result of dup, and close (it is nothing).
    history = _History(
        ns=np.concatenate([seen.ns[plain], seen.ns[dups], pair_ns, seen.ns[closes]]),
        process=np.concatenate([seen.process[plain], seen.process[dups], pair_process, seen.process[closes]]),
        fd=np.concatenate([seen.fd[plain], seen.ret[dups], pair_fd, seen.a0[closes] & 0xFFFFFFFF]),
        ofd=np.concatenate([ofd[plain], ofd[dups], pair_ofd, np.zeros(len(closes), dtype=np.int64)]),
        row=np.concatenate([identity[plain], identity[dups], none, np.full(len(closes), -1, dtype=np.int64)]),
    )
    process, fd, ns = seen.process[closes], seen.a0[closes] & 0xFFFFFFFF, seen.ns[closes]
    left = np.arange(len(closes))
    while len(left):
        found = history.last_before(process[left], fd[left], ns[left])
        hit = found >= 0
        ofd[closes[left[hit]]] = history.ofd[found[hit]]
        identity[closes[left[hit]]] = history.row[found[hit]]
        left = left[~hit]
        parents = [tree.forks.get(p, (-1, 0)) for p in process[left].tolist()]
        process[left] = [p for p, _ in parents]
        ns[left] = [when for _, when in parents]
        left = left[process[left] >= 0]


@dataclass(frozen=True)
class _History:
    ns: Ints
    process: Ints
    fd: Ints
    ofd: Ints
    row: Ints

    def last_before(self, process: Ints, fd: Ints, ns: Ints) -> Ints:
        """For each question (process, descriptor, time) the last entry before that time, or -1."""
        n = len(self.ns)
        keys = np.concatenate([(self.process << 32) | self.fd, (process << 32) | fd])
        # At the same time the question comes first, so that a close does not find itself.
        times = np.concatenate([self.ns * 2 + 1, ns * 2])
        time = np.argsort(times, kind="stable")
        groups, codes = _by_group(keys[time])
        order, code = time[groups], codes[groups]
        place = np.where(order < n, np.arange(len(order)), -1)
        last = np.maximum.accumulate(place)
        valid = (last >= 0) & (code[np.maximum(last, 0)] == code)
        answers = np.where(valid, order[np.maximum(last, 0)], -1)
        result = np.empty(len(ns), dtype=np.int64)
        questions = order >= n
        result[order[questions] - n] = answers[questions]
        return result
