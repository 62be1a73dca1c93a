"""Choices with their probabilities: a name, a small bar, the number."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from tui_tuner.evaluation.before_after import format_probability, name_choice
from tui_tuner.ui.screen_words import draw_screen_bar, fit_screen_column

MOST = 6
_NUMBER, _BAR, _NAME = 7, 16, 40  # cells


def draw_choice_scores(scores: Sequence[tuple[str, float]], width: int, right: str | None = None) -> Content:
    """Draw a line for each of the most likely choices.

    Args:
        right: The right choice, which gets a mark; None if unknown.
    """
    shown = scores[:MOST]
    names = [name_choice(name) for name, _score in shown]
    length = min(max((len(name) for name in names), default=0), _NAME, max(6, width - _NUMBER - 12))
    cells = max(4, min(_BAR, width - length - _NUMBER - 4))
    lines = []
    for name, (text, score) in zip(names, shown, strict=True):
        filled, rest = draw_screen_bar(score, cells)
        sign = "✓" if right is not None and text.strip() == right.strip() else " "
        lines.append(
            Content.assemble(
                (f"{sign} ", "$success"),
                fit_screen_column(name, length),
                " ",
                (filled, "$primary"),
                ("·" * len(rest), "$dim"),
                format_probability(score).rjust(_NUMBER),
            )
        )
    return Content("\n").join(lines)
