"""An example: the ids of one training sequence, and what is to be predicted at each of its positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

IGNORE = -100  # the label of a position at which nothing is learnt; what PyTorch's cross-entropy ignores


@dataclass
class Example:
    """One training sequence. A row may give several.

    Args:
        ids: int32 [length]: the tokens that the model reads.
        labels: int32 [length]: what it is to predict at each position, an id or a class; `IGNORE` where
            nothing is learnt. They are aligned with positions: for next-token prediction, labels[i] is
            ids[i + 1].
        columns: Values of the columns that the task declares, such as a label, a group or a weight.
    """

    ids: np.ndarray
    labels: np.ndarray
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trained_tokens(self) -> int:
        """Positions with a label."""
        return int(np.count_nonzero(self.labels != IGNORE))


def next_token_labels(ids: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Labels for next-token prediction, int32 [length].

    Args:
        trained: bool [length]: which tokens are to be learnt. The first one has nothing before it that could
            predict it, so its mark has no effect.
    """
    labels = np.full(len(ids), IGNORE, dtype=np.int32)
    labels[:-1][trained[1:]] = ids[1:][trained[1:]]
    return labels


def next_token_mask(labels: np.ndarray) -> np.ndarray:
    """bool [length]: the tokens that next-token labels teach; the inverse of `next_token_labels`."""
    trained = np.zeros(len(labels), dtype=bool)
    trained[1:] = labels[:-1] != IGNORE
    return trained


__all__ = ["IGNORE", "Example", "next_token_labels", "next_token_mask"]
