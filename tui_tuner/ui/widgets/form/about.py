"""The panel next to the form: explains the focused field or the section, and its problems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.options import Option
from tui_tuner.config.sections.word_help import explain_word
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.form_values import describe_field_word, format_field_value
from tui_tuner.ui.screen_words import (
    make_safe_block,
    make_safe_line,
    mark_placeholder_value,
    render_marked_sentence,
)
from tui_tuner.ui.widgets.memory_bar import draw_memory_breakdown

if TYPE_CHECKING:
    from tui_tuner.planning.estimate import Estimate
    from tui_tuner.ui.start_checking import Refusal


class About(VerticalScroll):
    """Help for what has the focus; below it, if there is room, the memory of the run."""

    DEFAULT_CSS = """
    About Static { height: auto; }
    About #parts { display: none; border-top: solid $line; margin-top: 1; }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="explanation")
        yield Static(id="parts")

    def on_mount(self) -> None:
        self.border_title = Content(_("About this setting"))
        self.query_one("#parts").border_title = Content(_("Memory at its peak"))

    def show_section(self, wrong: Iterable[str], other: Refusal | None, told: Content | None = None) -> None:
        """Show the problems of a section, or what there is to say about it, or how to use the form.

        Args:
            wrong: A sentence for each of its problems.
            other: A suggestion of another task for the data, if any.
            told: About the section itself.
        """
        lines = [Content.assemble(("✗ ", "$error"), make_safe_block(sentence)) for sentence in wrong]
        lines += [suggest_form_task(other)] if other is not None else []
        words = Content("\n").join(lines) if lines else told or explain_form()
        self._write_words(words)

    def show_field(
        self,
        option: Option,
        sentence: str,
        value: Any,
        refusal: Refusal | None,
        other: Refusal | None,
        cost: str = "",
        size: str = "",
    ) -> None:
        """Show everything about a field.

        Args:
            sentence: Its problem, if any.
            refusal: Why no run can be started, if this field is the cause.
            other: A suggestion of another task for the data, if it belongs to this field.
            cost: The cost of the value, in a few words.
            size: What the method trains and saves, in a few words.
        """
        advice = refusal.advice if refusal is not None else ""
        offered = refusal is not None and refusal.is_fixable
        said = explain_field(option, sentence, advice, offered, value, cost, size)
        if other is not None:
            said = Content("\n").join([suggest_form_task(other), said])
        self._write_words(said)

    def _write_words(self, words: Content) -> None:
        self.query_one("#explanation", Static).update(words)
        self.scroll_home(animate=False)
        self.call_after_refresh(self._name_key)

    def on_resize(self) -> None:
        self.call_after_refresh(self._name_key)

    def _name_key(self) -> None:
        """Name the key that scrolls, where there is more than is shown."""
        title = _("About this setting")
        self.border_title = Content(f"{title}  ·  {_('F8 reads on')}" if self.max_scroll_y else title)

    def read_on(self) -> None:
        """Scroll on; from the end back to the beginning."""
        if self.scroll_y >= self.max_scroll_y:
            self.scroll_home(animate=False)
        else:
            self.scroll_relative(y=max(1, self.content_size.height - 1), animate=False)

    def show_memory(self, estimate: Estimate | None) -> None:
        """Show the parts of the memory at its peak; nothing if unknown."""
        self.query_one("#parts", Static).update(
            draw_memory_breakdown(estimate, 36) if estimate else Content("")
        )


def explain_field(
    option: Option,
    sentence: str,
    advice: str = "",
    offered: bool = False,
    value: Any = None,
    cost: str = "",
    size: str = "",
) -> Content:
    """Return the panel's text about a field, starting with its problem and the fix.

    Args:
        offered: True if the user can choose a fix.
        value: Its value, which may have a description.
        cost: The cost of the value, in a few words.
        size: What the method trains and saves, in a few words.
    """
    parts: list[Content | str | tuple[str, str]] = [(option.path, "bold $primary")]
    parts += [(f"  {size}\n" if size else "\n", "$accent")]
    if sentence:
        parts.append((f"✗ {one_line(sentence)}\n", "$error"))
    # The key is named only where pressing it shows something.
    way = f"{one_line(advice)} {_('Press F4 to choose.') if offered else ''}".strip()
    if advice:
        parts.append((f"{way}\n", "$warning"))
    told = describe_field_word(option, format_field_value(value))
    if told:
        parts += [(format_field_value(value), "bold"), f": {_(told)}\n"]
    explained = explain_word(option.path, format_field_value(value))
    if explained:
        parts.append(f"{explained}\n")
    if cost:
        parts.append((f"{cost}\n", "$accent"))
    parts.append(_(option.help) + "\n")
    if option.explain:
        parts.append(_(option.explain) + "\n")
    default = format_field_value(option.default) or _("empty")
    takes = option.describe_expected(_(option.unit) if option.unit else "", _("empty"))
    parts.append((_("Takes {takes}. Default: {default}.", takes=takes, default=default), "$dim"))
    return Content.assemble(*parts)


def method_words(kind: str, size: str) -> Content:
    """Return what there is to say about a method: what it trains, how it works, usual values, its source."""
    if kind not in METHODS:
        return explain_form()
    key = render_marked_sentence(
        _("{key} compares all methods for this model.", key=mark_placeholder_value("F7"))
    )
    return Content.assemble(
        (_(METHODS[kind].label), "bold $primary"),
        (f"  {size}\n" if size else "\n", "$accent"),
        explain_word("method.kind", kind) + "\n",
        key,
    )


def explain_form() -> Content:
    """Return how to use the form."""
    start = _(
        "Every value has a default, so a run can start at once: {key}.", key=mark_placeholder_value("^r")
    )
    keys = _(
        "{enter} opens a section, {escape} returns. {advanced} also shows the advanced settings.",
        enter=mark_placeholder_value("Enter"),
        escape=mark_placeholder_value("Esc"),
        advanced=mark_placeholder_value("F2"),
    )
    whole = _(
        "{undo} undoes, {yaml} edits everything as YAML, {open} opens another config.",
        undo=mark_placeholder_value("^z"),
        yaml=mark_placeholder_value("^e"),
        open=mark_placeholder_value("^o"),
    )
    auto = Content(_("`auto` is resolved when the run starts; the run shows the value and the reason."))
    return Content("\n").join(
        (
            render_marked_sentence(start),
            render_marked_sentence(keys),
            render_marked_sentence(whole),
            auto.stylize("$dim"),
        )
    )


def suggest_form_task(said: Refusal) -> Content:
    """Return the suggestion of another task, with the key that applies it."""
    task = mark_placeholder_value(one_line((said.task_fix or {}).get("task", ""), 40), "bold")
    key = render_marked_sentence(_("{key} sets task {task}.", key=mark_placeholder_value("F5"), task=task))
    return Content.assemble(("? ", "$warning"), make_safe_line(said.sentence), " ", key)
