"""The weights of labels, where some count more than others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tui_tuner.data.records import Example

if TYPE_CHECKING:
    from torch import Tensor


class LabelledRows(Protocol):
    """Examples by number, with the number of labels of each."""

    trained_tokens: np.ndarray


def list_label_weights(data: LabelledRows, rows: Sequence[int]) -> np.ndarray:
    """Return the sum of the weights of each example's labels: their number if all count alike."""
    weights = getattr(data, "label_weights", None)
    return (data.trained_tokens if weights is None else weights)[list(rows)]  # type: ignore[no-any-return]


def pick_label_weights(examples: Sequence[Example], keep: np.ndarray) -> Tensor | None:
    """Return the weights of the labels of examples, [K] float32; None if all labels count alike.

    Args:
        keep: bool [tokens]: where the examples, side by side, have a label.
    """
    import torch

    if all(example.weights is None for example in examples):
        return None
    every = [np.ones(len(one), dtype=np.float32) if one.weights is None else one.weights for one in examples]
    return torch.from_numpy(np.concatenate(every).astype(np.float32)[keep])
