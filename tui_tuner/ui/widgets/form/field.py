"""A field of the settings form: label, editor, unit, and a line for its help or its problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from textual.widgets._select import SelectCurrent

from tui_tuner.config.options import Option
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.form_values import (
    choose_field_editor,
    describe_field_word,
    format_field_value,
    list_select_words,
    parse_field_text,
)
from tui_tuner.ui.screen_words import make_safe_line


class FieldSelect(Select[str], inherit_bindings=False):
    """A select that leaves the arrow keys to the form."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "show_overlay", _("Choose"), show=False)]
    stale = False  # True if its words changed while it was open

    def _watch_value(self, value: Any) -> None:
        super()._watch_value(value)
        for current in self.query(SelectCurrent):
            # Textual shows the whole prompt, whose description would not fit into the line.
            current.update(str(value))

    def watch_expanded(self, expanded: bool) -> None:
        """When closed, take over words that came while it was open."""
        if self.stale and not expanded:
            next(node for node in self.ancestors if isinstance(node, Field)).renew_words()


class FieldChanged(Message):
    """A field was edited: its new value, or a sentence that explains why the text is not a value."""

    def __init__(self, option: Option, value: Any, sentence: str) -> None:
        super().__init__()
        self.option, self.value, self.sentence = option, value, sentence


class Field(Vertical):
    """A field; `value` is its initial value."""

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
        self._words = list(words) or list_select_words(option)
        self._costs: Mapping[str, str] = {}
        self._marked: tuple[bool, str, Any] = (False, "?", None)
        # Created here, because a field may be marked before it is composed.
        self._label = Static(self._format_label("  "), classes="label")
        self._below = Static(self._describe_choice(), classes="words")

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self._label
            yield self._make_editor()
            yield Static(Content(self.option.unit), classes="unit")
        yield self._below

    def take_value(self, value: Any) -> None:
        """Show another value without a message, as the user did not edit it here."""
        # 1 == True == 1.0, but they are shown differently.
        if value == self._value and type(value) is type(self._value):
            return
        self._value = value
        self._marked = (False, "?", None)  # marked again by the form
        for old in self.query("Input, FieldSelect, Switch"):
            with self.prevent(Input.Changed, Select.Changed, Switch.Changed):
                if not self._put_value(old, value):
                    self._change_editor(old)
            return

    def _put_value(self, old: Widget, value: Any) -> bool:
        """Put a value into the existing editor; False if it needs another one."""
        kind = self._choose_editor(value)
        if kind == "switch" and isinstance(old, Switch):
            old.value = value
        elif (kind == "select" and isinstance(old, FieldSelect)) or (
            kind == "input" and isinstance(old, Input)
        ):
            old.value = format_field_value(value) if kind == "select" else one_line(format_field_value(value))
        else:
            return False
        return True

    def _change_editor(self, old: Widget) -> None:
        """Replace an editor that cannot hold the value."""
        new, had_focus = self._make_editor(), old.has_focus
        self.query_one(Horizontal).mount(new, after=self._label)
        old.remove()
        # Removing the focused widget would move the focus to another field.
        if had_focus:
            self.screen.set_focus(new)

    def _choose_editor(self, value: Any) -> str:
        """Return the editor that can hold a value: a draft may hold values that a switch or a list cannot."""
        kind = choose_field_editor(self.option)
        if kind == "switch":
            return kind if isinstance(value, bool) else "input"
        return kind if kind != "select" or format_field_value(value) in self._words else "input"

    def _make_editor(self) -> Widget:
        kind, text = self._choose_editor(self._value), format_field_value(self._value)
        if kind == "switch":
            return Switch(self._value, animate=False)
        if kind == "select":
            told = "-told" if any(describe_field_word(self.option, word) for word in self._words) else ""
            return FieldSelect(
                self._list_choices(), value=text, allow_blank=False, compact=True, classes=told
            )
        return Input(
            one_line(text),
            placeholder=_("empty") if self.option.optional else "",
            suggester=SuggestFromList(self.option.choices, case_sensitive=False),
            compact=True,
        )

    def mark_field(self, changed: bool, sentence: str) -> None:
        """Show whether the value differs from its default, and its problem."""
        if (changed, sentence, self._value) == self._marked:
            return
        self._marked = (changed, sentence, self._value)
        self.set_class(bool(sentence), "-wrong")
        self._label.update(
            self._format_label(("✗ ", "$error") if sentence else ("• ", "$accent") if changed else "  ")
        )
        short = sentence.removeprefix(f"{self.option.path}: ")
        self._below.update(make_safe_line(short) if sentence else self._describe_choice())

    def _format_label(self, sign: str | tuple[str, str]) -> Content:
        return Content.assemble(sign, self.option.path.rpartition(".")[2].replace("_", " "))

    def show_costs(self, costs: Mapping[str, str]) -> None:
        """Show the cost next to each word. An open list stays as it is until it is opened again."""
        if costs != self._costs:
            self._costs = costs
            self.renew_words()

    def offer_words(self, words: list[str]) -> None:
        """Offer other words; the choice stays."""
        if words != self._words:
            self._words = words
            self.renew_words()

    def renew_words(self) -> None:
        """Update the offered words; an open list is updated when it is closed."""
        for select in self.query(FieldSelect):
            select.stale = select.expanded
            if select.expanded:
                continue
            value, words = select.value, self._words
            # A select raises if its value is not among its options.
            if value not in words:
                self._words = [*words, str(value)]
            with self.prevent(Select.Changed):
                select.set_options(self._list_choices())
                select.value = value

    def _list_choices(self) -> list[tuple[str | Content, str]]:
        """Return the words to choose from, with their descriptions."""
        return [
            (_with_help(word, self._costs.get(word, ""), describe_field_word(self.option, word)), word)
            for word in self._words
        ]

    def _describe_choice(self) -> Content:
        """Return the help of the chosen word, or else of the field."""
        return Content(
            _(describe_field_word(self.option, format_field_value(self._value)) or self.option.help)
        )

    @on(Input.Changed)
    def _take_text(self, event: Input.Changed) -> None:
        event.stop()
        try:
            value, sentence = parse_field_text(self.option, event.value), ""
        except ValueError as error:
            value, sentence = event.value, str(error)
        self._report_change(value, sentence)

    @on(Select.Changed)
    def _take_selected(self, event: Select.Changed) -> None:
        event.stop()
        self._report_change(parse_field_text(self.option, str(event.value)), "")

    @on(Switch.Changed)
    def _take_switched(self, event: Switch.Changed) -> None:
        event.stop()
        self._report_change(event.value, "")

    def _report_change(self, value: Any, sentence: str) -> None:
        # Textual also posts Changed for a value that was just set from outside.
        if value != self._value or sentence or type(value) is not type(self._value):
            self._value = value
            self.post_message(FieldChanged(self.option, value, sentence))


def _with_help(word: str, cost: str, told: str) -> str | Content:
    parts = [(f"   {cost}", "$dim")] if cost else []
    parts += [(f"\n  {_(told)}", "$dim")] if told else []
    return Content.assemble(word, *parts) if parts else word
