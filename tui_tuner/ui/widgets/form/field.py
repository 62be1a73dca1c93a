"""One field of the settings form: label, editor, unit, and a line for its help or what is wrong with it."""

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
from tui_tuner.ui.form import editor, parse, select_words, show, word_help
from tui_tuner.ui.words import safe


class FieldSelect(Select[str], inherit_bindings=False):
    """A select that leaves the arrow keys to the form."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "show_overlay", _("Choose"), show=False)]
    stale = False  # other words were offered while it was open

    def _watch_value(self, value: Any) -> None:
        super()._watch_value(value)
        for current in self.query(SelectCurrent):
            current.update(str(value))  # without what the list tells of it

    def watch_expanded(self, expanded: bool) -> None:
        """Closed, it takes the words that came while it was open."""
        if self.stale and not expanded:
            next(node for node in self.ancestors if isinstance(node, Field)).renew_words()


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
        self._costs: Mapping[str, str] = {}
        self._marked: tuple[bool, str, Any] = (False, "?", None)
        # Made here: a field is marked as soon as it is in the form, which may be before it is composed.
        self._label = Static(self._named("  "), classes="label")
        self._below = Static(self._help(), classes="words")

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield self._label
            yield self._editor()
            yield Static(Content(self.option.unit), classes="unit")
        yield self._below

    def take(self, value: Any) -> None:
        """Show another value; nobody is told, for it is not edited here."""
        if value == self._value and type(value) is type(self._value):
            return
        self._value = value
        self._marked = (False, "?", None)  # it is marked anew
        for old in self.query("Input, FieldSelect, Switch"):
            with self.prevent(Input.Changed, Select.Changed, Switch.Changed):
                if not self._takes(old, value):
                    self._change_editor(old)
            return

    def _takes(self, old: Widget, value: Any) -> bool:
        """Put a value into the editor that is there, if it is the one for it."""
        kind = self._kind(value)
        if kind == "switch" and isinstance(old, Switch):
            old.value = value
        elif (kind == "select" and isinstance(old, FieldSelect)) or (
            kind == "input" and isinstance(old, Input)
        ):
            old.value = show(value) if kind == "select" else one_line(show(value))
        else:
            return False
        return True

    def _change_editor(self, old: Widget) -> None:
        """Another editor in the place of one that cannot hold the value."""
        new, had_focus = self._editor(), old.has_focus
        self.query_one(Horizontal).mount(new, after=self._label)
        old.remove()
        if had_focus:
            self.screen.set_focus(new)

    def _kind(self, value: Any) -> str:
        """The editor that can hold a value: a draft may hold what no switch and no list has."""
        kind = editor(self.option)
        if kind == "switch":
            return kind if isinstance(value, bool) else "input"
        return kind if kind != "select" or show(value) in self._words else "input"

    def _editor(self) -> Widget:
        kind, text = self._kind(self._value), show(self._value)
        if kind == "switch":
            return Switch(self._value, animate=False)
        if kind == "select":
            told = "-told" if any(word_help(self.option, word) for word in self._words) else ""
            return FieldSelect(self._offered(), value=text, allow_blank=False, compact=True, classes=told)
        return Input(
            one_line(text),
            placeholder=_("empty") if self.option.optional else "",
            suggester=SuggestFromList(self.option.choices, case_sensitive=False),
            compact=True,
        )

    def mark(self, changed: bool, sentence: str) -> None:
        """Show whether the value differs from its default, and what is wrong with it."""
        if (changed, sentence, self._value) == self._marked:
            return
        self._marked = (changed, sentence, self._value)
        self.set_class(bool(sentence), "-wrong")
        self._label.update(
            self._named(("✗ ", "$error") if sentence else ("• ", "$accent") if changed else "  ")
        )
        short = sentence.removeprefix(f"{self.option.path}: ")
        self._below.update(safe(short) if sentence else self._help())

    def _named(self, sign: str | tuple[str, str]) -> Content:
        return Content.assemble(sign, self.option.path.rpartition(".")[2].replace("_", " "))

    def tell(self, costs: Mapping[str, str]) -> None:
        """Say beside each word what it costs. A list that is open stays as it is until it is opened again."""
        if costs != self._costs:
            self._costs = costs
            self.renew_words()

    def offer(self, words: list[str]) -> None:
        """Offer other words; what is chosen stays chosen."""
        if words != self._words:
            self._words = words
            self.renew_words()

    def renew_words(self) -> None:
        """Offer the words as they are by now; in a list that is open, once it is closed."""
        for select in self.query(FieldSelect):
            select.stale = select.expanded
            if select.expanded:
                continue
            value, words = select.value, self._words
            if value not in words:
                self._words = [*words, str(value)]
            with self.prevent(Select.Changed):
                select.set_options(self._offered())
                select.value = value

    def _offered(self) -> list[tuple[str | Content, str]]:
        """The words to choose from, each with a line about it where there is one."""
        return [
            (_with_help(word, self._costs.get(word, ""), word_help(self.option, word)), word)
            for word in self._words
        ]

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


def _with_help(word: str, cost: str, told: str) -> str | Content:
    parts = [(f"   {cost}", "$dim")] if cost else []
    parts += [(f"\n  {_(told)}", "$dim")] if told else []
    return Content.assemble(word, *parts) if parts else word
