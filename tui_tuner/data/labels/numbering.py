"""Turn the labels of encoded rows into the numbers that a model learns: the column `target`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.labels.names import hash_class, name_class, split_labels
from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.errors import DataError, RowsError
from tui_tuner.locales import N_, _, _n
from tui_tuner.text import join_first_names, one_line

_SHOWN = 20


def number_row_labels(
    rows: TokenizedRows, problem: str, numbers: Mapping[str, int], separator: str | None = None
) -> None:
    """Replace the columns of the encoder with the column `target`.

    It is int64 [rows] for one class of several, uint8 [rows, classes] of 0 and 1 for several classes at once,
    and float32 [rows] for a regression.

    Args:
        numbers: {name of a class, as in the rows: its number}.
        separator: `data.label_separator`.

    Raises:
        DataError: a row has a class that no training row has, or no label of this problem.
    """
    if not len(rows) or "target" in rows.columns:
        return
    hashes, values = rows.columns["class"], rows.columns["value"]
    if problem == REGRESSION:
        target = values.astype(np.float32)
        _refuse_wrong(rows, ~np.isfinite(target), _("the label is not a number"), "regression")
    elif problem == MULTI:
        target = _mark_classes(rows, numbers, separator)
    else:
        # Encoding writes 0 where a row has no single class.
        _refuse_wrong(rows, hashes == 0, _("the row has a list of classes, not one class"), "single")
        known = {hash_class(name): number for name, number in numbers.items()}
        _refuse_unknown(rows, ~np.isin(hashes, list(known)), numbers, separator)
        rows.renumber_values(known, "class")
        target = rows.columns["class"]
    # What encoding wrote is of no further use, and models must not get it.
    rows.columns = {name: part for name, part in rows.columns.items() if name not in ("class", "value")}
    rows.add_column("target", target)


def _mark_classes(rows: TokenizedRows, numbers: Mapping[str, int], separator: str | None) -> np.ndarray:
    """Mark the classes of each row, uint8 [rows, classes]."""
    found = np.zeros((len(rows), len(set(numbers.values()))), dtype=np.uint8)
    unknown = np.zeros(len(rows), dtype=bool)
    for place in range(len(rows)):
        for name in list_row_classes(rows, place, separator):
            if name in numbers:
                found[place, numbers[name]] = 1
            else:
                unknown[place] = True
    _refuse_unknown(rows, unknown, numbers, separator)
    return found


def list_row_classes(rows: TokenizedRows, place: int, separator: str | None) -> list[str]:
    """Return the classes of a row in the file."""
    # The names are in the record only; the store keeps hashes.
    label: Any = rows.store.read_record(rows.row_of_example(place))["label"]
    return [name_class(one) for one in split_labels(label, separator)]


def _refuse_unknown(
    rows: TokenizedRows, unknown: np.ndarray, numbers: Mapping[str, int], separator: str | None
) -> None:
    """Raise `DataError` for rows whose class is not one of the trained classes."""
    if not unknown.any():
        return
    place = int(np.flatnonzero(unknown)[0])
    strange = next((name for name in list_row_classes(rows, place, separator) if name not in numbers), "")
    count = int(unknown.sum())
    raise RowsError(
        _n(
            "{count} row has a class that no training row has, such as label {name!r}.",
            "{count} rows have a class that no training row has, such as label {name!r}.",
            count,
            count=count,
            name=one_line(strange, 60),
        ),
        where=str(rows.example_origin(place)),
        hint=_(
            "The classes of the training rows are {names}.",
            names=", ".join(join_first_names(list(numbers), _SHOWN)),
        ),
        field="data.validation",
    )


def _refuse_wrong(rows: TokenizedRows, wrong: np.ndarray, what: str, problem: str) -> None:
    """Raise `DataError` for rows that have no label of this problem."""
    if not wrong.any():
        return
    place = int(np.flatnonzero(wrong)[0])
    label = rows.store.read_record(rows.row_of_example(place))["label"]
    raise DataError(
        _(
            "{what} in {count:,} rows (label {label}), and data.problem is {problem}.",
            what=what,
            count=int(wrong.sum()),
            label=one_line(label, 80),
            problem=problem,
        ),
        where=str(rows.example_origin(place)),
        hint=build_hint(
            N_(
                "Fix the rows, or count them and leave them out with {command}.",
                command=write_setting({"data.problem": problem}),
            )
        ),
        field="data.problem",
    )
