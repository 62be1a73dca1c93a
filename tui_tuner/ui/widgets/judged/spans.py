"""Answers and entities inside their text. Brackets, signs and labels tell them apart; colours come on top."""

from __future__ import annotations

from textual.content import Content

from tui_tuner.evaluation.inside import (
    FOUND,
    MARK,
    MISSED,
    PARTLY,
    PLAIN,
    RIGHT,
    WRONG,
    inside_parts,
    mark_spans,
)
from tui_tuner.evaluation.samples import Shown
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


def inside_content(shown: Shown, judged: bool = True, around: int = 240, short: int = 900) -> Content:
    """The text, with what was found in it and what should have been."""
    labels = sorted({span.label for span in (*shown.found, *shown.wanted) if span.label})
    parts: list[str | tuple[str, str]] = []
    for part in inside_parts(shown, judged, around, short):
        style = _STYLES[part.role]
        if part.label and part.role in (RIGHT, FOUND):
            style = f"bold {_LABELS[labels.index(part.label) % len(_LABELS)]}"
        parts.append((part.text.replace("\t", "    "), style))
    return Content.assemble(*parts)


def legend(shown: list[Shown]) -> Content:
    """What the signs mean, as far as they occur."""
    roles = {mark.role for one in shown for mark in mark_spans(one, judged=True)[0]}
    said = {
        RIGHT: f"[{_('right')}]",
        PARTLY: f"[{_('partly')}]~",
        WRONG: f"[{_('wrong')}]✗",
        MISSED: "{" + _("in the data, not found") + "}",
    }
    return Content("   ").join(
        Content(words).stylize(_STYLES[role]) for role, words in said.items() if role in roles
    )
