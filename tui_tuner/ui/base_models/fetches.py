"""Models that are being fetched: one after the other, in a thread, whatever screen is on view.

What was fetched stays on the disk, so one that is left goes on where it was when it is fetched again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError

if TYPE_CHECKING:
    from tui_tuner.models.hub.kinds import Progress

WAITING, FETCHING, DONE, FAILED, LEFT = "waiting", "fetching", "done", "failed", "left"
_STILL = 15.0  # seconds without a byte after which that is said


@dataclass
class Job:
    """A model that is fetched, was, or waits for its turn.

    Args:
        done, total: Bytes; None for a total that nobody knows.
        file: The one that came last.
        note: Why it does not move, in words.
        rate: Bytes a second lately.
        error: Why it failed.
        folder: Where it is, once it is whole.
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
    def active(self) -> bool:
        """Whether it is fetched, or will be."""
        return self.state in (WAITING, FETCHING)

    @property
    def share(self) -> float | None:
        """How much of it is here, from 0 to 1; None where nobody knows."""
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def words(self) -> str:
        """Why it failed, in words."""
        return words_of(self.error) if self.error is not None else ""

    @property
    def left(self) -> float | None:
        """Seconds to its end at the rate of late; None where nobody can tell."""
        return (self.total - self.done) / self.rate if self.rate and self.total else None

    def still(self, now: float) -> float:
        """For how many seconds nothing has come, once that is worth a word; else 0."""
        quiet = now - self.moved
        return quiet if self.state == FETCHING and self.moved and quiet >= _STILL else 0.0

    def hear(self, progress: Progress) -> None:
        """How far it is."""
        now = time.monotonic()
        if progress.done != self.done:
            self.moved = now
        self.done, self.total = progress.done, progress.total or self.total
        self.file, self.note, self.rate = progress.file, progress.note, progress.rate
        self.files_done, self.files_total = progress.files_done, progress.files_total


class Fetches:
    """The models that this process fetches.

    Args:
        ended: Called in a thread when one has come to its end, whatever that was.
    """

    def __init__(self, ended: Callable[[Job], None]) -> None:
        self.jobs: list[Job] = []
        self._ended = ended
        self._lock = threading.Lock()
        self._running = False
        self._closed = False

    @property
    def active(self) -> list[Job]:
        """What is fetched now, and then what waits."""
        with self._lock:
            return [job for job in self.jobs if job.active]

    @property
    def current(self) -> Job | None:
        """What is fetched now."""
        return next(iter(self.active), None)

    def of(self, name: str, source: str) -> Job | None:
        """The newest job for a model."""
        with self._lock:
            jobs = [job for job in self.jobs if (job.name, job.source) == (name, source)]
        return jobs[-1] if jobs else None

    def add(self, name: str, source: str, revision: str | None = None, total: int | None = None) -> Job:
        """Fetch a model when its turn comes; the one that is already wanted, where there is one."""
        with self._lock:
            for job in self.jobs:
                if job.active and (job.name, job.source, job.revision) == (name, source, revision):
                    return job
            job = Job(name, source, revision, total=total)
            self.jobs.append(job)
            begin, self._running = not self._running, True
        if begin:
            threading.Thread(target=self._work, name="fetch", daemon=True).start()
        return job

    def leave(self, job: Job) -> None:
        """Fetch no more of it; what is here stays."""
        with self._lock:
            waited = job.state == WAITING
            if job.active:
                job.state = LEFT
        if waited:
            self._ended(job)

    def close(self) -> None:
        """Leave all of them: the program ends."""
        with self._lock:
            self._closed = True
            for job in self.jobs:
                if job.active:
                    job.state = LEFT

    def _work(self) -> None:
        while True:
            with self._lock:
                job = next((one for one in self.jobs if one.state == WAITING), None)
                if job is None or self._closed:
                    self._running = False
                    return
                job.state = FETCHING
            self._fetch(job)
            if not self._closed:
                with contextlib.suppress(RuntimeError):  # the screen is closing
                    self._ended(job)

    def _fetch(self, job: Job) -> None:
        from tui_tuner.ui.base_models import hubs

        job.moved = time.monotonic()
        try:
            folder = hubs.fetch(job.name, job.source, job.revision, job.hear, lambda: job.state == LEFT)
        except Exception as error:  # also of a library: one model that fails must not end the queue
            with self._lock:
                if job.state == FETCHING:
                    job.state, job.error = FAILED, error
            return
        with self._lock:
            if job.state == FETCHING:
                job.state, job.folder = DONE, folder


def is_expected(error: BaseException | None) -> bool:
    """Whether an error says what to do, or comes from the disk or the net."""
    return isinstance(error, TunerError | OSError)
