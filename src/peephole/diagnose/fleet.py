"""Captures of many machines: by folder, by pattern, or by URL of an object store (pyarrow.fs)."""

from __future__ import annotations

import fnmatch
import glob
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peephole.errors import CaptureError
from peephole.observe.capture import open_capture
from peephole.trace import Capture

_META = "meta.json"
_MAGIC = "*?["


@contextmanager
def opened(words: Iterable[str]) -> Iterator[list[Capture]]:
    """The captures that `words` name; those of an object store are copied to a private folder meanwhile.

    Raises CaptureError when one can't be opened, or a pattern names none.
    """
    with tempfile.TemporaryDirectory(prefix="peephole-fleet-") as place:
        found: list[Capture] = []
        for number, word in enumerate(words):
            if "://" in word:
                found += _remote(word, Path(place) / str(number))
            else:
                found += [open_capture(folder) for folder in _local(word)]
        yield found


def _local(word: str) -> list[Path]:
    if Path(word).exists() or not any(c in word for c in _MAGIC):
        return [Path(word)]
    named = [Path(name) for name in sorted(glob.glob(word))]  # noqa: PTH207 - the pattern may be absolute
    folders = [folder for folder in named if (folder / _META).exists()]
    if not folders:
        raise CaptureError(f"{word}: no capture is named like that")
    return folders


def _remote(url: str, place: Path) -> list[Capture]:
    import pyarrow as pa
    from pyarrow import fs

    start = min((url.find(c) for c in _MAGIC if c in url), default=len(url))
    base, rest = url[:start], url[start:]
    base, rest = (base, rest) if not rest else (base[: base.rfind("/")], base[base.rfind("/") + 1 :] + rest)
    try:
        store, root = fs.FileSystem.from_uri(base)
        folders = _matching(store, root, rest) if rest else [root]
        return [_copied(store, folder, place / str(number)) for number, folder in enumerate(folders)]
    except (pa.ArrowException, OSError, ValueError) as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise CaptureError(f"{url}: can't be read: {reason}") from e


def _matching(store: Any, root: str, pattern: str) -> list[str]:
    from pyarrow import fs

    depth = pattern.count("/")
    entries = store.get_file_info(fs.FileSelector(root, recursive=depth > 0))
    folders = sorted(
        info.path
        for info in entries
        if info.type == fs.FileType.Directory and _fits(info.path[len(root) :].strip("/"), pattern, depth)
    )
    if not folders:
        raise CaptureError(f"{root}/{pattern}: no capture is named like that")
    return folders


def _fits(name: str, pattern: str, depth: int) -> bool:
    # A star does not cross a slash, as in a shell.
    return name.count("/") == depth and all(
        fnmatch.fnmatchcase(one, other) for one, other in zip(name.split("/"), pattern.split("/"), strict=True)
    )


def _copied(store: Any, folder: str, place: Path) -> Capture:
    from pyarrow import fs

    place.mkdir(mode=0o700, parents=True)
    for info in store.get_file_info(fs.FileSelector(folder)):
        if info.type == fs.FileType.File and info.base_name.endswith((".parquet", ".json")):
            with store.open_input_stream(info.path) as source, (place / info.base_name).open("wb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
    return open_capture(place)
