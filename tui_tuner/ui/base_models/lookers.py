"""Threads for what may take its time, such as a hub's answer; the newest that is wanted is done first.

They are daemons, and not workers of the screen: a hub that does not answer must neither use up the threads
that other work waits for, nor keep the program when one leaves it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

Wanted = TypeVar("Wanted", bound=Hashable)


class Lookers(Generic[Wanted]):
    """Does `work` with what is wanted, in a few threads, which end when there is nothing left to do.

    Args:
        work: Called in a thread; what it raises goes to `failed`.
        failed: Called in a thread.
        most: Threads at the same time.
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

    def want(self, things: Sequence[Wanted]) -> None:
        """Do these next, the first of them first, and nothing that was wanted before and has not begun."""
        with self._lock:
            if self._closed:
                return
            self._wanted = [thing for thing in things if thing not in self._busy]
            new = min(len(self._wanted), self._most - self._threads)
            self._threads += max(0, new)
        for _unused in range(new):
            threading.Thread(target=self._look, name="model-looker", daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether anything is being done, or waits for it."""
        with self._lock:
            return bool(self._busy or self._wanted)

    def close(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._closed, self._wanted = True, []

    def _look(self) -> None:
        while True:
            with self._lock:
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
