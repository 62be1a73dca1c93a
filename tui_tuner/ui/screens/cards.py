"""Which card? The known GPUs with what the run wants on each, and whether it fits."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.planning.fit import Candidate
from tui_tuner.planning.gpus import Card, counted_card
from tui_tuner.text import one_line
from tui_tuner.ui import planlook
from tui_tuner.ui.words import column, rough, safe

HERE = "here"


class Judged(Message):
    """How the run would go on a card, and for how many seconds (None where nobody knows)."""

    def __init__(self, found: Candidate, seconds: float | None) -> None:
        super().__init__()
        self.found, self.seconds = found, seconds


class CardDialog(ModalScreen[str | None]):
    """A card by name, a size typed in, or the empty string for this machine; None if nothing was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_none", _("Cancel")),
        Binding("tab", "app.focus_next", _("Next part"), show=False),
    ]
    DEFAULT_CSS = """
    CardDialog OptionList { max-height: 14; text-wrap: nowrap; text-overflow: ellipsis; }
    CardDialog Input { margin-top: 1; }
    """

    def __init__(self, draft: dict[str, Any], now: str) -> None:
        super().__init__()
        self._draft, self._now = draft, now
        self._cards = len(planlook.known_cards())
        self._done = 0  # cards that are judged
        self._failed = False
        self._began = time.monotonic()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("Card"))
            yield Static(Content(_("Which GPU is the run planned for?")))
            first = Option(Content(_("this machine's own")), HERE)
            yield OptionList(first, *(Option(_line(card), card.name) for card in planlook.known_cards()))
            yield Static(classes="count")
            yield Input(placeholder=_("or so much memory: 24GiB, or several: 2xH100"), compact=True)

    def on_mount(self) -> None:
        box = self.query_one(OptionList)
        box.highlighted = box.get_option_index(self._now) if self._known(self._now) else 0
        self.set_focus(box)
        self.set_interval(1.0, self._count)
        self._judge()

    def _count(self) -> None:
        """How many cards are judged; before the first one, the model is looked at."""
        line = self.query_one(".count", Static)
        seconds = int(time.monotonic() - self._began)
        if self._done >= self._cards or self._failed:
            line.display = False
            return
        words = _("looking at the model and its rows: {seconds} s", seconds=seconds)
        if self._done:
            words = _("{done} of {total} cards", done=self._done, total=self._cards)
        line.update(Content(words).stylize("$dim"))

    def _known(self, name: str) -> bool:
        return any(card.name == name for card in planlook.known_cards())

    @work(thread=True, group="cards", exclusive=True)
    def _judge(self) -> None:
        worker = get_current_worker()

        def said(found: Candidate, seconds: float | None) -> None:
            self.post_message(Judged(found, seconds))

        try:
            planlook.cards(self._draft, said, lambda: worker.is_cancelled)
        except (TunerError, OSError) as problem:
            self._failed = True
            self.app.call_later(self.query_one(Static).update, safe(words_of(problem), 120))

    @on(Judged)
    def _judged(self, message: Judged) -> None:
        name = message.found.card.name
        self._done += 1
        self._count()
        self.query_one(OptionList).replace_option_prompt(name, _judged(message.found, message.seconds))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss("" if event.option.id == HERE else event.option.id)

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        try:
            counted_card(event.value, RunConfig())
        except TunerError as problem:
            self.query_one(Static).update(safe(problem.what, 120).stylize("$error"))
            return
        self.dismiss(one_line(event.value.strip()))

    def action_dismiss_none(self) -> None:
        self.dismiss(None)


def _line(card: Card) -> Content:
    """Name and memory of a card, before it is judged."""
    return Content.assemble(f"{column(card.name, 18)}{card.usable:6.1f} GiB  ", ("…", "$dim"))


def _judged(found: Candidate, seconds: float | None) -> Content:
    """The same with what the run wants there, and its time."""
    head = f"{column(found.card.name, 18)}{found.card.usable:6.1f} GiB  "
    mark = ("✓", "$success") if found.fits else ("✗", "$error")
    wants = _("wants {gib:.1f}", gib=found.estimate.upper)
    time = "" if seconds is None or not found.fits else f"  ~{rough(seconds)}"
    return Content.assemble(head, mark, (f" {wants}{time}", "$dim"))
