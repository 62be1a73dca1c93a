"""A confusion matrix: true classes down, predicted ones across; numbers, and their shares behind."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content

from tui_tuner.evaluation.tables import (
    MOST_CLASSES,
    Grid,
    cell_text,
    most_confused,
    pair_line,
    row_shares,
)
from tui_tuner.locales import _
from tui_tuner.ui.words import column

_LABEL, _NARROWEST, _WIDEST = 16, 6, 12  # cells of a class name at the left, and of a column
_SHADES = " ░▒▓█"  # beside the number, for themes and terminals without colours


def confusion_content(grid: Grid, width: int) -> Content:
    """The matrix in so many cells of a terminal; where it does not fit, the pairs that are confused most."""
    label = min(_LABEL, max((len(name) for name in (*grid.rows, _("true \\ found"))), default=0) + 1)
    each = min(_WIDEST, (width - label) // max(1, len(grid.columns)))
    if len(grid.columns) > MOST_CLASSES or each < _NARROWEST or not grid.columns:
        return _pairs(grid)
    heads = "".join(_to_the_right(column(name, each - 2).rstrip(), each - 1) + " " for name in grid.columns)
    lines = [Content.assemble((column(_("true \\ found"), label), "$dim"), (heads, "$dim"))]
    for name, values, shares in zip(grid.rows, grid.values, row_shares(grid), strict=True):
        parts: list[str | tuple[str, str]] = [column(name, label)]
        for predicted, value, share in zip(grid.columns, values, shares, strict=True):
            text = cell_text("", value)
            parts.append((text.rjust(each - 2) + _shade(share) + " ", _style(share, name == predicted)))
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)


def _to_the_right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _shade(share: float) -> str:
    return _SHADES[0 if share <= 0 else min(4, 1 + int(share * 4))]


def _style(share: float, right: bool) -> str:
    """The colour behind a cell: the more of the row it has, the fuller."""
    if share <= 0:
        return "$dim"
    return f"on {'$success' if right else '$error'} {round(10 + share * 40)}%"


def _pairs(grid: Grid) -> Content:
    """The pairs of classes that were taken for one another most often, a line each."""
    pairs = most_confused(grid)
    right = sum(
        value or 0
        for name, values in zip(grid.rows, grid.values, strict=True)
        for predicted, value in zip(grid.columns, values, strict=True)
        if name == predicted
    )
    said = _("{count} classes; {right:,.0f} rows are right.", count=len(grid.rows), right=right)
    if not pairs:
        return Content(f"{said} {_('No class was taken for another.')}").stylize("$dim")
    lines = [Content(f"{said} {_('Taken for another most often:')}").stylize("$dim")]
    for pair in pairs:
        style = _style(pair.share, right=False)
        lines.append(Content.assemble((_shade(pair.share), style), " ", pair_line(pair)))
    return Content("\n").join(lines)
