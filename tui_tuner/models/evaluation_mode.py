"""Evaluation mode for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def use_evaluation_mode(model: Any) -> Iterator[None]:
    """Turn dropout off, and restore the mode that the model was in afterwards.

    Gradient checkpointing applies in training mode only, so a cache of keys and values works meanwhile.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
