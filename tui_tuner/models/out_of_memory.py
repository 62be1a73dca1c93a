"""Recognise that memory ran out, and release what the failed attempt held before the next one."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterator

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "cublas_status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory of a device or of the machine ran out."""
    # Compared by name, as the caller may not have imported torch and an import takes seconds.
    if isinstance(error, MemoryError) or any(_is_torchs(kind) for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def _is_torchs(kind: type) -> bool:
    return kind.__name__ == "OutOfMemoryError" and kind.__module__.partition(".")[0] == "torch"


def free_attempt_memory(error: BaseException) -> None:
    """Release every tensor that the failed attempt held, and return cached memory."""
    for link in _walk_causes(error):
        # The frames that an error went through keep their variables as long as the error lives, so
        # activations of the failed pass would still be in memory while a smaller one is tried.
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None
    free_cached_memory()


def free_cached_memory() -> None:
    """Return unused memory to the machine and to its GPUs."""
    gc.collect()
    torch = sys.modules.get("torch")
    # Emptying the cache of a GPU that is not initialised would create a context, which takes memory
    # itself.
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _walk_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it, each once."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            todo += [link.__cause__, link.__context__]
