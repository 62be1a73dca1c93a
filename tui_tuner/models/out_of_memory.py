"""Memory that ran out: recognise it, and let go of what the failed attempt held before another begins."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterator

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "cublas_status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory of a device or of the machine ran out."""
    # by its name: whoever asks need not have imported torch
    if isinstance(error, MemoryError) or any(_is_torchs(kind) for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def _is_torchs(kind: type) -> bool:
    return kind.__name__ == "OutOfMemoryError" and kind.__module__.partition(".")[0] == "torch"


def free_memory_of(error: BaseException) -> None:
    """Let go of every tensor that the failed attempt held, and give cached memory back.

    The frames that an error went through keep their variables for as long as the error is known, so
    activations of the failed pass would still be there while a smaller one is tried.
    """
    for link in _chain(error):
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None
    free_cached_memory()


def free_cached_memory() -> None:
    """Give memory back that nobody uses, of the machine and of its GPUs."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            todo += [link.__cause__, link.__context__]
