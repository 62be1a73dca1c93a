"""The panel beside the form: about the field in focus, or about the section, and what is wrong there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.config.options import Option
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.form import show, word_help
from tui_tuner.ui.widgets.memory_bar import breakdown
from tui_tuner.ui.words import block, mark, marked, safe

if TYPE_CHECKING:
    from tui_tuner.planning.estimate import Estimate
    from tui_tuner.ui.checking import Refusal


class About(VerticalScroll):
    """Words about what has the focus; below them, where there is room, the memory of the run."""

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

    def show_section(self, wrong: Iterable[str], other: Refusal | None) -> None:
        """What is wrong in a section, or how the form is used.

        Args:
            wrong: The sentences of its problems.
            other: That the data are for another task, where they are.
        """
        lines = [Content.assemble(("✗ ", "$error"), block(sentence)) for sentence in wrong]
        lines += [task_words(other)] if other is not None else []
        words = Content("\n").join(lines) if lines else form_words()
        self.query_one("#explanation", Static).update(words)

    def show_field(
        self,
        option: Option,
        sentence: str,
        value: Any,
        refusal: Refusal | None,
        other: Refusal | None,
        cost: str = "",
    ) -> None:
        """Everything about a field.

        Args:
            sentence: What is wrong with it.
            refusal: Why no run can be started, where that is its fault.
            other: That the data are for another task, where that is to be said here.
            cost: What the value takes, in a few words.
        """
        advice = refusal.advice if refusal is not None else ""
        offered = refusal is not None and refusal.mendable
        said = explanation(option, sentence, advice, offered, value, cost)
        if other is not None:
            said = Content("\n").join([task_words(other), said])
        self.query_one("#explanation", Static).update(said)

    def show_memory(self, estimate: Estimate | None) -> None:
        """Where the memory goes at its peak; nothing where that is not known."""
        self.query_one("#parts", Static).update(breakdown(estimate, 36) if estimate else Content(""))


def explanation(
    option: Option, sentence: str, advice: str = "", offered: bool = False, value: Any = None, cost: str = ""
) -> Content:
    """Everything the help panel says about a field: what is wrong with it, and what to do about that, first.

    Args:
        offered: There is something to choose from.
        value: What it holds, where something may be told of that.
        cost: What that takes, in a few words.
    """
    parts: list[Content | str | tuple[str, str]] = [(f"{option.path}\n", "bold $primary")]
    if sentence:
        parts.append((f"✗ {one_line(sentence)}\n", "$error"))
    way = f"{one_line(advice)} {_('F4 offers it.') if offered else ''}".strip()
    if advice:
        parts.append((f"{way}\n", "$warning"))
    told = word_help(option, show(value))
    if told:
        parts += [(show(value), "bold"), f": {_(told)}\n"]
    if cost:
        parts.append((f"{cost}\n", "$accent"))
    parts.append(_(option.help) + "\n")
    if option.explain:
        parts.append(_(option.explain) + "\n")
    default = show(option.default) or _("empty")
    takes = option.expects(_(option.unit) if option.unit else "", _("empty"))
    parts.append((_("Takes {takes}. Default: {default}.", takes=takes, default=default), "$dim"))
    return Content.assemble(*parts)


def form_words() -> Content:
    """How the form is used."""
    start = _("Every value has a default, so a run can start at once: {key}.", key=mark("^r"))
    keys = _(
        "{enter} goes into a section, {escape} comes back. {advanced} shows the advanced settings too.",
        enter=mark("Enter"),
        escape=mark("Esc"),
        advanced=mark("F2"),
    )
    whole = _(
        "{undo} undoes, {yaml} edits all of it as YAML, {open} opens another config.",
        undo=mark("^z"),
        yaml=mark("^e"),
        open=mark("^o"),
    )
    auto = Content(_("`auto` is worked out when the run starts; the run shows what it became and why."))
    return Content("\n").join((marked(start), marked(keys), marked(whole), auto.stylize("$dim")))


def task_words(said: Refusal) -> Content:
    """That the data are for another task, and the key that takes it."""
    task = mark(one_line((said.task_fix or {}).get("task", ""), 40), "bold")
    key = marked(_("{key} makes it task {task}.", key=mark("F5"), task=task))
    return Content.assemble(("? ", "$warning"), safe(said.sentence), " ", key)
