"""Print phases as lines of text: one when a phase begins, then one now and then while it continues."""

from __future__ import annotations

from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Phase
from tui_tuner.runs.phases.progress import (
    PhaseProgress,
    format_counted_progress,
    format_phase_progress,
    identify_phase_stretch,
)
from tui_tuner.text import one_line

LINE_SECONDS = 5.0  # shortest time between two lines of a phase
OF_STEPS = ("training", "paused")  # phases whose count is that of the run's steps
# Names in the journal, translated when they are shown
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


class PhasePrinter:
    """Makes the lines about phases. The longer a phase has taken, the later its next line comes.

    Args:
        least: Shortest time between two lines in seconds; a long past needs few lines.
    """

    def __init__(self, least: float = LINE_SECONDS) -> None:
        self.least = least
        self._progress = PhaseProgress()
        self._next = 0.0

    def print_event(self, body: Phase, time: float) -> str:
        """Return the line for an event of a phase; empty if it needs none."""
        before, self._progress = self._progress, self._progress.take_event(body, time)
        if identify_phase_stretch(before) != identify_phase_stretch(self._progress):
            return self._make_line(time, format_counted_progress(self._progress) if body.done else "")
        return self.print_due(time)

    def print_due(self, time: float) -> str:
        """Return the line for a phase that continues, even without a count: moving seconds show that it is
        alive.
        """
        if not self._progress.name or self._progress.name in OF_STEPS or time < self._next:
            return ""
        return self._make_line(time, format_phase_progress(self._progress, time))

    def end_phases(self) -> None:
        """Note that the run has ended, so that no phase continues."""
        self._progress = PhaseProgress()

    def _make_line(self, time: float, said: str) -> str:
        # A tenth of the time so far: an hour of one phase gives tens of lines, not hundreds.
        self._next = time + max(self.least, self._progress.seconds_since(time) / 10)
        parts = (_(one_line(self._progress.name)), one_line(self._progress.note, 100), said)
        return ": ".join(part for part in parts if part)
