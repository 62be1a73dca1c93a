"""Format tables of evaluations as text: a confusion matrix, the figures of each class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import EvaluationTable
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.text import one_line

CONFUSION = "confusion"
TITLES = {
    CONFUSION: N_("Confusion: true classes down, predicted ones across"),
    "classes": N_("Each class"),
    "thresholds": N_("Thresholds for no answer"),
}
COUNTS = ("support", "rows", "questions")  # columns that count
MOST_CLASSES = 8  # largest matrix that is drawn; otherwise the pairs confused most are listed
MOST_PAIRS = 12
MOST_ROWS = 60
LABEL = 18  # cells of a class name


class TableGrid(NamedTuple):
    """A table with safe names and numeric values, whatever the journal holds."""

    name: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]


class ConfusedPair(NamedTuple):
    """How often one class was predicted for another, and the share of the true class's rows."""

    true: str
    predicted: str
    times: float
    share: float


def read_evaluation_table(table: EvaluationTable) -> TableGrid:
    """Read the table of an event; damaged values become None."""
    rows, columns = [one_line(name) for name in table.rows], [one_line(name) for name in table.columns]
    values: list[list[float | None]] = []
    for index in range(len(rows)):
        # Rows, columns and values come from a journal and need not match in number.
        line = table.values[index] if index < len(table.values) else ()
        line = line if isinstance(line, list | tuple) else ()
        values.append(
            [_as_number(line[place]) if place < len(line) else None for place in range(len(columns))]
        )
    return TableGrid(one_line(table.name), rows, columns, values)


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def format_table_title(name: str) -> str:
    """Return the title of a table; safe for a terminal."""
    return _(TITLES[name]) if name in TITLES else one_line(name, 40)


def format_table_cell(column: str, value: float | None) -> str:
    """Format a value for its column: counts as whole numbers, F1 and the like times 100."""
    if value is None:
        return "–"
    whole = math.isfinite(value) and value == int(value)
    # JSON writes a count of 3.0 as a float, and an F1 of exactly 1 must stay 100.
    if isinstance(value, int) or (whole and (value > 1 or column in COUNTS)):
        return f"{int(value):,}"
    return format_metric_figure(column, value, 3)


def compute_row_shares(grid: TableGrid) -> list[list[float]]:
    """Return each value as a share of its row, 0 to 1: how the rows of a class were predicted."""
    shares = []
    for line in grid.values:
        counts = [value if value is not None and value > 0 and math.isfinite(value) else 0 for value in line]
        total = sum(counts)
        shares.append([count / total if total else 0.0 for count in counts])
    return shares


def find_most_confused_classes(grid: TableGrid, most: int = MOST_PAIRS) -> list[ConfusedPair]:
    """Return the pairs of classes that were confused most often."""
    shares = compute_row_shares(grid)
    found = []
    for row, true in enumerate(grid.rows):
        for column, predicted in enumerate(grid.columns):
            count = grid.values[row][column]
            if true != predicted and count is not None and count > 0:
                found.append(ConfusedPair(true, predicted, count, shares[row][column]))
    return sorted(found, key=lambda pair: (-pair.times, -pair.share, pair.true, pair.predicted))[:most]


def format_table_lines(table: EvaluationTable) -> list[str]:
    """Format a table compactly in lines of text."""
    grid = read_evaluation_table(table)
    if not grid.rows or not grid.columns:
        return []
    title = format_table_title(grid.name)
    if grid.name == CONFUSION and len(grid.columns) > MOST_CLASSES:
        return [title, *_pair_lines(find_most_confused_classes(grid))]
    label = min(LABEL, max(cell_len(name) for name in grid.rows))
    texts = [
        [format_table_cell(column, value) for column, value in zip(grid.columns, line, strict=True)]
        for line in grid.values
    ]
    heads = [
        name_metric_in_text(name) if grid.name != CONFUSION else fit_table_cells(name, LABEL // 2).strip()
        for name in grid.columns
    ]
    widths = [
        max(cell_len(text) for text in (head, *(line[place] for line in texts)))
        for place, head in enumerate(heads)
    ]
    lines = [title, "  " + " " * label + _join_cells(heads, widths)]
    for name, line in list(zip(grid.rows, texts, strict=True))[:MOST_ROWS]:
        lines.append("  " + fit_table_cells(name, label) + _join_cells(line, widths))
    if len(grid.rows) > MOST_ROWS:
        lines.append("  " + _("and {count} more", count=len(grid.rows) - MOST_ROWS))
    return lines


def _pair_lines(pairs: Sequence[ConfusedPair]) -> list[str]:
    if not pairs:
        return ["  " + _("No class was mistaken for another.")]
    return ["  " + format_confused_pair(pair) for pair in pairs]


def format_confused_pair(pair: ConfusedPair) -> str:
    """Format a pair of confused classes."""
    return _(
        "{true} mistaken for {predicted}: {count} ({share:.0%})",
        true=fit_table_cells(pair.true, LABEL).strip(),
        predicted=fit_table_cells(pair.predicted, LABEL).strip(),
        count=format_table_cell("", pair.times),
        share=pair.share,
    )


def fit_table_cells(text: str, width: int) -> str:
    """Fit safe text into exactly `width` cells of a terminal."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    # By cells and not characters: East Asian characters take two.
    return set_cell_size(set_cell_size(text, width - 1).rstrip() + "…", width)


def _join_cells(texts: Iterable[str], widths: Iterable[int]) -> str:
    return "".join(
        "  " + " " * (width - cell_len(text)) + text for text, width in zip(texts, widths, strict=True)
    )
