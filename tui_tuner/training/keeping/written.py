"""How much of a folder is written, said while it is being written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

EVERY_SECONDS = 1.0


@contextlib.contextmanager
def counting_written(say: Callable[[int], None], target: Path) -> Iterator[None]:
    """Say each second how many bytes there are of the folder that is written beside `target`."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY_SECONDS):
            written = bytes_of(target.parent.glob(f".{target.name}.*.writing"))
            if written and not ended.is_set():
                say(written)

    thread = threading.Thread(target=watch, name="written", daemon=True)
    with contextlib.suppress(RuntimeError):  # no thread can be had: then nothing is said
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def bytes_of(folders: Iterator[Path]) -> int:
    """What the files in these folders take; those that are gone meanwhile count nothing."""
    found = 0
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                found += path.stat().st_size if path.is_file() else 0
    return found
