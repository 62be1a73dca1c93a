"""Answers and entities in their text, distinguished by brackets, signs and labels; colours are extra."""

from __future__ import annotations

from textual.content import Content

from tui_tuner.evaluation.inside_text import (
    FOUND,
    MARK,
    MISSED,
    PARTLY,
    PLAIN,
    RIGHT,
    WRONG,
    mark_text_spans,
    split_marked_parts,
)
from tui_tuner.evaluation.samples import ShownSample
from tui_tuner.locales import _

_STYLES = {
    PLAIN: "",
    MARK: "$dim",
    FOUND: "bold $primary",
    RIGHT: "bold $success",
    PARTLY: "bold $warning",
    WRONG: "bold underline $error",
    MISSED: "underline $warning",
}
_LABELS = ("$primary", "$accent", "$secondary", "$success", "$warning")  # entities, by the order of labels


def draw_text_spans(shown: ShownSample, judged: bool = True, around: int = 240, short: int = 900) -> Content:
    """Draw a text with the found and the expected spans."""
    labels = sorted({span.label for span in (*shown.found, *shown.wanted) if span.label})
    parts: list[str | tuple[str, str]] = []
    for part in split_marked_parts(shown, judged, around, short):
        style = _STYLES[part.role]
        if part.label and part.role in (RIGHT, FOUND):
            style = f"bold {_LABELS[labels.index(part.label) % len(_LABELS)]}"
        parts.append((part.text.replace("\t", "    "), style))
    return Content.assemble(*parts)


def make_span_legend(shown: list[ShownSample]) -> Content:
    """Explain the signs that occur."""
    roles = {mark.role for one in shown for mark in mark_text_spans(one, judged=True)[0]}
    said = {
        RIGHT: f"[{_('right')}]",
        PARTLY: f"[{_('partly')}]~",
        WRONG: f"[{_('wrong')}]✗",
        MISSED: "{" + _("in the data, not found") + "}",
    }
    return Content("   ").join(
        Content(words).stylize(_STYLES[role]) for role, words in said.items() if role in roles
    )
