"""Question 4: machine and money: this machine or a card to plan for, a price, a budget, a message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.config.notices import FIELD as NOTIFY
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.dialogs import AskPath
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.screens.guide.walk import Walk
from tui_tuner.ui.words import block, column

if TYPE_CHECKING:
    from tui_tuner.guiding.machine import MachineChoice

PRICE = "hardware.price_per_hour"
_NOTHING = ("0", "none", "-")


class Known(Message):
    """What machines there are to choose from."""

    def __init__(self, choices: tuple[MachineChoice, ...], lines: tuple[str, ...]) -> None:
        super().__init__()
        self.choices, self.lines = choices, lines


class MachineQuestion(Question):
    """A line for this machine and for each card; below, what it has, and price, budget and message."""

    PLACE: ClassVar[int] = 4
    DEFAULT_CSS = """
    MachineQuestion #list { max-height: 7; }
    """
    HELP_TEXT = _(
        "Training here is the usual answer. A card is chosen to see what the run would need and cost there: "
        "the settings can be saved then and taken to a rented machine.\n"
        "p says what an hour of the machine costs, in any currency; b the most time or money that the run "
        "may take: `2 h`, `30 min`, or `5` for five of that currency. The run stops, resumably, before it "
        "costs more.\n"
        "m says how you hear of its end, or of a failure, while nobody watches."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "price", _("Price")),
        Binding("b", "budget", _("Budget")),
        Binding("m", "message", _("Message")),
    ]

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._choices: tuple[MachineChoice, ...] = ()
        self._here: tuple[str, ...] = ()

    def asked(self) -> str:
        return _("Where should it be trained, and what may it cost?")

    def meaning(self) -> str:
        return _(
            "A GPU trains many times faster than a processor, and its memory decides how large a model may "
            "be. This machine costs nothing to try; a rented one costs by the hour."
        )

    def listed(self) -> str:
        return _("Machine")

    def on_mount(self) -> None:
        self._look()

    @work(thread=True, group="machines", exclusive=True)
    def _look(self) -> None:
        from tui_tuner.guiding.machine import machine_choices, machine_lines

        choices, lines = machine_choices(), machine_lines()
        if not get_current_worker().is_cancelled:
            self.post_message(Known(choices, lines))

    def work_failed(self, group: str, words: str) -> None:
        from tui_tuner.guiding.machine import MachineChoice

        here = MachineChoice("here", _("This machine"), words, {})
        self.post_message(Known((here,), (words,)))

    @on(Known)
    def _known(self, message: Known) -> None:
        self._choices, self._here = message.choices, message.lines
        self.draw_answers()
        self.found_out()

    def busy(self) -> str:
        return "" if self._choices else _("looking at this machine")

    def draw_answers(self) -> None:
        if not self._choices:
            return
        lines = [(choice.asked, self.line(_(choice.words), choice.means, 30)) for choice in self._choices]
        at = self.walk.answers.machine or "" if not self.answers.options else ""
        self.show_answers(lines, at)

    def about(self, chosen: str) -> Content:
        if not self._choices:
            return Content("")
        choice = next((one for one in self._choices if one.asked == chosen), None)
        lines: list[Content] = []
        more = self.walk.answers.more
        price, budget = more.get(PRICE), self.walk.answers.budget
        lines.append(_set("p", _("Price of an hour"), str(price) if price else _("none")))
        lines.append(_set("b", _("Most time or money"), str(budget) if budget else _("no limit")))
        lines.append(_set("m", _("Message at the end"), notify_words(more.get(NOTIFY))))
        if chosen in ("here", "cpu"):
            lines += [block(line) for line in self._here]
        elif choice is not None:
            lines.append(block(choice.means))
            words = _("The run cannot be started here then: its settings are saved, and taken there.")
            lines.append(block(words).stylize("$dim"))
        return Content("\n").join(lines)

    def choose(self, chosen: str) -> None:
        from tui_tuner.ui.screens.guide.judge import JudgeQuestion

        self.walk.answer(machine=chosen)
        self.tuner.card = "" if chosen in ("here", "cpu") else chosen
        self.keep()
        self.app.push_screen(JudgeQuestion(self.walk))

    # Money, and the message

    def action_price(self) -> None:
        """What an hour costs."""
        now = self.walk.answers.more.get(PRICE)

        def take(text: str) -> None:
            price = _number(text)
            if price is None or price < 0:
                self.tuner.say(_("{text} is no price: write it as 0.45.", text=one_line(text, 30)), "error")
            elif price:
                self.walk.put({PRICE: price})
            else:
                self.walk.forget(PRICE)

        self._ask(_("Price"), _("What does an hour of it cost? 0 for nothing."), now, take)

    def action_budget(self) -> None:
        """The most time or money."""

        def take(text: str) -> None:
            from tui_tuner.guiding.machine import read_budget

            if text.lower() in _NOTHING:
                self.walk.answer(budget=None)
                return
            try:
                read_budget(text, self.walk.answers.more.get(PRICE))
            except TunerError as error:
                self.tuner.say(words_of(error), "error", 10)
                return
            self.walk.answer(budget=text)

        question = _(
            "How much may it take? A time such as `2 h` or `30 min`, or money such as `5`. 0: no limit."
        )
        self._ask(_("Budget"), question, self.walk.answers.budget, take)

    def _ask(self, title: str, question: str, now: Any, take: Callable[[str], None]) -> None:
        def answered(text: str | None) -> None:
            if text:
                take(text)
                self.keep()
                self.show_about()

        self.app.push_screen(AskPath(title, question, "" if now is None else str(now)), answered)

    def action_message(self) -> None:
        """How one hears of the end."""
        from tui_tuner.ui.screens.guide.notify import ask_notify

        def taken(value: Any) -> None:
            if value is None:
                self.walk.forget(NOTIFY)
            else:
                self.walk.put({NOTIFY: value})
            self.keep()
            self.show_about()

        ask_notify(self, self.walk.answers.more.get(NOTIFY), taken)


def notify_words(value: Any) -> str:
    """How one hears of the end, in a few words."""
    if not value:
        return _("none")
    return one_line(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, 60)


def _set(key: str, what: str, value: str) -> Content:
    return Content.assemble((f"{key}  ", "$accent"), (column(what, 22), "$dim"), value)


def _number(text: str) -> float | None:
    import math

    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return 0.0 if text.lower() in _NOTHING else None
    return value if math.isfinite(value) else None
