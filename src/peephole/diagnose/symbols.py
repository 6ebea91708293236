"""Names of functions as their source has them."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache


def readable_name(symbol: str) -> str:
    """`GooFile::read(char*, int, long long) const` for `_ZNK7GooFile4readEPcix`; other names, and all where the C++
    library is not installed, as they are.
    """
    return _demangled(symbol) if symbol.startswith("_Z") else symbol


@cache
def _demangled(symbol: str) -> str:
    library = _library()
    if library is None:
        return symbol
    status = ctypes.c_int()
    text = library.__cxa_demangle(symbol.encode(), None, None, ctypes.byref(status))
    if not text:
        return symbol
    name = ctypes.string_at(text).decode("utf-8", "backslashreplace")
    ctypes.CDLL(None).free(ctypes.c_void_p(text))
    return name


@cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(ctypes.util.find_library("stdc++") or "libstdc++.so.6")
    except OSError:
        return None
    library.__cxa_demangle.restype = ctypes.c_void_p
    return library
