"""Two lines under the settings: memory, fit and time of the run, updated while the user types."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.text import format_share_percentage, one_line
from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.hosting import get_tuner_app
from tui_tuner.ui.screen_words import make_safe_line, rough

if TYPE_CHECKING:
    from tui_tuner.ui.planlook import PlanPreview

REST = 0.35  # seconds without a change before the plan is computed


class PlanFound(Message):
    """The plan of the draft numbered `turn`, or why there is none."""

    def __init__(self, turn: int, look: PlanPreview | None, error: str) -> None:
        super().__init__()
        self.turn, self.look, self.error = turn, look, error


class PlanShown(Message):
    """The plan that the line shows, for other widgets; None if there is none."""

    def __init__(self, look: PlanPreview | None) -> None:
        super().__init__()
        self.look = look


class PlanLine(Static, WorkerOwner):
    """Shows a summary of the plan; call `ask_plan` after each change."""

    DEFAULT_CSS = """
    PlanLine { height: 2; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__("")
        self._turn = 0
        self._timer: Timer | None = None

    def ask_plan(self, draft: dict[str, Any]) -> None:
        """Plan this draft when no other follows for a moment."""
        self._turn += 1
        if self._timer is not None:
            self._timer.stop()
        turn, kept = self._turn, copy.deepcopy(draft)
        self._timer = self.set_timer(REST, lambda: self._begin_work(turn, kept))

    def clear_plan(self) -> None:
        """Show no numbers, because the draft is invalid."""
        self._turn += 1
        self.update(Content(_("The plan appears when all values are valid.")).stylize("$dim"))
        self.post_message(PlanShown(None))

    def _begin_work(self, turn: int, draft: dict[str, Any]) -> None:
        # The draft may have become invalid while the timer ran.
        if turn == self._turn:
            self._find_plan(turn, draft, get_tuner_app(self.app).card)

    @work(thread=True, group="plan-line", exclusive=True)
    def _find_plan(self, turn: int, draft: dict[str, Any], card: str) -> None:
        from tui_tuner.ui import planlook

        found, error = None, ""
        try:
            # No network: a hub must not be asked at every letter of a model's name.
            found = planlook.plan_draft(draft, card, get_tuner_app(self.app).store.root, network=False)
        except (TunerError, OSError) as problem:
            error = format_error_words(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(PlanFound(turn, found, error))

    def work_failed(self, group: str, words: str) -> None:
        self._show_plan(PlanFound(self._turn, None, words))

    @on(PlanFound)
    def _show_plan(self, message: PlanFound) -> None:
        message.stop()
        if message.turn != self._turn:
            return
        if message.look is None:
            words = Content.assemble((_("No plan:"), "$warning"), " ", make_safe_line(message.error))
        else:
            words = Content("\n").join([summarise_plan(message.look), format_parts_line(message.look)])
        self.update(words)
        self.post_message(PlanShown(message.look))


def summarise_plan(look: PlanPreview) -> Content:
    """Return memory, fit, time and number of notes in one line."""
    need = look.estimate.device
    planned = look.plan
    fits = planned.fit.fits
    verdict = (_("✓ fits"), "$success") if fits else (_("✗ does not fit"), "$error")
    words = _(
        "{gib:.1f} of {usable:.1f} GiB, {card}",
        gib=need,
        usable=look.card.usable,
        card=_("RAM") if look.card.cpu else one_line(look.card.name, 20),
    )
    head = Content.assemble(words, " ", verdict)
    duration = planned.duration
    parts = [head]
    if duration is not None:
        steps = duration.work.steps
        parts.append(Content(_n("{n:,} step", "{n:,} steps", steps, n=steps)))
        if duration.seconds is not None:
            parts.append(Content(_("about {time}", time=rough(duration.seconds))))
    if planned.advice:
        serious = any(advice.serious for advice in planned.advice)
        words = _n("! {n} note", "! {n} notes", len(planned.advice), n=len(planned.advice))
        parts.append(Content(words).stylize("$error" if serious else "$warning"))
    return Content.assemble((_("Plan"), "$dim"), " ", Content("  ·  ").join(parts))


def format_parts_line(look: PlanPreview) -> Content:
    """Return the number of trained weights and the largest part of the memory."""
    found, parameters = look.estimate, look.plan.parameters
    rows = [row for row in found.rows if row.phase == found.phase]
    most = max(rows, key=lambda row: row.gib, default=None)
    trained = _(
        "trains {count} weights ({share})",
        count=format_weight_count(parameters.trained),
        share=format_share_percentage(parameters.trained_share),
    )
    parts = [trained]
    if most is not None:
        parts.append(_("most memory: {part} {gib:.1f} GiB", part=_(most.name), gib=most.gib))
    return Content("     " + "  ·  ".join(parts)).stylize("$dim")


def format_weight_count(count: int) -> str:
    """Format a number of weights: 122,880, 10.1 M, 8.03 B."""
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:,}"
