"""One field of the settings form: label, editor, unit, and a line for its help or what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Select, Static, Switch

from tui_tuner.config.options import Option
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.form import editor, parse, select_words, show, word_help
from tui_tuner.ui.words import safe


class FieldSelect(Select[str], inherit_bindings=False):
    """A select that leaves the arrow keys to the form."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "show_overlay", _("Choose"), show=False)]


class FieldChanged(Message):
    """A field was edited: its new value, or the sentence that says why its text is no value."""

    def __init__(self, option: Option, value: Any, sentence: str) -> None:
        super().__init__()
        self.option, self.value, self.sentence = option, value, sentence


class Field(Vertical):
    """A field; `value` is the one it begins with."""

    DEFAULT_CSS = """
    Field { height: 2; padding: 0 1; }
    Field > Horizontal { height: 1; }
    Field .label { width: 26; height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    Field .unit { width: auto; height: 1; color: $dim; padding: 0 1; }
    Field Input { width: 1fr; max-width: 56; }
    Field FieldSelect { width: 30; height: 1; }
    Field FieldSelect > SelectCurrent { background: $panel; border: none; height: 1; padding: 0 1; }
    Field FieldSelect:focus > SelectCurrent { background: $cursor-back; border: none; }
    Field FieldSelect > SelectOverlay { border: round $line; background: $panel; }
    Field FieldSelect.-told > SelectOverlay { width: 60; constrain: inside inside; }
    Field Switch { height: 1; border: none; padding: 0; background: $panel; }
    Field Switch:focus { border: none; background: $cursor-back; background-tint: transparent; }
    Field .words { height: 1; color: $dim; text-wrap: nowrap; text-overflow: ellipsis; padding-left: 2; }
    Field:focus-within .label { color: $primary; text-style: bold; }
    Field.-wrong .words { color: $error; }
    """

    def __init__(self, option: Option, value: Any, words: Sequence[str] = ()) -> None:
        super().__init__()
        self.option = option
        self._value = value
        self._words = list(words) or select_words(option)
        self._marked: tuple[bool, str, Any] = (False, "?", None)
        # Made here: a field is marked as soon as it is in the form, which may be before it is composed.
        self._label = Static("", classes="label")
        self._below = Static(self._help(), classes="words")

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self._label
            yield self._editor()
            yield Static(Content(self.option.unit), classes="unit")
        yield self._below

    def _editor(self) -> Widget:
        kind = editor(self.option)
        text = show(self._value)
        if kind == "switch" and isinstance(self._value, bool):
            return Switch(self._value, animate=False)
        if kind == "select" and text in self._words:
            told = "-told" if any(word_help(self.option, word) for word in self._words) else ""
            return FieldSelect(self._offered(), value=text, allow_blank=False, compact=True, classes=told)
        return Input(
            one_line(text),
            placeholder=_("empty") if self.option.optional else "",
            suggester=SuggestFromList(self.option.choices, case_sensitive=False),
            compact=True,
        )

    def show_value(self, value: Any) -> bool:
        """Show another value, and tell nobody; False where the editor that is there cannot show it."""
        editors = self.query("Input, FieldSelect, Switch")
        widget, text = editors.first() if editors else None, show(value)
        with self.prevent(Input.Changed, Select.Changed, Switch.Changed):
            if isinstance(widget, Input):
                widget.value = one_line(text)
            elif isinstance(widget, Switch) and isinstance(value, bool):
                widget.value = value
            elif isinstance(widget, FieldSelect) and text in self._words:
                widget.value = text
            else:
                return False
        self._value = value
        return True

    def mark(self, changed: bool, sentence: str) -> None:
        """Show whether the value differs from its default, and what is wrong with it."""
        if (changed, sentence, self._value) == self._marked:
            return
        self._marked = (changed, sentence, self._value)
        self.set_class(bool(sentence), "-wrong")
        name = self.option.path.rpartition(".")[2].replace("_", " ")
        sign = ("✗ ", "$error") if sentence else ("• ", "$accent") if changed else "  "
        self._label.update(Content.assemble(sign, name))
        short = sentence.removeprefix(f"{self.option.path}: ")
        self._below.update(safe(short) if sentence else self._help())

    def offer(self, words: list[str]) -> None:
        """Offer other words; what is chosen stays chosen."""
        if words == self._words:
            return
        self._words = words
        for select in self.query(FieldSelect):
            value = select.value
            if value not in words:
                self._words = [*words, str(value)]
            with self.prevent(Select.Changed):
                select.set_options(self._offered())
                select.value = value

    def _offered(self) -> list[tuple[str | Content, str]]:
        """The words to choose from, each with a line about it where there is one."""
        return [(_with_help(word, word_help(self.option, word)), word) for word in self._words]

    def _help(self) -> Content:
        """About what is chosen, where something is told of it; else about the field."""
        return Content(_(word_help(self.option, show(self._value)) or self.option.help))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        try:
            value, sentence = parse(self.option, event.value), ""
        except ValueError as error:
            value, sentence = event.value, str(error)
        self._changed(value, sentence)

    @on(Select.Changed)
    def _selected(self, event: Select.Changed) -> None:
        event.stop()
        self._changed(parse(self.option, str(event.value)), "")

    @on(Switch.Changed)
    def _switched(self, event: Switch.Changed) -> None:
        event.stop()
        self._changed(event.value, "")

    def _changed(self, value: Any, sentence: str) -> None:
        if value != self._value or sentence or type(value) is not type(self._value):
            self._value = value
            self.post_message(FieldChanged(self.option, value, sentence))


def _with_help(word: str, told: str) -> str | Content:
    return Content.assemble(word, (f"\n  {_(told)}", "$dim")) if told else word
