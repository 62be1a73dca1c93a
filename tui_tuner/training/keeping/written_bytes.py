"""Report how much of a folder has been written, while it is being written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

EVERY_SECONDS = 1.0


@contextlib.contextmanager
def report_written(say: Callable[[int], None], target: Path) -> Iterator[None]:
    """Report once a second how many bytes the folder being written next to `target` has."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY_SECONDS):
            written = count_bytes(target.parent.glob(f".{target.name}.*.writing"))
            # Counting takes a while: a late report would follow that of the next phase.
            if written and not ended.is_set():
                say(written)

    thread = threading.Thread(target=watch, name="written", daemon=True)
    # Without a thread only the progress is missing; the folder is written all the same.
    with contextlib.suppress(RuntimeError):
        thread.start()
    try:
        yield
    finally:
        ended.set()
        # Joining a thread that has never started raises an error.
        if thread.ident is not None:
            thread.join()


def count_bytes(folders: Iterator[Path]) -> int:
    """Count the bytes of the files in these folders; files that vanish meanwhile count as zero."""
    found = 0
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                found += path.stat().st_size if path.is_file() else 0
    return found
