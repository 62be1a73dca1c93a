"""Labels that are given by a digit each, as a list to choose from and in one line; and which keys do what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.text import one_line

MOST_KEYS = 9  # labels that have a digit


def list_labels(labels: OptionList, names: Sequence[str], counts: Mapping[str, int]) -> None:
    """Fill a list with classes, how many texts each has, and a line for a new one; the cursor stays."""
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
    shown.append(Option(Content.assemble(("n ", "$accent"), _("a new class"))))
    labels.clear_options()
    labels.add_options(shown)
    labels.highlighted = min(now or 0, len(shown) - 1)


def legend(names: Sequence[str]) -> Content:
    """Labels with their digits, in a line or two."""
    parts: list[tuple[str, str] | str] = []
    for place, name in enumerate(names[:MOST_KEYS], 1):
        parts += [(f"{place} ", "$accent"), (one_line(name, 20), "bold"), "  "]
    return Content.assemble(*parts, ("n ", "$accent"), _("a new label"))


def what_next(kind: str, typing: bool, done: bool) -> str:
    """What is to be done now, with its keys.

    Args:
        kind: Of the rows, as `guiding.annotate` names it.
        typing: Whether a text is to be typed, and not marked.
        done: Whether all texts of a file have their rows.
    """
    if kind != "chat" and typing and done:
        return _("All texts of the file are done: Esc takes the rows. Or type one more text.")
    if kind == "chat":
        return _("Type both parts, Tab goes between them. ^s saves the row.")
    if typing and kind == "labelled":
        return _("Type a text, then Tab to the classes: a digit or Enter saves it with that class.")
    if typing:
        return _("Type or paste a text; ^s takes it.")
    if kind == "labelled":
        return _("A digit or Enter saves this text with that class; n is a new one.")
    if kind == "tagged":
        return _("←→ a word, Space holds one end; a digit tags it, Backspace takes it away. Enter saves.")
    return _("Type a question, Enter; ←→ and Space mark the answer, Enter saves. x: no answer here.")
