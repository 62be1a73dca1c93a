"""Run one task at a time in a thread, and keep its exception for the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Writer:
    """Runs a task in a thread while training continues; never two at once."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def has_failed(self) -> bool:
        """Return whether a task raised an error that has not been taken yet."""
        return self._failure is not None

    def start_job(self, task: Callable[[], None]) -> None:
        """Wait for the previous task, then start this one; run it right here if no thread can be created."""
        self.wait_until_written()
        # Not a daemon: an interpreter that ends normally waits for it, so the checkpoint gets finished.
        thread = threading.Thread(target=self._run_job, args=(task,), name="checkpoint")
        try:
            thread.start()
        # At a limit of threads or memory, a pause in training is better than no checkpoint.
        except (RuntimeError, MemoryError):
            self._run_job(task)
        else:
            self._thread = thread

    def wait_until_written(self) -> None:
        """Wait until no task is running."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def take_failure(self) -> Exception | None:
        """Wait, then return what the last task raised; each error is returned once."""
        self.wait_until_written()
        error, self._failure = self._failure, None
        return error

    def _run_job(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            # An exception that leaves a thread is only printed; `take_failure` hands it to the training loop.
            self._failure = error
