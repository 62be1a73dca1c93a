"""Evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without dropout, and the mode it was in after it.

    Gradient checkpointing acts in training mode alone, so a cache of keys and values works meanwhile.
    """
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
