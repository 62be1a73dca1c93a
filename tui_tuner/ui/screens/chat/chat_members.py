"""The models of a chat: find them by name, load them, add one, remove one."""

from __future__ import annotations

from typing import Any

from textual import on, work
from textual.content import Content
from textual.message import Message

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.inference.held_out_prompts import read_held_out_prompts
from tui_tuner.inference.origin import Origin, check_models_write, find_origin
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.screens.chat.chat_answers import AnsweringScreen
from tui_tuner.ui.screens.chat.helper_screen import OPEN
from tui_tuner.ui.screens.chat.model_choice import ask_for_model, list_chat_choices
from tui_tuner.ui.widgets.chat.chat_column import Column
from tui_tuner.ui.widgets.chat.prompt_input import PromptInput

_WIDE = 100  # cells of a screen that has room for three readable columns


class ModelsFound(Message):
    """The models that were found by name, or the error of the first unknown one."""

    def __init__(self, models: list[Origin], error: str, prompts: list[str]) -> None:
        super().__init__()
        self.models, self.error, self.prompts = models, error, prompts


class ModelsOffered(Message):
    """The models that can be added to the chat."""

    def __init__(self, offered: list[tuple[str, str | Origin]]) -> None:
        super().__init__()
        self.offered = offered


class MembersScreen(AnsweringScreen):
    """A chat with a column for each of its models."""

    plain = False  # answers as they were written, not as Markdown

    @work(thread=True, group="find")
    def find_models(self, names: list[str | Origin], beside: bool) -> None:
        """Find models by name, and the held-out prompts of the first one's run."""
        found: list[Origin] = []
        error = ""
        try:
            for name in names:
                found.append(name if isinstance(name, Origin) else find_origin(name, self.tuner_app.store))
            check_models_write(found)
        except TunerError as problem:
            error = format_error_words(problem)
        # Only of the model that the chat began with: the prompts of a second run would be other data.
        prompts = read_held_out_prompts(found[0]) if found and not beside else []
        self.post_message(ModelsFound(found, error, prompts))

    @on(ModelsFound)
    async def _add_found(self, message: ModelsFound) -> None:
        if message.error:
            self.show_status(message.error, "$error")
            return
        self.query_one(PromptInput).before += message.prompts
        for model in message.models:
            # A chat that is continued brings its models along, and they are named again.
            if model not in [column.model for column in self.answer_columns]:
                if model not in self.talk.models:
                    self.talk.models.append(model)
                await self._add_column(model)
        # A chat that is only read again needs no model in memory: the next prompt loads it.
        if self.talk.current_turns and self.talk.find_unanswered() is None:
            self.show_idle()
        else:
            self._load_models()

    async def _add_column(self, model: Origin) -> None:
        column = Column(model, self.plain, self._hint_content())
        await self.query_one("#columns").mount(column)
        await column.show_turns(self.talk.current_turns)

    def _hint_content(self) -> Content:
        words = _(
            "Type below and press {enter}; {up} recalls a held-out prompt. {f7} adds the base model for "
            "comparison, {help} lists every key.",
            up=mark_placeholder_value("↑"),
            enter=mark_placeholder_value("Enter"),
            f7=mark_placeholder_value("F7"),
            help=mark_placeholder_value("F1"),
        )
        return render_marked_sentence(words, "$dim")

    def _load_models(self) -> None:
        if not self.current_operation and self.talk.models:
            self.ask_helper(OPEN, self.talk.models, self._show_loaded)

    def _show_loaded(self, facts: list[dict[str, Any]]) -> None:
        # Not strict: a column may have been added while the models were loading.
        for column, told in zip(self.answer_columns, facts, strict=False):
            column.take_facts(told)
        self.show_idle()
        self.answer_missing()

    def action_beside(self) -> None:
        """Add another model to the chat."""
        most = 3 if self.size.width >= _WIDE else 2
        if len(self.answer_columns) >= most:
            words = _("No more than {most} columns fit here. Press x to remove one.", most=most)
            self.show_status(words, "$warning")
            return
        self._list_choices()

    @work(thread=True, group="offer", exclusive=True)
    def _list_choices(self) -> None:
        self.post_message(ModelsOffered(list_chat_choices(list(self.talk.models), self.tuner_app.store)))

    @on(ModelsOffered)
    def _ask_for_choice(self, message: ModelsOffered) -> None:
        question = (
            _("Which model do you want to add? It answers all prompts, from the first one on.")
            if self.talk.models
            else _("Which model do you want to chat with?")
        )
        ask_for_model(self, message.offered, question, self._add_model)

    def _add_model(self, name: str | Origin) -> None:
        self.find_models([name], True)

    async def action_drop(self) -> None:
        """Remove a model; its answers are kept, in case it is added again."""
        column = self.active_column
        if column is None or len(self.answer_columns) < 2 or self.current_operation:
            return
        self.talk.models.remove(column.model)
        await column.remove()
        self.set_focus(self.answer_columns[0])
        self._load_models()
