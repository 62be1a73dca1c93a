"""Give records the weight of their row: the number in the column that `data.loss_weight` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tui_tuner.config.advice import build_hint
from tui_tuner.config.problems import suggest_nearest
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.formats.parts.weights import MOST, parse_weight
from tui_tuner.data.formats.recognise import Detection
from tui_tuner.data.records import Chat, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

WEIGHTLESS = N_("its weight is 0 (data.loss_weight), so it is not trained")
NO_WEIGHT = N_("the weight of its losses is not a number from 0 to {most:,.0f}", most=MOST)
_SHOWN = 12


def find_weight_column(rows: Sequence[Mapping[str, Any]], name: str | None) -> str:
    """Return the name of the column of weights, if some rows have it and it holds any; else an empty text."""
    return name if name and any(parse_weight(row.get(name)) is not None for row in rows) else ""


def hide_column(rows: Sequence[dict[str, Any]], name: str) -> Sequence[dict[str, Any]]:
    """Return rows without a column: a text beside a number would be taken for a text with a class."""
    return [{key: row[key] for key in row if key != name} for row in rows] if name else rows


def weigh_record(record: Chat | Text, values: Mapping[str, Any], column: str) -> bool:
    """Set the weight of a record from its row; return False if the row has none, so that it counts as 1.

    Raises:
        RowProblem: it is no number, or out of range.
    """
    value = values.get(column)
    if value is None or value == "":
        return False
    weight = parse_weight(value)
    if weight is None:
        raise RowProblem(NO_WEIGHT, f"{one_line(column, 40)}: {one_line(repr(value), 40)}")
    record.weight = weight
    return True


def make_weight_column_error(name: str, detection: Detection, where: str, joins: bool) -> DataError:
    """Make the error for rows without the column that `data.loss_weight` names.

    Args:
        joins: Each row is one turn of a chat.
    """
    if joins:
        return DataError(
            _("each row is one turn, and data.loss_weight weighs whole chats."),
            where=one_line(where),
            hint=build_hint(N_("Name the column weight: it is then the weight of its turn.")),
            field="data.loss_weight",
        )
    role = next((role for role, column in detection.columns.items() if column == name), "")
    if role:
        return DataError(
            _(
                "column {name!r} is the {role} of the rows, and cannot be their weight too.",
                name=name,
                role=role,
            ),
            where=one_line(where),
            hint=build_hint(N_("Name a column of numbers.")),
            field="data.loss_weight",
        )
    if name in detection.names:
        return DataError(
            _("column {name!r} holds no weights in the first rows.", name=one_line(name, 40)),
            where=one_line(where),
            hint=build_hint(N_("Write a number of 0 or more into each cell, or name another column.")),
            field="data.loss_weight",
        )
    names = sorted(detection.names)
    nearest = suggest_nearest(name, names)
    shown = ", ".join(one_line(one, 40) for one in names[:_SHOWN]) + ("…" if len(names) > _SHOWN else "")
    return DataError(
        _("no column {name!r} for the weights of rows.", name=one_line(name, 40)) + nearest,
        where=one_line(where),
        hint=build_hint(
            N_("The columns are {names}. Name one of them, or leave data.loss_weight empty.", names=shown)
        ),
        field="data.loss_weight",
    )


def describe_label_weights(rows: TokenizedRows) -> list[str]:
    """Describe what weighted losses mean for the figures of a run; empty if all labels count alike."""
    if rows.label_weights is None:
        return []
    return [
        _(
            "Losses are weighted: {labels:,} trained tokens count as {weight:,.6g}. Every loss is the "
            "weighted mean, and so are perplexity and accuracy on held-out rows.",
            labels=int(rows.trained_tokens.sum()),
            weight=float(rows.label_weights.sum()),
        )
    ]
