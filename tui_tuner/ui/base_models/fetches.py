"""The download queue for models: one at a time, in a thread, independent of the screen.

Downloaded parts stay on disk, so a cancelled download resumes when it is started again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError

if TYPE_CHECKING:
    from tui_tuner.models.hub.kinds import Progress

WAITING, FETCHING, DONE, FAILED, LEFT = "waiting", "fetching", "done", "failed", "left"
_STILL = 15.0  # seconds without a byte before that is reported


@dataclass
class FetchJob:
    """The download of a model: active, finished or waiting.

    Args:
        done, total: Bytes; `total` is None if unknown.
        file: The current file.
        note: Why it makes no progress, in words.
        rate: Recent bytes per second.
        error: Why it failed.
        folder: The model's folder, once complete.
    """

    name: str
    source: str
    revision: str | None = None
    state: str = WAITING
    done: int = 0
    total: int | None = None
    file: str = ""
    files_done: int = 0
    files_total: int = 0
    error: Exception | None = None
    folder: Path | None = None
    note: str = ""
    rate: float | None = None
    moved: float = 0.0

    @property
    def is_active(self) -> bool:
        """True while it is downloading or waiting."""
        return self.state in (WAITING, FETCHING)

    @property
    def share(self) -> float | None:
        """The downloaded share, 0 to 1; None if the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def words(self) -> str:
        """Return why it failed, in words."""
        return format_error_words(self.error) if self.error is not None else ""

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the recent rate; None if unknown."""
        return (self.total - self.done) / self.rate if self.rate and self.total else None

    def count_still_seconds(self, now: float) -> float:
        """Return the seconds without progress if worth reporting, otherwise 0."""
        quiet = now - self.moved
        return quiet if self.state == FETCHING and self.moved and quiet >= _STILL else 0.0

    def take_progress(self, progress: Progress) -> None:
        """Take over a progress report."""
        now = time.monotonic()
        if progress.done != self.done:
            self.moved = now
        self.done, self.total = progress.done, progress.total or self.total
        self.file, self.note, self.rate = progress.file, progress.note, progress.rate
        self.files_done, self.files_total = progress.files_done, progress.files_total


class FetchQueue:
    """The models that this process fetches.

    Args:
        ended: Called in a thread when a download has ended in any way.
    """

    def __init__(self, ended: Callable[[FetchJob], None]) -> None:
        self.jobs: list[FetchJob] = []
        self._ended = ended
        self._lock = threading.Lock()
        self._running = False
        self._closed = False

    @property
    def active_jobs(self) -> list[FetchJob]:
        """The current download, then the waiting ones."""
        with self._lock:
            return [job for job in self.jobs if job.is_active]

    @property
    def current(self) -> FetchJob | None:
        """The current download, if any."""
        return next(iter(self.active_jobs), None)

    def find_job(self, name: str, source: str) -> FetchJob | None:
        """Return the newest job of a model, if any."""
        with self._lock:
            jobs = [job for job in self.jobs if (job.name, job.source) == (name, source)]
        return jobs[-1] if jobs else None

    def add_job(
        self, name: str, source: str, revision: str | None = None, total: int | None = None
    ) -> FetchJob:
        """Queue a download and return its job, or the job that is already queued for the model."""
        with self._lock:
            for job in self.jobs:
                if job.is_active and (job.name, job.source, job.revision) == (name, source, revision):
                    return job
            job = FetchJob(name, source, revision, total=total)
            self.jobs.append(job)
            # Decided inside the lock: the thread may be just about to end with an empty queue.
            begin, self._running = not self._running, True
        if begin:
            threading.Thread(target=self._run_queue, name="fetch", daemon=True).start()
        return job

    def cancel_job(self, job: FetchJob) -> None:
        """Cancel a download; downloaded parts stay on disk."""
        with self._lock:
            waited = job.state == WAITING
            if job.is_active:
                job.state = LEFT
        # A download that was under way ends itself, and reports from its own thread.
        if waited:
            self._ended(job)

    def close(self) -> None:
        """Cancel all downloads because the program ends."""
        with self._lock:
            self._closed = True
            for job in self.jobs:
                if job.is_active:
                    job.state = LEFT

    def _run_queue(self) -> None:
        while True:
            with self._lock:
                job = next((one for one in self.jobs if one.state == WAITING), None)
                if job is None or self._closed:
                    self._running = False
                    return
                job.state = FETCHING
            self._fetch_model(job)
            if not self._closed:
                with contextlib.suppress(RuntimeError):  # the screen is closing
                    self._ended(job)

    def _fetch_model(self, job: FetchJob) -> None:
        from tui_tuner.ui.base_models import hubs

        job.moved = time.monotonic()
        try:
            folder = hubs.fetch_listed_model(
                job.name, job.source, job.revision, job.take_progress, lambda: job.state == LEFT
            )
        except Exception as error:  # also of libraries: one failed model must not end the queue
            with self._lock:
                if job.state == FETCHING:
                    job.state, job.error = FAILED, error
            return
        with self._lock:
            # Otherwise it was cancelled in the last moment, which must stay so.
            if job.state == FETCHING:
                job.state, job.folder = DONE, folder


def is_expected_error(error: BaseException | None) -> bool:
    """Return whether an error needs no report: one of ours, of the disk, or of the network."""
    return isinstance(error, TunerError | OSError)
