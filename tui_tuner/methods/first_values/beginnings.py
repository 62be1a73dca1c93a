"""What low-rank matrices begin as: a part of the base model's weights, or what quantising lost of them.

PiSSA (arXiv 2404.02948) and OLoRA (arXiv 2406.01775) take a product of rank `r` out of each weight, and train
its two factors. The base model of such a run is therefore another one than the user's; what is saved is made
to fit the user's again, as a product of twice the rank: W - BoAo + BA = W + [B, -Bo][A; Ao].

LoftQ (arXiv 2310.08659) begins with the best product for what is lost by quantising a weight, of one round:
more rounds would quantise other weights than everybody has who loads the base model.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.attached import find_attached, remember_method
from tui_tuner.methods.numbers.matrices import TAKES_OUT
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.methods.method import Method

Split = Callable[["Tensor", int, float], tuple["Tensor", "Tensor"]]
NEEDS_ROWS = ("eva",)
NEEDS_QUANTISED = ("loftq",)
_EXACT_SIDE = 1024  # of matrices whose singular values are all computed
_ROUNDS = 16  # of the randomised decomposition of larger ones, as in PiSSA's paper


def list_low_rank(model: Module) -> list[tuple[str, Any]]:
    """Return the linear layers of a model with a low-rank adapter, by their names in the base model."""
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import ParamWrapper

    return [
        (name.removeprefix("base_model.model."), module)
        for name, module in model.named_modules()
        # fused experts have no weight of their own to begin with, split or measure
        if isinstance(module, LoraLayer) and not isinstance(module, ParamWrapper)
    ]


def begin_low_rank(method: Method, model: Module, config: RunConfig) -> None:
    """Give the matrices of an adapter that was just put on a model the first values that are asked for.

    Raises:
        ConfigError: the base model's weights do not allow it.
    """
    asked = config.method.init
    layers = list_low_rank(model)
    if any(layer.base_layer.weight.is_meta for _name, layer in layers):
        return  # a model without data, built to be counted
    if asked in TAKES_OUT:
        split = split_principal if asked == "pissa" else split_orthogonal
        remember_method(model, method)
        found = find_attached(model)
        assert found is not None
        for name, layer in layers:
            found.taken[name] = _take_out(name, layer, split)
    elif asked in NEEDS_QUANTISED:
        from tui_tuner.methods.first_values.quantising_loss import begin_with_loss

        begin_with_loss(layers, model, config)


def _take_out(name: str, layer: Any, split: Split) -> tuple[Tensor, Tensor]:
    """Move a product from a layer's weight into its adapter; return both factors, in host memory."""
    import torch

    weight, adapter = layer.base_layer.weight, layer.active_adapters[0]
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ConfigError(
            _("the weight of {name} is quantised, and nothing can be taken out of it.", name=one_line(name)),
            where="method.init",
            field="method.init",
        )
    with torch.no_grad():
        whole = weight.detach().float()
        whole = whole.T if layer.fan_in_fan_out else whole
        up, down = split(whole, layer.r[adapter], layer.scaling[adapter])
        rest = whole - layer.scaling[adapter] * (up @ down)
        weight.copy_(rest.T if layer.fan_in_fan_out else rest)
        layer.lora_B[adapter].weight.copy_(up)
        layer.lora_A[adapter].weight.copy_(down)
    return up.cpu().contiguous(), down.cpu().contiguous()


def split_principal(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """PiSSA: the product of the largest singular values, each shared alike between both factors.

    Args:
        weight: [outputs, inputs].
        scale: What the product of the factors is multiplied by.

    Returns:
        ([outputs, rank], [rank, inputs]).
    """
    import torch

    if min(weight.shape) <= _EXACT_SIDE:
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
    else:
        left, values, turned = torch.svd_lowrank(weight, q=rank, niter=_ROUNDS)
        right = turned.T
    root = (values[:rank] / scale).sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def split_orthogonal(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """OLoRA: the first columns of Q and rows of R of a QR decomposition, whatever the scale (equation 4).

    Returns:
        ([outputs, rank], [rank, inputs]).
    """
    import torch

    orthogonal, triangle = torch.linalg.qr(weight)
    return orthogonal[:, :rank], triangle[:rank]


@contextlib.contextmanager
def write_for_original(model: Module, stabilised: bool) -> Iterator[dict[str, Tensor] | None]:
    """Within it, an adapter whose beginning was taken out of the base model has settings of twice the rank.

    Args:
        stabilised: Updates are divided by the square root of the rank.

    Yields:
        Its tensors for the base model as it was; None where nothing was taken out.
    """
    import torch

    found = find_attached(model)
    if found is None or not found.taken:
        yield None
        return
    settings = model.active_peft_config
    before = dict(vars(settings))
    tensors = dict(model.state_dict())
    layers = dict(list_low_rank(model))
    adapter = model.active_adapter  # not a frozen one below it
    for name, (up, down) in found.taken.items():
        layer = layers[name]
        place = f"base_model.model.{name}"
        ups, downs = layer.lora_B[adapter].weight, layer.lora_A[adapter].weight
        tensors[f"{place}.lora_B.{adapter}.weight"] = torch.cat([ups.detach().cpu().float(), -up], dim=1)
        tensors[f"{place}.lora_A.{adapter}.weight"] = torch.cat([downs.detach().cpu().float(), down], dim=0)
    # the scale of the update stays: alpha / rank, or alpha / sqrt(rank)
    more = math.sqrt(2) if stabilised else 2
    settings.r, settings.lora_alpha = 2 * settings.r, more * settings.lora_alpha
    settings.rank_pattern = {name: 2 * rank for name, rank in settings.rank_pattern.items()}
    settings.alpha_pattern = {name: more * alpha for name, alpha in settings.alpha_pattern.items()}
    try:
        yield tensors
    finally:
        vars(settings).update(before)
