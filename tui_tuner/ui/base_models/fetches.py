"""Models that are being fetched: one after the other, in a thread of this process, whatever screen is on view.

What was fetched stays on the disk, so one that is left goes on where it was when it is fetched again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError

WAITING, FETCHING, DONE, FAILED, LEFT = "waiting", "fetching", "done", "failed", "left"
_WINDOW = 12.0  # seconds over which the rate is measured
_STILL = 15.0  # seconds without a byte after which that is said


@dataclass
class Job:
    """A model that is fetched, was, or waits for its turn.

    Args:
        done, total: Bytes; None for a total that nobody knows.
        file: The one that came last.
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
    moved: float = 0.0
    seen: deque[tuple[float, int]] = field(default_factory=deque, repr=False)

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

    def rate(self, now: float) -> float | None:
        """Bytes a second of late; None before there are any."""
        seen = [(when, done) for when, done in tuple(self.seen) if now - when <= _WINDOW]
        if len(seen) < 2 or now - seen[0][0] < 0.5:
            return None
        return max(0.0, (self.done - seen[0][1]) / (now - seen[0][0]))

    def left(self, now: float) -> float | None:
        """Seconds to its end at that rate; None where nobody can tell."""
        rate = self.rate(now)
        return (self.total - self.done) / rate if rate and self.total else None

    def still(self, now: float) -> float:
        """For how many seconds nothing has come, once that is worth a word; else 0."""
        quiet = now - self.moved
        return quiet if self.state == FETCHING and self.moved and quiet >= _STILL else 0.0

    def note(self, progress: Any) -> None:
        """What the hub's client tells (`models.hub.Progress`)."""
        now = time.monotonic()
        if progress.done != self.done or not self.moved:
            self.moved = now
        self.done, self.total = progress.done, progress.total or self.total
        self.file, self.files_done, self.files_total = (
            progress.file,
            progress.files_done,
            progress.files_total,
        )
        if not self.seen or now - self.seen[-1][0] >= 0.25:
            self.seen.append((now, self.done))
            while len(self.seen) > 200 or now - self.seen[0][0] > 2 * _WINDOW:
                self.seen.popleft()


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
        from tui_tuner.models import hub

        job.moved = time.monotonic()
        try:
            folder = hub.fetch(
                job.name,
                revision=job.revision,
                source=job.source,
                progress=job.note,
                cancelled=lambda: job.state == LEFT,
            )
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
