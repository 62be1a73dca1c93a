"""The labels of encoded rows as the numbers that a model learns: the column `target`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tui_tuner.config.advice import advise, setting
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.labels.names import class_hash, class_name, labels_of
from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.errors import DataError, RowsError
from tui_tuner.locales import N_, _, _n
from tui_tuner.text import one_line, some_of

_SHOWN = 20


def number_rows(
    rows: TokenizedRows, problem: str, numbers: Mapping[str, int], separator: str | None = None
) -> None:
    """Put the column `target` in the place of what encoding gave.

    It is int64 [rows] of one class of several, uint8 [rows, classes] of 0 and 1 of several classes, and
    float32 [rows] of a regression.

    Args:
        numbers: {name of a class, as the rows spell it: its number}.
        separator: `data.label_separator`.

    Raises:
        DataError: a row has a class that no training row has, or no label of this problem.
    """
    if not len(rows) or "target" in rows.columns:
        return
    hashes, values = rows.columns["class"], rows.columns["value"]
    if problem == REGRESSION:
        target = values.astype(np.float32)
        _refuse(rows, ~np.isfinite(target), _("the label is no number"), "regression")
    elif problem == MULTI:
        target = _several(rows, numbers, separator)
    else:
        _refuse(rows, hashes == 0, _("the row has not one class but a list of them"), "single")
        known = {class_hash(name): number for name, number in numbers.items()}
        _refuse_unknown(rows, ~np.isin(hashes, list(known)), numbers, separator)
        rows.renumber(known, "class")
        target = rows.columns["class"]
    rows.columns = {name: part for name, part in rows.columns.items() if name not in ("class", "value")}
    rows.add_column("target", target)


def _several(rows: TokenizedRows, numbers: Mapping[str, int], separator: str | None) -> np.ndarray:
    """What classes each row has, uint8 [rows, classes]."""
    found = np.zeros((len(rows), len(set(numbers.values()))), dtype=np.uint8)
    unknown = np.zeros(len(rows), dtype=bool)
    for place in range(len(rows)):
        for name in names_of_row(rows, place, separator):
            if name in numbers:
                found[place, numbers[name]] = 1
            else:
                unknown[place] = True
    _refuse_unknown(rows, unknown, numbers, separator)
    return found


def names_of_row(rows: TokenizedRows, place: int, separator: str | None) -> list[str]:
    """The classes that a row has in the file."""
    label: Any = rows.store.record(rows.row(place))["label"]
    return [class_name(one) for one in labels_of(label, separator)]


def _refuse_unknown(
    rows: TokenizedRows, unknown: np.ndarray, numbers: Mapping[str, int], separator: str | None
) -> None:
    """Raise `DataError` for rows whose class is none of those that are learnt."""
    if not unknown.any():
        return
    place = int(np.flatnonzero(unknown)[0])
    strange = next((name for name in names_of_row(rows, place, separator) if name not in numbers), "")
    count = int(unknown.sum())
    raise RowsError(
        _n(
            "{count} row has a class that no training row has, such as label {name!r}.",
            "{count} rows have a class that no training row has, such as label {name!r}.",
            count,
            count=count,
            name=one_line(strange, 60),
        ),
        where=str(rows.origin(place)),
        hint=_(
            "The classes of the training rows are {names}.",
            names=", ".join(some_of(list(numbers), _SHOWN)),
        ),
        field="data.validation",
    )


def _refuse(rows: TokenizedRows, wrong: np.ndarray, what: str, problem: str) -> None:
    """Raise `DataError` for rows that have no label of this problem."""
    if not wrong.any():
        return
    place = int(np.flatnonzero(wrong)[0])
    label = rows.store.record(rows.row(place))["label"]
    raise DataError(
        _(
            "{what} in {count:,} rows (label {label}), and data.problem is {problem}.",
            what=what,
            count=int(wrong.sum()),
            label=one_line(label, 80),
            problem=problem,
        ),
        where=str(rows.origin(place)),
        hint=advise(
            N_(
                "Mend the rows, or have them counted and left out with {command}.",
                command=setting({"data.problem": problem}),
            )
        ),
        field="data.problem",
    )
