"""Rows as an epoch of masked language modelling reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.masking.hiding import HidingRule, hide_tokens, make_generator
from tui_tuner.data.records import Example

REMEMBERED = 1024  # hidden examples: those of a step are counted, and then laid out


class MaskedRows:
    """Rows with tokens hidden by (seed, epoch, row) alone, drawn where they are read.

    Args:
        data: Examples whose labels are units (`hiding`).
        epoch: None for held-out rows, which are hidden alike in each evaluation.
    """

    def __init__(self, data: Any, rule: HidingRule, seed: int, epoch: int | None) -> None:
        self.data, self.rule, self.seed, self.epoch = data, rule, seed, epoch
        self.lengths: np.ndarray = data.lengths
        self._remembered: dict[int, Example] = {}
        # How many tokens are hidden is drawn, so only those of examples that are asked for are counted
        self.trained_tokens: Any = _Counts(self)
        self._counts = np.full(len(data), -1, dtype=np.int32)
        # All labels of an example count alike here, as only whole documents have weights.
        weights = getattr(data, "label_weights", None)
        each = None if weights is None else weights / np.maximum(data.trained_tokens, 1)
        self.label_weights: Any = None if each is None else _Counts(self, each)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Example:
        row = range(len(self))[index]
        found = self._remembered.get(row)
        if found is None:
            found = hide_tokens(self.data[row], self.rule, make_generator(self.seed, row, self.epoch))
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[row] = found
            self._counts[row] = found.trained_tokens
        return found

    def count_hidden(self, rows: Sequence[int]) -> np.ndarray:
        """Count the tokens to guess in some examples."""
        asked = np.asarray(rows, dtype=np.int64)
        for row in asked[self._counts[asked] < 0].tolist():
            self[row]
        counts: np.ndarray = self._counts[asked]
        return counts

    def row_of_example(self, index: int) -> int:
        """Return the number of the store's row that an example came from."""
        data: TokenizedRows = self.data
        return data.row_of_example(index)


class _Counts:
    """An array of counts that are drawn where they are read, each multiplied by a weight if there are any."""

    def __init__(self, rows: MaskedRows, weights: np.ndarray | None = None) -> None:
        self._rows, self._weights = rows, weights

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self[[int(index)]][0]
        counts = self._rows.count_hidden(np.arange(len(self))[index].tolist())
        return counts if self._weights is None else counts * self._weights[index]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)
