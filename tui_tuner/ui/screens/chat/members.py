"""Which models take part in a chat: found by their names, loaded, taken beside, dropped."""

from __future__ import annotations

from typing import Any

from textual import on, work
from textual.content import Content
from textual.message import Message

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.inference.heldout import held_out_prompts
from tui_tuner.inference.origin import Origin, check_writes, find_origin
from tui_tuner.locales import _
from tui_tuner.ui.screens.chat.answering import Answering
from tui_tuner.ui.screens.chat.asking import OPEN
from tui_tuner.ui.screens.chat.beside import ask_for_model, choices
from tui_tuner.ui.widgets.chat.column import Column
from tui_tuner.ui.widgets.chat.prompt import PromptInput
from tui_tuner.ui.words import mark, marked

_WIDE = 100  # cells of a screen from which on three columns can be read


class Found(Message):
    """The models of these names, or why one is none."""

    def __init__(self, models: list[Origin], error: str, prompts: list[str]) -> None:
        super().__init__()
        self.models, self.error, self.prompts = models, error, prompts


class Offered(Message):
    """What can answer beside those that are there."""

    def __init__(self, offered: list[tuple[str, str | Origin]]) -> None:
        super().__init__()
        self.offered = offered


class Members(Answering):
    """A column for each model that takes part."""

    plain = False  # answers as they were written, not as Markdown

    @work(thread=True, group="find")
    def find(self, names: list[str | Origin], beside: bool) -> None:
        """The models of these names, and prompts that the first one's run has held out."""
        found: list[Origin] = []
        error = ""
        try:
            for name in names:
                found.append(name if isinstance(name, Origin) else find_origin(name, self.tuner.store))
            check_writes(found)
        except TunerError as problem:
            error = words_of(problem)
        prompts = held_out_prompts(found[0]) if found and not beside else []
        self.post_message(Found(found, error, prompts))

    @on(Found)
    async def _found(self, message: Found) -> None:
        if message.error:
            self.say(message.error, "$error")
            return
        self.query_one(PromptInput).before += message.prompts
        for model in message.models:
            if model not in [column.model for column in self.columns]:
                if model not in self.talk.models:
                    self.talk.models.append(model)
                await self._add_column(model)
        if self.talk.turns and self.talk.unanswered() is None:
            self.rest()  # it is read again; the next thing that is said loads the models
        else:
            self._load()

    async def _add_column(self, model: Origin) -> None:
        column = Column(model, self.plain, self._hint())
        await self.query_one("#columns").mount(column)
        await column.show(self.talk.turns)

    def _hint(self) -> Content:
        words = _(
            "Type below and press {enter}; {up} brings a prompt that was held out. {f7} has the base model "
            "answer beside it, {help} tells every key.",
            up=mark("↑"),
            enter=mark("Enter"),
            f7=mark("F7"),
            help=mark("F1"),
        )
        return marked(words, "$dim")

    def _load(self) -> None:
        if not self.busy and self.talk.models:
            self.ask(OPEN, self.talk.models, self._loaded)

    def _loaded(self, facts: list[dict[str, Any]]) -> None:
        for column, told in zip(self.columns, facts, strict=False):
            column.told(told)
        self.rest()
        self.go_on()

    def action_beside(self) -> None:
        """Have another model answer, too."""
        most = 3 if self.size.width >= _WIDE else 2
        if len(self.columns) >= most:
            words = _("No more than {most} fit beside each other here: x drops one of them.", most=most)
            self.say(words, "$warning")
            return
        self._offer()

    @work(thread=True, group="offer", exclusive=True)
    def _offer(self) -> None:
        self.post_message(Offered(choices(list(self.talk.models), self.tuner.store)))

    @on(Offered)
    def _offered(self, message: Offered) -> None:
        question = (
            _("Who answers beside it? It gets the same prompts, from the first one on.")
            if self.talk.models
            else _("Who do you want to talk to?")
        )
        ask_for_model(self, message.offered, question, self._take)

    def _take(self, name: str | Origin) -> None:
        self.find([name], True)

    async def action_drop(self) -> None:
        """Let a model go; the answers that it gave stay for when it is taken again."""
        column = self.column
        if column is None or len(self.columns) < 2 or self.busy:
            return
        self.talk.models.remove(column.model)
        await column.remove()
        self.set_focus(self.columns[0])
        self._load()
