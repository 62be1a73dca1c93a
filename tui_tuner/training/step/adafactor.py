"""Adafactor (arXiv 1804.04235) with a given learning rate; keeps only row and column means of a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

EPSILON = 1e-30  # added to squared gradients
CLIP = 1.0  # an update is scaled down to this root mean square
DECAY_RATE = -0.8  # exponent of the step in the decay of second moments
HALVES = (torch.float16, torch.bfloat16)


class Adafactor(Optimizer):
    """Adafactor without momentum, relative steps and scaling by the size of parameters.

    torch's own Adafactor gives different numbers: it keeps moments in the dtype of the weights and adds its
    epsilon elsewhere. Runs that started with the Adafactor of transformers continue with this one, bit for
    bit, so its groups and states have the names and values that transformers uses.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]], lr: float) -> None:
        # Only lr and weight_decay are read here; the others are saved in checkpoints, as by transformers.
        settings = {
            "lr": lr,
            "eps": (EPSILON, 1e-3),
            "clip_threshold": CLIP,
            "decay_rate": DECAY_RATE,
            "beta1": None,
            "weight_decay": 0.0,
            "scale_parameter": False,
            "relative_step": False,
            "warmup_init": False,
        }
        super().__init__([dict(group) for group in groups], settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient; a closure is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update_parameter(parameter, group["lr"], group["weight_decay"])

    def _update_parameter(self, parameter: Parameter, rate: float, weight_decay: float) -> None:
        gradient = parameter.grad
        assert gradient is not None
        if gradient.dtype in HALVES:
            gradient = gradient.float()
        state = self.state[parameter]
        if not state:
            self._begin_state(state, gradient)
        weights = parameter.float() if parameter.dtype in HALVES else parameter
        state["step"] += 1
        # Nothing here reads RMS, but the checkpoints of transformers hold it.
        state["RMS"] = _root_mean_square(weights)
        update = _scale_gradient(state, gradient)
        update.div_((_root_mean_square(update) / CLIP).clamp_(min=1.0))
        update.mul_(rate)
        # Two additions in the order of transformers: one combined sum would differ in the last bits.
        if weight_decay:
            weights.add_(weights, alpha=-weight_decay * rate)
        weights.add_(-update)
        if weights is not parameter:
            parameter.copy_(weights)

    def _begin_state(self, state: dict[str, Any], gradient: Tensor) -> None:
        state["step"] = 0
        if gradient.dim() >= 2:
            state["exp_avg_sq_row"] = gradient.new_zeros(gradient.shape[:-1])
            state["exp_avg_sq_col"] = gradient.new_zeros(gradient.shape[:-2] + gradient.shape[-1:])
        else:
            state["exp_avg_sq"] = torch.zeros_like(gradient)


def _scale_gradient(state: dict[str, Any], gradient: Tensor) -> Tensor:
    """Return the gradient divided by the root of its second moment, which is updated in `state`."""
    decay = 1.0 - state["step"] ** DECAY_RATE
    # Without EPSILON, a gradient of zero would become 0 * infinity below.
    squared = gradient**2 + EPSILON
    if "exp_avg_sq" in state:
        moment = _as_moment(state, "exp_avg_sq", gradient)
        moment.mul_(decay).add_(squared, alpha=1.0 - decay)
        return moment.rsqrt().mul_(gradient)
    rows, columns = (_as_moment(state, f"exp_avg_sq_{name}", gradient) for name in ("row", "col"))
    rows.mul_(decay).add_(squared.mean(dim=-1), alpha=1.0 - decay)
    columns.mul_(decay).add_(squared.mean(dim=-2), alpha=1.0 - decay)
    # The outer product of both, over the mean of one, is the rank-1 matrix nearest to the whole moment.
    by_row = (rows / rows.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)
    by_column = columns.unsqueeze(-2).rsqrt()
    return torch.mul(by_row, by_column).mul_(gradient)


def _as_moment(state: dict[str, Any], name: str, gradient: Tensor) -> Tensor:
    # `load_state_dict` casts states to the dtype of the weights, but moments belong to float32 gradients.
    state[name] = moment = state[name].to(gradient)
    return moment


def _root_mean_square(tensor: Tensor) -> Tensor:
    return tensor.norm(2) / tensor.numel() ** 0.5
