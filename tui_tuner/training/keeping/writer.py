"""One thing at a time is finished in a thread, and what went wrong is kept for the one who asks."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Writer:
    """Runs a task beside the training; never two at once.

    The thread is no daemon: an interpreter that ends in good order waits for it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether a task raised something that nobody has asked for yet."""
        return self._failure is not None

    def start(self, task: Callable[[], None]) -> None:
        """Wait for the task before, then begin this one; done at once, here, if no thread can be had."""
        self.wait()
        thread = threading.Thread(target=self._run, args=(task,), name="checkpoint")
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._run(task)
        else:
            self._thread = thread

    def wait(self) -> None:
        """Until nothing is running."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def failure(self) -> Exception | None:
        """Wait, then give what the last task raised, once."""
        self.wait()
        error, self._failure = self._failure, None
        return error

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # raised again by whoever asks for it
            self._failure = error
