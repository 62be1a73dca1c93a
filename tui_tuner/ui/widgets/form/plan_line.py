"""Two lines under the settings: memory, fit and time of the run they describe, worked out as one types."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.guard.sturdy import Works
from tui_tuner.ui.hosting import tuner_of
from tui_tuner.ui.words import rough, safe, share_words

if TYPE_CHECKING:
    from tui_tuner.ui.planlook import Look

REST = 0.35  # seconds without a change before it is worked out


class Planned(Message):
    """A plan for the draft numbered `turn`, or why there is none."""

    def __init__(self, turn: int, look: Look | None, error: str) -> None:
        super().__init__()
        self.turn, self.look, self.error = turn, look, error


class Looked(Message):
    """What the line shows, for who shows more of it; None where there are no numbers."""

    def __init__(self, look: Look | None) -> None:
        super().__init__()
        self.look = look


class PlanLine(Static, Works):
    """`ask` it after each change."""

    DEFAULT_CSS = """
    PlanLine { height: 2; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        super().__init__("")
        self._turn = 0
        self._timer: Timer | None = None

    def ask(self, draft: dict[str, Any]) -> None:
        """Work it out for this draft, once no other comes for a moment."""
        self._turn += 1
        if self._timer is not None:
            self._timer.stop()
        turn, kept = self._turn, copy.deepcopy(draft)
        self._timer = self.set_timer(REST, lambda: self._begin(turn, kept))

    def clear(self) -> None:
        """The draft is wrong: no numbers."""
        self._turn += 1
        self.update(Content(_("The numbers follow once every value is right.")).stylize("$dim"))
        self.post_message(Looked(None))

    def _begin(self, turn: int, draft: dict[str, Any]) -> None:
        if turn == self._turn:
            self._work(turn, draft, tuner_of(self.app).card)

    @work(thread=True, group="plan-line", exclusive=True)
    def _work(self, turn: int, draft: dict[str, Any], card: str) -> None:
        from tui_tuner.ui import planlook

        found, error = None, ""
        try:
            found = planlook.look(draft, card, tuner_of(self.app).store.root, network=False)
        except (TunerError, OSError) as problem:
            error = words_of(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(Planned(turn, found, error))

    def work_failed(self, group: str, words: str) -> None:
        self._planned(Planned(self._turn, None, words))

    @on(Planned)
    def _planned(self, message: Planned) -> None:
        message.stop()
        if message.turn != self._turn:
            return
        if message.look is None:
            words = Content.assemble((_("No plan:"), "$warning"), " ", safe(message.error))
        else:
            words = Content("\n").join([summary(message.look), parts_line(message.look)])
        self.update(words)
        self.post_message(Looked(message.look))


def summary(look: Look) -> Content:
    """Memory against the card, time, and how many remarks there are, on one line."""
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


def parts_line(look: Look) -> Content:
    """How much is trained, and what takes most of the memory; the rest is on the plan screen."""
    found, parameters = look.estimate, look.plan.parameters
    rows = [row for row in found.rows if row.phase == found.phase]
    most = max(rows, key=lambda row: row.gib, default=None)
    trained = _(
        "trains {count} weights ({share})",
        count=short_count(parameters.trained),
        share=share_words(parameters.share),
    )
    parts = [trained]
    if most is not None:
        parts.append(_("most memory: {part} {gib:.1f} GiB", part=_(most.name), gib=most.gib))
    return Content("     " + "  ·  ".join(parts)).stylize("$dim")


def short_count(count: int) -> str:
    """A number of weights as one says it: 122,880, 10.1 M, 8.03 B."""
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:,}"
