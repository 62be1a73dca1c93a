"""Rows for a check: cut to what its memory allows, with a few labels; and made-up ones beyond a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tui_tuner.compute.forward import Rows
from tui_tuner.data.records import IGNORE, Example

LEAST_LABELS = 16  # of an example in a check
BEYOND = 64  # tokens of a made-up row after the window, all with a label


class CheckRows:
    """Examples that a check computes, numbered from 0."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = list(examples)
        self.lengths = np.array([len(example) for example in self._examples], dtype=np.int64)
        self.trained_tokens = np.array([example.trained_tokens for example in self._examples], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def shorten(data: Rows, rows: Sequence[int], longest: int, labels: int) -> CheckRows:
    """Some rows of the data, each of at most `longest` tokens.

    Args:
        labels: As many as all the rows may have together, so that their logits are no more than training's.
            An example keeps at least a few.
    """
    each = max(LEAST_LABELS, labels // max(1, len(rows)))
    return CheckRows([thin_labels(_cut(data[row], longest), each) for row in rows])


def reach_beyond(data: Rows, window: int, longest: int) -> CheckRows:
    """A short row, and one that is longer than a window, made of the tokens of all rows of `data`.

    Only what lies beyond the window has labels.

    Args:
        longest: Tokens that no row may exceed; more than the window.
    """
    parts = [data[row] for row in range(len(data))]
    ids = np.concatenate([part.ids for part in parts])
    known = np.concatenate([part.labels for part in parts])
    known = known[known != IGNORE]
    length = min(window + BEYOND, longest)
    labels = np.full(length, IGNORE, dtype=np.int32)
    if len(known):
        labels[window:] = np.resize(known, length - window)
    long = Example(np.resize(ids, length).astype(np.int32), labels, parts[0].columns)
    return CheckRows([_cut(parts[0], BEYOND), long])


def thin_labels(example: Example, most: int) -> Example:
    """The same with at most so many labels, the first and the last among them."""
    places = np.flatnonzero(example.labels != IGNORE)
    if len(places) <= most:
        return example
    kept = places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
    labels = np.full_like(example.labels, IGNORE)
    labels[kept] = example.labels[kept]
    return Example(example.ids, labels, example.columns)


def _cut(example: Example, longest: int) -> Example:
    """The first tokens; where none of them has a label, those up to the last that has one."""
    if len(example) <= longest:
        return example
    places = np.flatnonzero(example.labels != IGNORE)
    start = max(0, int(places[-1]) + 1 - longest) if len(places) and places[0] >= longest else 0
    kept = slice(start, start + longest)
    return Example(example.ids[kept], example.labels[kept], example.columns)


def windows(model: Any) -> list[int]:
    """Every number of tokens that a model's attention may end at, smallest first, as its config names them.

    A number that the model does not use costs a needless check, so nothing is asked but its name.
    """
    settings = model.config.get_text_config().to_dict()
    return sorted({size for name, size in _numbers(settings, "") if _is_window(name) and size > 1})


def _is_window(name: str) -> bool:
    return ("window" in name or "chunk" in name) and "feed_forward" not in name


def _numbers(settings: Any, name: str) -> Iterator[tuple[str, int]]:
    """All whole numbers in nested settings, with the names that lead to each."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _numbers(value, f"{name}.{key}")
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _numbers(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool):
        yield name, settings
