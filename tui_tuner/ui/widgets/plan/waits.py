"""What a screen is waiting for: a name, a count if there is one, and the seconds passed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.runs.events import Phase
from tui_tuner.runs.phases.progress import PhaseProgress, format_phase_progress
from tui_tuner.text import one_line


@dataclass(frozen=True)
class Wait:
    """One thing that a screen waits for.

    Args:
        words: Its name.
        began: Its start, in seconds of `time.time`.
        progress: Its progress, if known.
        ending: How to cancel it, in words.
    """

    words: str
    began: float
    progress: PhaseProgress = PhaseProgress()  # noqa: RUF009  (frozen)
    ending: str = ""

    def describe_wait(self, now: float) -> str:
        """Describe it in one line."""
        counted = (
            format_phase_progress(self.progress, now) if self.progress.total or self.progress.done else ""
        )
        seconds = int(now - self.began)
        taken = _("{seconds} s", seconds=seconds) if seconds and not counted else ""
        words = f"{self.words} {counted or taken}".rstrip()
        return ", ".join(part for part in (words, self.ending) if part)


class WaitList:
    """The things that a screen waits for, by name; the newest is shown."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}

    def begin_wait(self, name: str, words: str, ending: str = "") -> None:
        """Start waiting for something."""
        self._waits.pop(name, None)
        # Removed first, so that it becomes the newest: a dict keeps the place of an existing key.
        self._waits[name] = Wait(words, time.time(), ending=ending)

    def count_progress(self, name: str, done: int, total: int, unit: str, words: str = "") -> None:
        """Note the progress of a wait."""
        wait = self._waits.get(name)
        if wait is not None:
            progress = wait.progress.take_event(Phase(name, done, total, words, unit), time.time())
            self._waits[name] = replace(wait, words=one_line(words) or wait.words, progress=progress)

    def end_wait(self, name: str) -> None:
        """Stop waiting for something."""
        self._waits.pop(name, None)

    def __bool__(self) -> bool:
        return bool(self._waits)

    def describe_newest(self) -> Content:
        """Describe the newest wait; empty if there is none."""
        wait = next(reversed(self._waits.values()), None)
        return Content(wait.describe_wait(time.time())).stylize("$dim") if wait is not None else Content("")
