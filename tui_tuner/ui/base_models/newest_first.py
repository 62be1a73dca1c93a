"""Threads for slow requests, such as those to a hub; the newest request comes first.

They are daemon threads, not workers of the screen: a hub that does not answer must neither use up the threads
that other work needs, nor keep the program from exiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Wanted = TypeVar("Wanted", bound=Hashable)


class NewestFirstThreads(Generic[Wanted]):
    """Runs `work` for requests in a few threads, which end when none are left.

    Args:
        work: Called in a thread; its errors go to `failed`.
        failed: Called in a thread.
        most: The maximum number of threads.
    """

    def __init__(
        self, work: Callable[[Wanted], None], failed: Callable[[Wanted, Exception], None], most: int
    ) -> None:
        self._work, self._failed, self._most = work, failed, most
        self._lock = threading.Lock()
        self._wanted: list[Wanted] = []
        self._busy: set[Wanted] = set()
        self._threads = 0
        self._closed = False

    def request_only(self, things: Sequence[Wanted]) -> None:
        """Replace all pending requests by these, in this order; running ones continue."""
        with self._lock:
            if self._closed:
                return
            self._wanted = [thing for thing in things if thing not in self._busy]
            new = min(len(self._wanted), self._most - self._threads)
            self._threads += max(0, new)
        for _unused in range(new):
            threading.Thread(target=self._run_requests, name="model-looker", daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """True while requests are running or pending."""
        with self._lock:
            return bool(self._busy or self._wanted)

    def close(self) -> None:
        """Start no further requests."""
        with self._lock:
            self._closed, self._wanted = True, []

    def _run_requests(self) -> None:
        while True:
            with self._lock:
                # A thing that is requested again while it runs must not run twice at a time.
                thing = next((one for one in self._wanted if one not in self._busy), None)
                if thing is None:
                    self._threads -= 1
                    return
                self._wanted.remove(thing)
                self._busy.add(thing)
            try:
                self._work(thing)
            except Exception as error:
                with suppress(RuntimeError):  # the screen is closing
                    self._failed(thing, error)
            finally:
                with self._lock:
                    self._busy.discard(thing)
