"""GaLore (arXiv 2403.03507) and APOLLO (arXiv 2412.05270): AdamW with its moments in a few dimensions.

Both are for weight matrices. A gradient of m x n numbers is projected along its shorter side, to `rank`
dimensions, and the moments are those of the projection. All state is in plain tensors, which a checkpoint
can hold without running code when it is read, and in float32, whatever the dtype of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

EPSILON = 1e-8
# Of an update that came from few dimensions. GaLore: 2 in its fine-tuning with rank 8 (table 4 and appendix
# D.1). APOLLO: the square root of 32, as the authors fine-tune with rank 16.
GALORE_SCALE = 2.0
APOLLO_SCALE = math.sqrt(32.0)
# APOLLO's steps grow by no more than this from one to the next (section 3.3; from Fira, arXiv 2410.01623)
MOST_GROWTH = 1.01


class LowRankAdamW(Optimizer):
    """AdamW whose moments are of projected gradients; subclasses say how they are projected, and used.

    Args:
        groups: Groups of matrices, each with both sides longer than `rank`.
        rank: Dimensions of the moments along the shorter side.
        interval: Steps after which other dimensions are chosen.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        lr: float,
        betas: tuple[float, float],
        rank: int,
        interval: int,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "weight_decay": 0.0, "rank": rank, "interval": interval}
        super().__init__([dict(group) for group in groups], settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient; a closure is not called."""
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                if parameter.grad is not None:
                    self._update_parameter(parameter, group, number)

    def _update_parameter(self, parameter: Parameter, group: dict[str, Any], number: int) -> None:
        assert parameter.grad is not None
        gradient, state = parameter.grad.float(), self.state[parameter]
        if not state:
            # Random directions differ between matrices; saved, so that they stay with theirs
            state["step"], state["number"] = 0, number
        directions = self.find_directions(gradient, state, group)
        state["step"] += 1
        low = project(gradient, directions)
        if "exp_avg" not in state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(low), torch.zeros_like(low)
        (beta1, beta2), step = group["betas"], state["step"]
        first, second = state["exp_avg"], state["exp_avg_sq"]
        first.lerp_(low, 1 - beta1)
        second.mul_(beta2).addcmul_(low, low, value=1 - beta2)
        scaled = first / second.sqrt().add_(EPSILON)
        update = self.make_update(gradient, low, scaled, directions, state)
        # Corrected for moments that begin as zero only here: what limits growth must not see it
        correction = math.sqrt(1 - beta2**step) / (1 - beta1**step)
        if group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.to(parameter.dtype), alpha=-group["lr"] * correction)

    def find_directions(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """Return what the next step projects with: [shorter side, rank], in float32."""
        raise NotImplementedError

    def make_update(
        self, gradient: Tensor, low: Tensor, scaled: Tensor, directions: Tensor, state: dict[str, Any]
    ) -> Tensor:
        """Return the update, as large as the gradient, before it is multiplied by the rate.

        Args:
            low: The projected gradient. scaled: AdamW's step for it, without the correction of its bias.
        """
        raise NotImplementedError


class GaLore(LowRankAdamW):
    """Steps in the directions in which the gradient of one step in `interval` is largest."""

    def find_directions(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        held: Tensor | None = state.get("directions")
        if held is None or state["step"] % group["interval"] == 0:
            held = find_largest_directions(gradient, group["rank"], held)
            state["directions"] = held
        return held

    def make_update(
        self, gradient: Tensor, low: Tensor, scaled: Tensor, directions: Tensor, state: dict[str, Any]
    ) -> Tensor:
        return project_back(scaled, directions, gradient).mul_(GALORE_SCALE)


class Apollo(LowRankAdamW):
    """Steps along the whole gradient, whose rows or columns get the size that AdamW would give them.

    The sizes come from a random projection (algorithm 1 of the paper). Its directions are not kept, but drawn
    again from a seed in each step.
    """

    def find_directions(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        turn = state["step"] // group["interval"]
        generator = torch.Generator(gradient.device).manual_seed(state["number"] * 1_000_003 + turn)
        drawn = torch.randn((min(gradient.shape), group["rank"]), generator=generator, device=gradient.device)
        return drawn.div_(math.sqrt(group["rank"]))

    def make_update(
        self, gradient: Tensor, low: Tensor, scaled: Tensor, directions: Tensor, state: dict[str, Any]
    ) -> Tensor:
        # A factor for each row of a tall matrix, and for each column of a wide one
        side = 1 if is_tall(gradient) else 0
        factors = scaled.norm(dim=side, keepdim=True) / (low.norm(dim=side, keepdim=True) + EPSILON)
        update = gradient * factors
        norm = update.norm()
        if "norm" in state:
            # On the device: a comparison on the host would wait for all work queued there
            shrink = (norm / (state["norm"] + EPSILON) / MOST_GROWTH).clamp_(min=1.0)
            update.div_(shrink)
            norm = norm / shrink
        state["norm"] = norm
        return update.mul_(APOLLO_SCALE)


def is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] >= matrix.shape[1]


def project(gradient: Tensor, directions: Tensor) -> Tensor:
    """Return the gradient in few dimensions: [m, rank] of a tall matrix, [rank, n] of a wide one."""
    return gradient @ directions if is_tall(gradient) else directions.T @ gradient


def project_back(low: Tensor, directions: Tensor, gradient: Tensor) -> Tensor:
    """Return what is in few dimensions as a matrix of the gradient's shape."""
    return low @ directions.T if is_tall(gradient) else directions @ low


def find_largest_directions(gradient: Tensor, rank: int, before: Tensor | None) -> Tensor:
    """Return the leading singular vectors of the shorter side, [shorter side, rank].

    Args:
        before: The directions so far; they stay if the gradient is not finite.
    """
    # They are the eigenvectors of a matrix as large as the shorter side, which takes far less time and
    # memory than all singular vectors of the gradient.
    square = gradient.T @ gradient if is_tall(gradient) else gradient @ gradient.T
    if not bool(torch.isfinite(square).all()):
        first = torch.eye(len(square), rank, device=gradient.device)
        return first if before is None else before
    return torch.linalg.eigh(square).eigenvectors[:, -rank:].flip(1).contiguous()
