"""A dialog to choose a GPU: the known ones, with the memory that the run needs on each."""

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

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.planning.fit import Candidate
from tui_tuner.planning.gpus import Card, parse_gpu_cards
from tui_tuner.text import one_line
from tui_tuner.ui import planlook
from tui_tuner.ui.screen_words import fit_screen_column, make_safe_line, rough

HERE = "here"


class CardEstimated(Message):
    """The estimate for one card, and the run's duration there in seconds (None if it cannot be estimated)."""

    def __init__(self, found: Candidate, seconds: float | None) -> None:
        super().__init__()
        self.found, self.seconds = found, seconds


class CardDialog(ModalScreen[str | None]):
    """Gives a card's name, a typed size, or the empty string for this machine; None if nothing was chosen."""

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
        self._cards = len(planlook.list_known_cards())
        self._done = 0  # cards that have been estimated
        self._failed = False
        self._began = time.monotonic()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("Card"))
            yield Static(Content(_("Which GPU is the run planned for?")))
            first = Option(Content(_("this machine's own")), HERE)
            yield OptionList(
                first, *(Option(_line_of_card(card), card.name) for card in planlook.list_known_cards())
            )
            yield Static(classes="count")
            yield Input(
                placeholder=_("or an amount of memory: 24GiB, or several cards: 2xH100"), compact=True
            )

    def on_mount(self) -> None:
        box = self.query_one(OptionList)
        box.highlighted = box.get_option_index(self._now) if self._is_known(self._now) else 0
        self.set_focus(box)
        # The first estimate reads the model's shapes, maybe from a hub: seconds that count up show that it is
        # alive.
        self.set_interval(1.0, self._count_estimates)
        self._estimate_cards()

    def _count_estimates(self) -> None:
        """Show the progress: seconds until the first estimate, then the number of cards."""
        line = self.query_one(".count", Static)
        seconds = int(time.monotonic() - self._began)
        if self._done >= self._cards or self._failed:
            line.display = False
            return
        words = _("reading the model and the rows: {seconds} s", seconds=seconds)
        if self._done:
            words = _("{done} of {total} cards", done=self._done, total=self._cards)
        line.update(Content(words).stylize("$dim"))

    def _is_known(self, name: str) -> bool:
        return any(card.name == name for card in planlook.list_known_cards())

    @work(thread=True, group="cards", exclusive=True)
    def _estimate_cards(self) -> None:
        worker = get_current_worker()

        def post_estimate(found: Candidate, seconds: float | None) -> None:
            self.post_message(CardEstimated(found, seconds))

        try:
            planlook.report_card_fits(self._draft, post_estimate, lambda: worker.is_cancelled)
        except (TunerError, OSError) as problem:
            # In a thread: widgets may only be touched by the app's own, hence `call_later`.
            self._failed = True
            self.app.call_later(
                self.query_one(Static).update, make_safe_line(format_error_words(problem), 120)
            )

    @on(CardEstimated)
    def _show_estimate(self, message: CardEstimated) -> None:
        name = message.found.card.name
        self._done += 1
        self._count_estimates()
        self.query_one(OptionList).replace_option_prompt(
            name, _line_of_estimate(message.found, message.seconds)
        )

    @on(OptionList.OptionSelected)
    def _dismiss_with_card(self, event: OptionList.OptionSelected) -> None:
        self.dismiss("" if event.option.id == HERE else event.option.id)

    @on(Input.Submitted)
    def _dismiss_with_size(self, event: Input.Submitted) -> None:
        try:
            parse_gpu_cards(event.value, RunConfig())
        except TunerError as problem:
            self.query_one(Static).update(make_safe_line(problem.what, 120).stylize("$error"))
            return
        self.dismiss(one_line(event.value.strip()))

    def action_dismiss_none(self) -> None:
        self.dismiss(None)


def _line_of_card(card: Card) -> Content:
    """Return the line of a card that has no estimate yet: name and memory."""
    return Content.assemble(f"{fit_screen_column(card.name, 18)}{card.usable:6.1f} GiB  ", ("…", "$dim"))


def _line_of_estimate(found: Candidate, seconds: float | None) -> Content:
    """Return the line of a card with the memory that the run needs there, and its duration."""
    head = f"{fit_screen_column(found.card.name, 18)}{found.card.usable:6.1f} GiB  "
    mark = ("✓", "$success") if found.fits else ("✗", "$error")
    wants = _("needs {gib:.1f}", gib=found.estimate.safe_limit)
    # The duration of a run that does not fit would only mislead.
    time = "" if seconds is None or not found.fits else f"  ~{rough(seconds)}"
    return Content.assemble(head, mark, (f" {wants}{time}", "$dim"))
