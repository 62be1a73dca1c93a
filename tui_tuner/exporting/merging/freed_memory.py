"""Give memory that was freed back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _find_library() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = ctypes.CDLL("libc.so.6")
    except OSError:  # another C library
        return None
    return found if hasattr(found, "malloc_trim") else None


def return_freed_memory() -> None:
    """Give freed pages back, where the C library keeps them: of each layer of a model, glibc keeps some."""
    library = _find_library()
    if library is not None:
        library.malloc_trim(0)
