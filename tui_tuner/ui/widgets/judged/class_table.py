"""A table of figures, such as metrics per class."""

from __future__ import annotations

from textual.content import Content

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.evaluation.evaluation_tables import MOST_ROWS, TableGrid, format_table_cell
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import fit_screen_column

_LABEL, _SMALLEST, _GAP = 20, 7, 2  # cells of a name at the left, of a column, between columns


def draw_class_figures(grid: TableGrid, width: int) -> Content:
    """Draw a row per name and a column per figure; columns that do not fit are named below."""
    label = min(_LABEL, max((len(name) for name in grid.rows), default=0) + 1)
    heads = [name_metric_in_text(name) for name in grid.columns]
    texts = [
        [format_table_cell(name, value) for name, value in zip(grid.columns, line, strict=True)]
        for line in grid.values
    ]
    widths = [
        min(16, max(_SMALLEST, len(head), *(len(line[place]) for line in texts))) + _GAP
        if texts
        else _SMALLEST
        for place, head in enumerate(heads)
    ]
    room, fits = width - label, 0
    # Whole columns only: half a number would be read as another number.
    while fits < len(widths) and room >= widths[fits]:
        room -= widths[fits]
        fits += 1
    head = "".join(
        fit_screen_column(text, size - _GAP).strip().rjust(size)
        for text, size in zip(heads[:fits], widths, strict=False)
    )
    lines = [Content.assemble((" " * label + head, "$dim"))]
    for name, line in list(zip(grid.rows, texts, strict=True))[:MOST_ROWS]:
        lines.append(
            Content.assemble(
                fit_screen_column(name, label),
                *(text.rjust(size) for text, size in zip(line[:fits], widths, strict=False)),
            )
        )
    if len(grid.rows) > MOST_ROWS:
        lines.append(Content(_("and {count} more", count=len(grid.rows) - MOST_ROWS)).stylize("$dim"))
    if fits < len(heads):
        lines.append(Content(_("and columns: {names}", names=", ".join(heads[fits:]))).stylize("$dim"))
    return Content("\n").join(lines)
