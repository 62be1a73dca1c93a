"""The load-balancing loss of a mixture of experts, if the model's config asks for it.

transformers computes it in the forward pass (`output_router_logits`), but adds it only to its own loss. It is
taken from there, so the formula is the model's. It covers all tokens of a forward pass together, so a batch
of several micro-batches gets the mean of theirs, weighted by their labels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tui_tuner.compute.encoders import unwrap_model

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COUNTS_ONLY = "tui_tuner_counts_only"  # marks a mask that says which tokens count, not what they attend to
_COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")


def find_router_coefficient(model: torch.nn.Module) -> float | None:
    """Find the factor of the router loss; 0 if the config does not ask for it, None if it is unknown."""
    inner = unwrap_model(model)
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
def catch_router_loss(model: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Collect the router loss of each forward pass within the context, a scalar with its gradient."""
    caught: list[Any] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        found = getattr(output, "aux_loss", None)
        if found is not None:
            caught.append(found)

    hook = unwrap_model(model).register_forward_hook(keep)
    try:
        yield caught
    finally:
        hook.remove()


def make_counting_mask(ids: Tensor, filler: int) -> Tensor:
    """Return a mask like ids [1, T] of the tokens that count for the router loss: all but the filler."""
    import torch

    # Marked, so that no attention mask is made from it (`make_padding_mask`): that would have T x T elements,
    # and finding out that none is needed would wait for the device.
    if not filler and not ids.is_cuda:
        return ids.new_ones(ids.shape)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, ids.shape[1] - filler :] = False
    setattr(mask, COUNTS_ONLY, True)
    return mask
