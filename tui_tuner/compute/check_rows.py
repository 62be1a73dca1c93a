"""Rows for a check: cut to what memory allows, with few labels; and synthetic ones longer than a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.compute.forward import Rows
from tui_tuner.data.records import IGNORE, Example

if TYPE_CHECKING:
    import torch

LEAST_LABELS = 16  # kept for each example in a check
BEYOND = 64  # tokens of a synthetic row after the window, all with a label


class CheckRows:
    """The examples that a check computes, as `Rows` numbered from 0."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = list(examples)
        self.lengths = np.array([len(example) for example in self._examples], dtype=np.int64)
        self.trained_tokens = np.array([example.trained_tokens for example in self._examples], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def shorten_rows(
    data: Rows,
    rows: Sequence[int],
    longest: int,
    labels: int,
    cut: Callable[[Example, int], Example] | None = None,
) -> CheckRows:
    """Return some rows of the data, each cut to at most `longest` tokens, with labels that count alike.

    Args:
        labels: The most labels of all rows together, so that their logits need no more memory than in
            training. An example keeps at least a few.
        cut: Cuts an example (`RowLayout.cut_example`).
    """
    cut = cut or cut_check_example
    each = max(LEAST_LABELS, labels // max(1, len(rows)))
    shortened = [thin_check_labels(cut(data[row], longest), each) for row in rows]
    return CheckRows([replace(one, weights=None) for one in shortened])


def make_window_check_rows(data: Rows, window: int, longest: int) -> CheckRows:
    """Make a short row, and one longer than a window, from the tokens of all rows of `data`.

    Only tokens beyond the window have labels.

    Args:
        longest: The most tokens of a row; more than the window.
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
    return CheckRows([cut_check_example(parts[0], BEYOND), long])


def thin_check_labels(example: Example, most: int) -> Example:
    """Return the example with at most `most` labels, evenly spread, including the first and the last."""
    places = np.flatnonzero(example.labels != IGNORE)
    if len(places) <= most:
        return example
    kept = places[np.linspace(0, len(places) - 1, most).astype(np.int64)]
    labels = np.full_like(example.labels, IGNORE)
    labels[kept] = example.labels[kept]
    return Example(example.ids, labels, example.columns)


def cut_check_example(example: Example, longest: int) -> Example:
    """Keep the first tokens; if none of them has a label, those up to the last label."""
    if len(example) <= longest:
        return example
    places = np.flatnonzero(example.labels != IGNORE)
    start = max(0, int(places[-1]) + 1 - longest) if len(places) and places[0] >= longest else 0
    kept = slice(start, start + longest)
    return Example(example.ids[kept], example.labels[kept], example.columns)


def list_attention_windows(model: torch.nn.Module) -> list[int]:
    """List the attention windows and chunk sizes in a model's config, smallest first, in tokens."""
    # The names alone decide: a number that the model does not use only costs a needless check.
    settings = model.config.get_text_config().to_dict()
    return sorted({size for name, size in _walk_numbers(settings, "") if _is_window(name) and size > 1})


def _is_window(name: str) -> bool:
    return ("window" in name or "chunk" in name) and "feed_forward" not in name


def _walk_numbers(settings: Any, name: str) -> Iterator[tuple[str, int]]:
    """Yield all whole numbers in nested settings, each with its path of names."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _walk_numbers(value, f"{name}.{key}")
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _walk_numbers(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool):
        yield name, settings
