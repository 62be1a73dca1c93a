"""Question 3: the model. Ranks models for the task, the rows and the machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import format_bytes, format_count, format_money, one_line
from tui_tuner.ui.screen_words import fit_screen_column, format_duration_range, make_safe_block, rough
from tui_tuner.ui.screens.guide.guide_question import Question
from tui_tuner.ui.screens.guide.guide_walk import Walk
from tui_tuner.ui.screens.guide.machine_question import PRICE, MachineQuestion

if TYPE_CHECKING:
    from tui_tuner.guiding.models import Choice

_PATIENCE = 4.0  # seconds that Enter waits for models other than those of this machine
_MOST = 40


class ModelsRanked(Message):
    """The models so far, best first; `done` if no more will come."""

    def __init__(self, choices: list[Choice], done: bool, problem: str = "") -> None:
        super().__init__()
        self.choices, self.done, self.problem = choices, done, problem

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, ModelsRanked) and not message.done


class ModelQuestion(Question):
    """A line for each model: whether it fits, its size, its terms, and the time for these rows."""

    PLACE: ClassVar[int] = 3
    DEFAULT_CSS = """
    ModelQuestion #list { max-height: 9; }
    """
    HELP_TEXT = _(
        "A pretrained model learns your examples in addition. Larger models know more and answer better, but "
        "need more memory and time.\n"
        "The first line fits best: it suits the task and the language of your rows, has a free licence, and "
        "trains in reasonable time on this machine. ✓ fits, ✗ does not; the reason is shown below.\n"
        "m searches for more models, on this machine and on a hub, by name."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "more", _("More models")),
    ]

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self._choices: list[Choice] = []
        self._done, self._problem = False, ""
        self._began = time.monotonic()
        self._for: tuple[object, ...] = ()  # the answers that the ranking is for

    def question_text(self) -> str:
        return _("Which model should learn it?")

    def explain_question(self) -> str:
        return _(
            "Training starts from a pretrained model, which learns your examples in addition. Larger ones "
            "answer better, but take more memory and time. The first line fits best here."
        )

    def list_title(self) -> str:
        return _("Models")

    def on_mount(self) -> None:
        self._rank_again()

    def on_screen_resume(self) -> None:
        # The user may come back from the next question with another machine or budget.
        if self._for and self._for != self._asked_for():
            self._rank_again()

    def _asked_for(self) -> tuple[object, ...]:
        answers = self.walk.answers
        return (answers.machine or "here", answers.budget, answers.more.get(PRICE), answers.data)

    def _rank_again(self) -> None:
        self._for = self._asked_for()
        self._done, self._began = False, time.monotonic()
        self._rank_models()

    # The ranking

    @work(thread=True, group="rank", exclusive=True)
    def _rank_models(self) -> None:
        from tui_tuner.guiding.models import watch_models

        worker, answers = get_current_worker(), self.walk.answers
        found: list[Choice] = []
        problem = ""
        try:
            # The ranking grows: models of this machine first, then those of hubs, as they answer.
            for found in watch_models(
                self.walk.task_name,
                data=self.walk.data_facts(),
                languages=self.walk.find_languages(),
                machine=answers.machine or "here",
                budget=answers.budget,
                price=answers.more.get(PRICE),
                root=self.tuner_app.store.root,
                stop=lambda: worker.is_cancelled,
                network=True,
            ):
                if worker.is_cancelled:
                    return
                self.post_message(ModelsRanked(found, False))
        except (TunerError, OSError) as error:
            problem = format_error_words(error)
        if not worker.is_cancelled:
            self.post_message(ModelsRanked(found, True, problem))

    def work_failed(self, group: str, words: str) -> None:
        if group == "rank":
            self.post_message(ModelsRanked(self._choices, True, words))

    @on(ModelsRanked)
    def _show_ranking(self, message: ModelsRanked) -> None:
        self._choices, self._done, self._problem = message.choices, message.done, message.problem
        self.draw_answers()
        self.continue_waiting()

    def describe_work(self) -> str:
        seconds = time.monotonic() - self._began
        if self._done or (self._choices and (self.moved or seconds > _PATIENCE)):
            return ""
        # The user's own choice does not depend on the ranking, so Enter need not wait for it.
        if "model" in self.walk.chosen and self.chosen_id == self.walk.answers.model:
            return ""
        return _("planning models: {count} so far", count=len(self._choices))

    # The lines

    def draw_answers(self) -> None:
        width = self.answer_width
        shown = self._choices[:_MOST]
        lines = [(choice.name, _choice_line(choice, width)) for choice in shown]
        chosen = self.walk.answers.model if "model" in self.walk.chosen else ""
        if chosen and chosen not in [id for id, _line in lines]:
            # A model that was chosen by name may not be in the ranking, but must stay in the list.
            lines.insert(
                0, (chosen, Content.assemble((one_line(chosen, width - 12), "bold"), "  ", _("chosen")))
            )
        if not lines and self._done:
            lines = [("", Content(_("No model was found. Press m to search for one by name.")))]
        at = ""
        # While models arrive, the cursor follows the best one, until the user moves it.
        if not self.moved:
            at = chosen or (lines[0][0] if lines else "")
        self.show_answers(lines, at)

    def render_about(self, chosen: str) -> Content:
        choice = next((one for one in self._choices if one.name == chosen), None)
        if choice is None:
            return make_safe_block(self._problem).stylize("$error") if self._problem else Content("")
        lines = [make_safe_block(choice.why)]
        lines += _fact_lines(choice)
        if self._problem:
            lines.append(make_safe_block(self._problem).stylize("$warning"))
        return Content("\n").join(lines)

    def accept_answer(self, chosen: str) -> None:
        choice = next((one for one in self._choices if one.name == chosen), None)
        if not chosen:
            self.action_more()
            return
        hub = choice.values.get("model.hub") if choice is not None else None
        self._take_model(chosen, {"model.hub": hub} if hub else {})

    def _take_model(self, name: str, values: Mapping[str, Any]) -> None:
        # A model of another hub would keep the hub of the one that was chosen before.
        self.walk.forget_fields("model.hub", "model.name")
        self.walk.set_answers(model=name)
        self.walk.set_fields(values)
        self.keep_answers()
        self.app.push_screen(MachineQuestion(self.walk))

    def action_more(self) -> None:
        """Choose from all models of this machine and of a hub."""
        from tui_tuner.ui.screens.models.open_models import ask_for_base_model

        def take_model_values(values: Mapping[str, Any]) -> None:
            rest = {path: value for path, value in values.items() if path != "model.name"}
            if values.get("model.name"):
                self._take_model(str(values["model.name"]), rest)

        ask_for_base_model(self, take_model_values)


def _choice_line(choice: Choice, width: int) -> Content:
    """Return the line of a model: whether it fits, name, size, time, download, and licence."""
    marks = {True: ("✓ ", "$success"), False: ("✗ ", "$error")}
    mark = marks[choice.fits_machine] if choice.state != "unknown" else ("? ", "$warning")
    size = format_count(choice.parameters) if choice.parameters else ""
    seconds = f"~{rough(choice.seconds[1])}" if choice.seconds else ""
    where = _("here") if choice.here else f"⇣ {format_bytes(choice.fetch)}" if choice.fetch else "⇣"
    right = f"{size:>7} {seconds:>9}  {fit_screen_column(where, 11)} {fit_screen_column(choice.licence, 11)}"
    name = fit_screen_column(choice.short_name, max(10, width - 2 - len(right) - 1))
    return Content.assemble(mark, (name, "bold"), " ", (right, "$dim"))


def _fact_lines(choice: Choice) -> list[Content]:
    """Return the details of a model: memory, time, price, licence, languages, download."""
    parts = []
    if choice.needs:
        parts.append(_("memory {needs:.1f} of {there:.1f} GiB", needs=choice.needs, there=choice.there))
    if choice.seconds:
        low, likely, high = choice.seconds
        parts.append(
            _("time ~{likely} ({span})", likely=rough(likely), span=format_duration_range(low, high))
        )
    if choice.cost:
        parts.append(_("price ~{cost}", cost=format_money(choice.cost[1])))
    lines = [" · ".join(parts)]
    terms = choice.licence or _("unknown")
    words = [_("licence: {terms}", terms=one_line(terms, 40))]
    if choice.languages:
        words.append(_("languages: {codes}", codes=one_line(", ".join(choice.languages[:12]), 60)))
    if choice.gated:
        words.append(_("gated: log in and accept its terms first"))
    if not choice.here:
        size = format_bytes(choice.fetch) if choice.fetch else _("an unknown size")
        words.append(_("download: {size}", size=size))
    lines.append(" · ".join(words))
    return [make_safe_block(line).stylize("$dim") for line in lines if line]
