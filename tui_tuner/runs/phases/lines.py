"""Phases as lines of text: one where a phase begins, and then one now and again while it goes on."""

from __future__ import annotations

from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Phase
from tui_tuner.runs.phases.progress import Progress, counted_words, progress_words, stretch_of
from tui_tuner.text import one_line

LINE_SECONDS = 5.0  # at least, from one line of a phase to the next
OF_STEPS = ("training", "paused")  # phases whose count is that of the run's steps
# Names in the journal, which are translated where they are shown
NAMES = (
    N_("fetching"),
    N_("loading"),
    N_("tokenizing"),
    N_("training"),
    N_("evaluating"),
    N_("sampling"),
    N_("saving"),
    N_("paused"),
)
SOURCES = (N_("model"), N_("tokenizer"))
STAGES = (N_("before"), N_("during"), N_("after"), N_("validation"))


class PhaseLines:
    """What is said of phases. The longer one has taken, the later comes the next line of it.

    Args:
        least: Seconds from one line to the next, at least; a long past is told in few lines.
    """

    def __init__(self, least: float = LINE_SECONDS) -> None:
        self.least = least
        self._progress = Progress()
        self._next = 0.0

    def begun(self, body: Phase, time: float) -> str:
        """The line that an event of a phase leaves; empty where it leaves none."""
        before, self._progress = self._progress, self._progress.after(body, time)
        if stretch_of(before) != stretch_of(self._progress):
            return self._line(time, counted_words(self._progress) if body.done else "")
        return self.going_on(time)

    def going_on(self, time: float) -> str:
        """The line for a phase that goes on: also one that counts nothing is alive while its seconds move."""
        if not self._progress.name or self._progress.name in OF_STEPS or time < self._next:
            return ""
        return self._line(time, progress_words(self._progress, time))

    def end(self) -> None:
        """The run has ended: nothing goes on."""
        self._progress = Progress()

    def _line(self, time: float, said: str) -> str:
        self._next = time + max(self.least, self._progress.seconds(time) / 10)
        parts = (_(one_line(self._progress.name)), one_line(self._progress.note, 100), said)
        return ": ".join(part for part in parts if part)
