"""Shows how a file is read: its format, the roles of its columns, and why its rows cannot be used."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.screen_words import make_safe_line, mark_placeholder_value, render_marked_sentence
from tui_tuner.ui.start_checking import Refusal


class HowRead(Static):
    """A refusal, if any, with the key for its fixes; then the format."""

    DEFAULT_CSS = "HowRead { height: auto; max-height: 7; padding: 0 1; }"

    def show_reading(
        self,
        look: datalook.DataPreview | None,
        refusal: Refusal | None,
        better: Refusal | None = None,
        task: str = "",
    ) -> None:
        """Show what is known about the file; `better` suggests another task than `task`."""
        parts = [_format_refusal(refusal, task)] if refusal is not None else []
        parts += [_format_better(better)] if better is not None else []
        parts += [_describe_format(look)] if look is not None else []
        self.update(Content("\n").join(parts))


def _format_refusal(refusal: Refusal, task: str) -> Content:
    """Return why the rows cannot be used, and the key for its fixes."""
    sentence = Content.assemble(("✗ ", "$error"), Content(one_line(refusal.sentence)).stylize("$error"))
    advice = (one_line(refusal.advice) + " ", "$dim") if refusal.advice else ""
    if refusal.task_fix is not None and refusal.task_fix["task"] == task:
        words = _(
            "{key} does that, {other} shows other options.",
            key=mark_placeholder_value("k"),
            other=mark_placeholder_value("u"),
        )
        return Content.assemble(sentence, "\n", advice, render_marked_sentence(words))
    offer = render_marked_sentence(_("{key} shows the options.", key=mark_placeholder_value("u")))
    return Content.assemble(sentence, "\n", *_other_task(refusal), advice, offer)


def _format_better(better: Refusal) -> Content:
    sentence = Content.assemble(("? ", "$warning"), Content(one_line(better.sentence)))
    return Content.assemble(sentence, " ", *_other_task(better))


def _other_task(said: Refusal) -> list[Content]:
    """Return the key that switches to the task that fits the rows, if there is one."""
    if said.task_fix is None:
        return []
    task = mark_placeholder_value(one_line(said.task_fix["task"], 40), "bold")
    return [
        render_marked_sentence(_("{key} sets task {task}.", key=mark_placeholder_value("k"), task=task)),
        Content(" "),
    ]


def _describe_format(look: datalook.DataPreview) -> Content:
    """Return the format, its confidence and reason, and the roles of the columns."""
    sure = _("as set") if look.sure is None else _("{p:.0%} sure", p=look.sure)
    parts: list[Content | str | tuple[str, str]] = [(one_line(look.format), "bold $primary"), f"  {sure}"]
    if look.why:
        parts.append((f"  {one_line(look.why)}", "$dim"))
    if look.columns:
        pairs = ", ".join(f"{one_line(role)} ← {one_line(name)}" for role, name in look.columns.items())
        parts.append(("\n" + pairs, "$foreground"))
    parts += [Content.assemble(("\n! ", "$warning"), make_safe_line(note)) for note in look.notes]
    return Content.assemble(*parts)


def format_ledger_counts(census: datalook.RowCensus, held_out: bool = False) -> Content:
    """Format the row ledger in one line."""
    counts = ", ".join(f"{count:,} {_(name)}" for name, count in census.outcomes.items() if count)
    if held_out and census.done:
        words = _("{n:,} held-out rows: {counts}", n=census.read, counts=counts)
    elif held_out:
        words = _("{n:,} held-out rows so far: {counts}", n=census.read, counts=counts)
    elif census.done:
        words = _("{n:,} rows: {counts}", n=census.read, counts=counts)
    else:
        words = _("{n:,} rows so far: {counts}", n=census.read, counts=counts)
    parts: list[str | tuple[str, str]] = [words]
    if census.done and census.longest:
        lengths = _(
            "{mean:,.0f} characters on average, at most {longest:,}", mean=census.mean, longest=census.longest
        )
        parts.append((f"  {lengths}", "$dim"))
    if census.reasons:
        parts.append(("  " + "; ".join(one_line(reason) for reason in census.reasons), "$warning"))
    return Content.assemble(*parts)
