"""Question 4: the machine or a card to plan for, a price, a budget, and a message at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.notices import FIELD as NOTIFY
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import fit_screen_column, make_safe_block
from tui_tuner.ui.screens.dialogs import PathDialog
from tui_tuner.ui.screens.guide.guide_question import Question
from tui_tuner.ui.screens.guide.guide_walk import Walk

if TYPE_CHECKING:
    from tui_tuner.guiding.machine import MachineChoice

PRICE = "hardware.price_per_hour"
_NOTHING = ("0", "none", "-")


class MachinesFound(Message):
    """The machines to choose from, and the description of this one."""

    def __init__(self, choices: tuple[MachineChoice, ...], lines: tuple[str, ...]) -> None:
        super().__init__()
        self.choices, self.lines = choices, lines


class MachineQuestion(Question):
    """A line for this machine and for each card; below, its description, price, budget and message."""

    PLACE: ClassVar[int] = 4
    DEFAULT_CSS = """
    MachineQuestion #list { max-height: 7; }
    """
    HELP_TEXT = _(
        "Training on this machine is the usual answer. Choose a card to see the needs and costs of the run "
        "there; you can then save the settings and take them to a rented machine.\n"
        "p sets the price of an hour, in any currency; b sets the most time or money that the run may take: "
        "`2 h`, `30 min`, or `5` for five of that currency. The run stops before it exceeds that, and can be "
        "resumed.\n"
        "m sets how you are notified of its end or failure."
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

    def question_text(self) -> str:
        return _("Where should the model be trained, and what may it cost?")

    def explain_question(self) -> str:
        return _(
            "A GPU trains many times faster than a processor, and its memory decides how large a model may "
            "be. This machine costs nothing to try; a rented one costs by the hour."
        )

    def list_title(self) -> str:
        return _("Machine")

    def on_mount(self) -> None:
        self._find_machines()

    @work(thread=True, group="machines", exclusive=True)
    def _find_machines(self) -> None:
        from tui_tuner.guiding.machine import describe_machine, list_machines

        choices, lines = list_machines(), describe_machine()
        if not get_current_worker().is_cancelled:
            self.post_message(MachinesFound(choices, lines))

    def work_failed(self, group: str, words: str) -> None:
        from tui_tuner.guiding.machine import MachineChoice

        # Without any answer the guide would end here; training on this machine is always possible.
        here = MachineChoice("here", _("This machine"), words, {})
        self.post_message(MachinesFound((here,), (words,)))

    @on(MachinesFound)
    def _show_machines(self, message: MachinesFound) -> None:
        self._choices, self._here = message.choices, message.lines
        self.draw_answers()
        self.continue_waiting()

    def describe_work(self) -> str:
        return "" if self._choices else _("checking this machine")

    def draw_answers(self) -> None:
        if not self._choices:
            return
        lines = [
            (choice.asked, self.answer_line(_(choice.words), choice.means, 30)) for choice in self._choices
        ]
        at = self.walk.answers.machine or "" if not self.answer_list.options else ""
        self.show_answers(lines, at)

    def render_about(self, chosen: str) -> Content:
        if not self._choices:
            return Content("")
        choice = next((one for one in self._choices if one.asked == chosen), None)
        lines: list[Content] = []
        more = self.walk.answers.more
        price, budget = more.get(PRICE), self.walk.answers.budget
        lines.append(_setting_line("p", _("Price of an hour"), str(price) if price else _("none")))
        lines.append(_setting_line("b", _("Most time or money"), str(budget) if budget else _("no limit")))
        lines.append(_setting_line("m", _("Message at the end"), describe_notify_entries(more.get(NOTIFY))))
        if chosen in ("here", "cpu"):
            lines += [make_safe_block(line) for line in self._here]
        elif choice is not None:
            lines.append(make_safe_block(choice.means))
            words = _("Then the run cannot start here: save its settings, and take them to that machine.")
            lines.append(make_safe_block(words).stylize("$dim"))
        return Content("\n").join(lines)

    def accept_answer(self, chosen: str) -> None:
        from tui_tuner.ui.screens.guide.judge_question import JudgeQuestion

        self.walk.set_answers(machine=chosen)
        # The plan and the form show their figures for this card, too.
        self.tuner_app.card = "" if chosen in ("here", "cpu") else chosen
        self.keep_answers()
        self.app.push_screen(JudgeQuestion(self.walk))

    # Money, and the message

    def action_price(self) -> None:
        """Ask for the price of an hour."""
        now = self.walk.answers.more.get(PRICE)

        def take_price(text: str) -> None:
            price = _read_number(text)
            if price is None or price < 0:
                self.tuner_app.show_notice(
                    _("{text} is not a price; write it as 0.45.", text=one_line(text, 30)), "error"
                )
            elif price:
                self.walk.set_fields({PRICE: price})
            else:
                self.walk.forget_fields(PRICE)

        self._ask_for_text(
            _("Price"), _("What does an hour of this machine cost? 0 for nothing."), now, take_price
        )

    def action_budget(self) -> None:
        """Ask for the most time or money that the run may take."""

        def take_budget(text: str) -> None:
            from tui_tuner.guiding.machine import parse_budget

            if text.lower() in _NOTHING:
                self.walk.set_answers(budget=None)
                return
            try:
                parse_budget(text, self.walk.answers.more.get(PRICE))
            except TunerError as error:
                self.tuner_app.show_notice(format_error_words(error), "error", 10)
                return
            self.walk.set_answers(budget=text)

        question = _(
            "How much may the run take? A time such as `2 h` or `30 min`, or money such as `5`. 0: no limit."
        )
        self._ask_for_text(_("Budget"), question, self.walk.answers.budget, take_budget)

    def _ask_for_text(self, title: str, question: str, now: Any, take: Callable[[str], None]) -> None:
        def take_typed(text: str | None) -> None:
            if text:
                take(text)
                self.keep_answers()
                self.show_about()

        self.app.push_screen(PathDialog(title, question, "" if now is None else str(now)), take_typed)

    def action_message(self) -> None:
        """Ask how the user is notified of the end."""
        from tui_tuner.ui.screens.guide.notify_dialog import ask_notify

        def take_message(value: Any) -> None:
            if value is None:
                self.walk.forget_fields(NOTIFY)
            else:
                self.walk.set_fields({NOTIFY: value})
            self.keep_answers()
            self.show_about()

        ask_notify(self, self.walk.answers.more.get(NOTIFY), take_message)


def describe_notify_entries(value: Any) -> str:
    """Return the entries of `output.notify` as a few words."""
    if not value:
        return _("none")
    return one_line(", ".join(map(str, value)) if isinstance(value, list | tuple) else value, 60)


def _setting_line(key: str, what: str, value: str) -> Content:
    return Content.assemble((f"{key}  ", "$accent"), (fit_screen_column(what, 22), "$dim"), value)


def _read_number(text: str) -> float | None:
    import math

    try:
        # Many languages write a decimal comma.
        value = float(text.replace(",", "."))
    except ValueError:
        return 0.0 if text.lower() in _NOTHING else None
    # `float` also reads "inf" and "nan".
    return value if math.isfinite(value) else None
