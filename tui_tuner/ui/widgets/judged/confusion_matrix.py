"""A confusion matrix: true classes in rows, predicted ones in columns, with counts and shaded shares."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content

from tui_tuner.evaluation.evaluation_tables import (
    MOST_CLASSES,
    TableGrid,
    compute_row_shares,
    find_most_confused_classes,
    format_confused_pair,
    format_table_cell,
)
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import fit_screen_column

_LABEL, _NARROWEST, _WIDEST = 16, 6, 12  # cells of a class name at the left, and of a column
_SHADES = " ░▒▓█"  # next to the number, for themes and terminals without colours


def draw_confusion_matrix(grid: TableGrid, width: int) -> Content:
    """Draw the matrix in `width` cells, or list the most confused pairs if it does not fit."""
    label = min(_LABEL, max((len(name) for name in (*grid.rows, _("true \\ found"))), default=0) + 1)
    each = min(_WIDEST, (width - label) // max(1, len(grid.columns)))
    # Narrower columns would cut numbers, and a matrix of many classes is not readable anyway.
    if len(grid.columns) > MOST_CLASSES or each < _NARROWEST or not grid.columns:
        return _list_pairs(grid)
    heads = "".join(
        _to_the_right(fit_screen_column(name, each - 2).rstrip(), each - 1) + " " for name in grid.columns
    )
    lines = [Content.assemble((fit_screen_column(_("true \\ found"), label), "$dim"), (heads, "$dim"))]
    for name, values, shares in zip(grid.rows, grid.values, compute_row_shares(grid), strict=True):
        parts: list[str | tuple[str, str]] = [fit_screen_column(name, label)]
        for predicted, value, share in zip(grid.columns, values, shares, strict=True):
            text = format_table_cell("", value)
            parts.append(
                (text.rjust(each - 2) + _choose_shade(share) + " ", _choose_style(share, name == predicted))
            )
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)


def _to_the_right(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _choose_shade(share: float) -> str:
    return _SHADES[0 if share <= 0 else min(4, 1 + int(share * 4))]


def _choose_style(share: float, right: bool) -> str:
    """Return the colour of a cell: the larger its share of the row, the stronger."""
    if share <= 0:
        return "$dim"
    return f"on {'$success' if right else '$error'} {round(10 + share * 40)}%"


def _list_pairs(grid: TableGrid) -> Content:
    """List the most confused pairs of classes, one per line."""
    pairs = find_most_confused_classes(grid)
    right = sum(
        value or 0
        for name, values in zip(grid.rows, grid.values, strict=True)
        for predicted, value in zip(grid.columns, values, strict=True)
        if name == predicted
    )
    said = _("{count} classes; {right:,.0f} rows are correct.", count=len(grid.rows), right=right)
    if not pairs:
        return Content(f"{said} {_('No class was confused with another.')}").stylize("$dim")
    lines = [Content(f"{said} {_('Most often confused:')}").stylize("$dim")]
    for pair in pairs:
        style = _choose_style(pair.share, right=False)
        lines.append(Content.assemble((_choose_shade(pair.share), style), " ", format_confused_pair(pair)))
    return Content("\n").join(lines)
