"""What a screen waits for: a name, a count where there is one, and the seconds, moving each second."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from textual.content import Content

from tui_tuner.locales import _
from tui_tuner.runs.events import Phase
from tui_tuner.runs.phases.progress import Progress, progress_words
from tui_tuner.text import one_line


@dataclass(frozen=True)
class Wait:
    """One thing that is waited for.

    Args:
        words: What it is.
        began: When it began [seconds of `time.time`].
        progress: How far it is, where that is known.
        ending: How it is ended, in words.
    """

    words: str
    began: float
    progress: Progress = Progress()  # noqa: RUF009  (frozen)
    ending: str = ""

    def said(self, now: float) -> str:
        """All of it, on one line."""
        counted = progress_words(self.progress, now) if self.progress.total or self.progress.done else ""
        seconds = int(now - self.began)
        taken = _("{seconds} s", seconds=seconds) if seconds and not counted else ""
        words = f"{self.words} {counted or taken}".rstrip()
        return ", ".join(part for part in (words, self.ending) if part)


class Waits:
    """The things that a screen waits for, by name; the newest is said."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}

    def begin(self, name: str, words: str, ending: str = "") -> None:
        """Something is waited for from now on."""
        self._waits.pop(name, None)
        self._waits[name] = Wait(words, time.time(), ending=ending)

    def count(self, name: str, done: int, total: int, unit: str, words: str = "") -> None:
        """How far it is."""
        wait = self._waits.get(name)
        if wait is not None:
            progress = wait.progress.after(Phase(name, done, total, words, unit), time.time())
            self._waits[name] = replace(wait, words=one_line(words) or wait.words, progress=progress)

    def end(self, name: str) -> None:
        """It is waited for no more."""
        self._waits.pop(name, None)

    def __bool__(self) -> bool:
        return bool(self._waits)

    def said(self) -> Content:
        """The newest of them."""
        wait = next(reversed(self._waits.values()), None)
        return Content(wait.said(time.time())).stylize("$dim") if wait is not None else Content("")
