"""Bring weights into memory: read files ahead, and count the weights while they are loaded."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection
from tui_tuner.models.device import measure_host_memory
from tui_tuner.models.hub.place import find_folder_on_disk

PIECE = 8 << 20  # bytes that are read at a time
MOST_OF_FREE = 0.5  # share of the free memory that the files may have together


class ReadAhead:
    """Reads the files of a model in a thread, so that loading finds them in the memory of the system.

    Only files on this machine are read. Reading releases Python's lock, pieces that are already in memory are
    skipped, and errors are ignored, as loading will report them.

    Attributes:
        bytes: Number of bytes read from the disk.
    """

    def __init__(self, model: ModelSection) -> None:
        self._model = model
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_all, name="read-ahead", daemon=True)
        self.bytes = 0

    def __enter__(self) -> ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def wait_for_end(self) -> None:
        """Wait until everything is read."""
        self._thread.join()

    def _read_all(self) -> None:
        with contextlib.suppress(Exception):
            files = list_weight_files(self._model)
            # Files that fill the memory would push each other out of the cache before they are used.
            if sum(file.stat().st_size for file in files) <= MOST_OF_FREE * measure_host_memory()[1]:
                for file in files:
                    self._read_file(file)

    def _read_file(self, file: Path) -> None:
        # One buffer for all pieces: only the system's cache matters, the bytes themselves are thrown away.
        buffer = bytearray(PIECE)
        descriptor = os.open(file, os.O_RDONLY)
        try:
            for offset in range(0, os.fstat(descriptor).st_size, PIECE):
                if self._stop.is_set():
                    return
                if not _in_memory(descriptor, offset):
                    self.bytes += os.preadv(descriptor, [buffer], offset)
        finally:
            os.close(descriptor)


def _in_memory(descriptor: int, offset: int) -> bool:
    """Return whether the last byte of a piece can be read without waiting for a disk."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    size = os.fstat(descriptor).st_size
    try:
        return bool(os.preadv(descriptor, [bytearray(1)], min(size, offset + PIECE) - 1, os.RWF_NOWAIT))
    # EAGAIN: the read would wait. EOPNOTSUPP: the file system cannot answer without waiting.
    except OSError:
        return False


def list_weight_files(model: ModelSection) -> list[Path]:
    """List the safetensors files of a model on this machine; empty if only loading could find them."""
    if model.architecture is not None:
        return []
    folder = find_folder_on_disk(model)
    if folder is None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
        if not isinstance(found, str):
            return []
        folder = Path(found).parent
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return sorted(path for path in {folder / Path(name).name for name in names} if path.is_file())


@contextlib.contextmanager
def count_weights(say: Callable[[int, int], None]) -> Iterator[None]:
    """Report how many of a model's weights are loaded, and of how many, while transformers loads them."""
    from transformers.utils import logging

    # A private hook of transformers 5: without it loading works the same, only uncounted.
    set_hook = getattr(logging, "set_tqdm_hook", None)
    if set_hook is None:
        yield
        return

    def wrap_bar(make: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        bar = make(*given, **named)
        items = given[0] if given else named.get("iterable")
        return _CountingBar(bar, items, say) if hasattr(items, "__len__") else bar

    before = set_hook(wrap_bar)
    try:
        yield
    finally:
        set_hook(before)


class _CountingBar:
    """A progress bar of transformers that reports its progress."""

    def __init__(self, bar: Any, items: Any, say: Callable[[int, int], None]) -> None:
        self._bar, self._items, self._say = bar, items, say

    def __iter__(self) -> Iterator[Any]:
        for done, item in enumerate(self._items):
            self._say(done, len(self._items))
            yield item
        self._say(len(self._items), len(self._items))

    def __enter__(self) -> _CountingBar:
        return self

    def __exit__(self, *_unused: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bar, name)
