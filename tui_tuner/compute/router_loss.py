"""The loss that keeps the experts of a mixture equally busy, where the model's own config asks for it.

transformers computes it in the forward pass (`output_router_logits`), and adds it to a loss of its own only.
It is taken from there, so its formula is the model's. It looks at all tokens of a forward pass together, so a
batch in several micro-batches has the mean of theirs, weighted by what each has to learn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tui_tuner.compute.encoders import plain_model

COUNTS_ONLY = "tui_tuner_counts_only"  # marks a mask that says which tokens count, and nothing of attention
_COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")


def router_coefficient(model: Any) -> float | None:
    """What the router's loss is multiplied by; 0 where none is asked for, None where that is not known."""
    inner = plain_model(model)
    settings = inner.config.get_text_config()
    if not (
        getattr(settings, "output_router_logits", False)
        or getattr(inner.config, "output_router_logits", False)
    ):
        return 0.0
    for holder in (inner, settings):
        for name in _COEFFICIENTS:
            value = getattr(holder, name, None)
            if isinstance(value, int | float):
                return float(value)
    return None


@contextlib.contextmanager
def catch_router_loss(model: Any) -> Iterator[list[Any]]:
    """Collect the router's loss of each forward pass, a scalar with its gradient."""
    caught: list[Any] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        found = getattr(output, "aux_loss", None)
        if found is not None:
            caught.append(found)

    hook = plain_model(model).register_forward_hook(keep)
    try:
        yield caught
    finally:
        hook.remove()


def counting_mask(ids: Any, filler: int) -> Any:
    """A mask like ids [1, T] of the tokens that count for the router's loss: all but the filler at the end.

    It is marked where no mask for attention must be made of it (`attention.register`): that would have T x T
    places, and to see that it needs none the device is asked.
    """
    import torch

    if not filler and not ids.is_cuda:
        return ids.new_ones(ids.shape)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, ids.shape[1] - filler :] = False
    setattr(mask, COUNTS_ONLY, True)
    return mask
