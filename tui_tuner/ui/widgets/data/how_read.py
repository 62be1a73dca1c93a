"""How a file is read: its format, which column is what, and why its rows cannot be used, if they cannot."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.checking import Refusal
from tui_tuner.ui.words import mark, marked, safe


class HowRead(Static):
    """A refusal first, with the key that offers what can be done; then the format."""

    DEFAULT_CSS = "HowRead { height: auto; max-height: 7; padding: 0 1; }"

    def show(
        self,
        look: datalook.Look | None,
        refusal: Refusal | None,
        better: Refusal | None = None,
        task: str = "",
    ) -> None:
        """Draw what is known of the file; `better`: that another task than `task` fits its rows better."""
        parts = [_refused(refusal, task)] if refusal is not None else []
        parts += [_better(better)] if better is not None else []
        parts += [_how(look)] if look is not None else []
        self.update(Content("\n").join(parts))


def _refused(refusal: Refusal, task: str) -> Content:
    """Why the rows cannot be used, and the key that offers what can be done."""
    sentence = Content.assemble(("✗ ", "$error"), Content(one_line(refusal.sentence)).stylize("$error"))
    advice = (one_line(refusal.advice) + " ", "$dim") if refusal.advice else ""
    if refusal.task_fix is not None and refusal.task_fix["task"] == task:
        words = _("{key} does that, {other} offers what else can be done.", key=mark("k"), other=mark("u"))
        return Content.assemble(sentence, "\n", advice, marked(words))
    offer = marked(_("{key} offers what can be done.", key=mark("u")))
    return Content.assemble(sentence, "\n", *_other_task(refusal), advice, offer)


def _better(better: Refusal) -> Content:
    sentence = Content.assemble(("? ", "$warning"), Content(one_line(better.sentence)))
    return Content.assemble(sentence, " ", *_other_task(better))


def _other_task(said: Refusal) -> list[Content]:
    """The key that takes the task which the rows are for, if there is one."""
    if said.task_fix is None:
        return []
    task = mark(one_line(said.task_fix["task"], 40), "bold")
    return [marked(_("{key} makes it task {task}.", key=mark("k"), task=task)), Content(" ")]


def _how(look: datalook.Look) -> Content:
    """The format, how sure it is, why, and which column is what."""
    sure = _("as you said") if look.sure is None else _("{p:.0%} sure", p=look.sure)
    parts: list[Content | str | tuple[str, str]] = [(one_line(look.format), "bold $primary"), f"  {sure}"]
    if look.why:
        parts.append((f"  {one_line(look.why)}", "$dim"))
    if look.columns:
        pairs = ", ".join(f"{one_line(role)} ← {one_line(name)}" for role, name in look.columns.items())
        parts.append(("\n" + pairs, "$foreground"))
    parts += [Content.assemble(("\n! ", "$warning"), safe(note)) for note in look.notes]
    return Content.assemble(*parts)


def counts(census: datalook.Census, held_out: bool = False) -> Content:
    """The row ledger in one line."""
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
