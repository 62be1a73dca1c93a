"""The labels of the screen that writes rows: as a list, as one line with their digits; and its hints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.text import one_line

MOST_KEYS = 9  # labels that have a digit


def list_labels(labels: OptionList, names: Sequence[str], counts: Mapping[str, int]) -> None:
    """Fill a list with the classes, their counts, and a line for a new one; keep the cursor."""
    now = labels.highlighted
    shown = [
        Option(
            Content.assemble(
                (f"{place} " if place <= MOST_KEYS else "  ", "$accent"),
                (one_line(name, 50), "bold"),
                (f"  {counts.get(name, 0):,}", "$dim"),
            )
        )
        for place, name in enumerate(names, 1)
    ]
    # Always the last line, so that its index is the number of classes.
    shown.append(Option(Content.assemble(("n ", "$accent"), _("a new class"))))
    labels.clear_options()
    labels.add_options(shown)
    labels.highlighted = min(now or 0, len(shown) - 1)


def render_legend(names: Sequence[str]) -> Content:
    """Return the labels with their digits, as running text."""
    parts: list[tuple[str, str] | str] = []
    for place, name in enumerate(names[:MOST_KEYS], 1):
        parts += [(f"{place} ", "$accent"), (one_line(name, 20), "bold"), "  "]
    return Content.assemble(*parts, ("n ", "$accent"), _("a new label"))


def describe_next_label(kind: str, typing: bool, done: bool) -> str:
    """Return the hint for the next step, with its keys.

    Args:
        kind: The kind of rows, as `guiding.annotate` names it.
        typing: Whether the user types a text, instead of marking one.
        done: Whether all texts of a file have rows.
    """
    if kind != "chat" and typing and done:
        return _("All texts of the file are done. Press Esc to use the rows, or type another text.")
    if kind == "chat":
        return _("Type a prompt and its answer; Tab switches between them. ^s saves the row.")
    if typing and kind == "labelled":
        return _("Type a text, then press Tab; a digit or Enter saves it with that class.")
    if typing:
        return _("Type or paste a text, then press ^s to mark it.")
    if kind == "labelled":
        return _("A digit or Enter saves this text with that class; n adds a class.")
    if kind == "tagged":
        return _(
            "←→ moves by word, Space starts a selection; a digit tags it, Backspace untags. Enter saves."
        )
    return _("Type a question, then Enter; mark the answer with ←→ and Space, Enter saves. x: no answer.")
