"""Weights of saved bottleneck adapters, put into the fusion of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from safetensors.torch import load_file
from torch.nn import Module

from tui_tuner.locales import _
from tui_tuner.methods.bottlenecks.fusing import FrozenAdapters, FusionModule
from tui_tuner.methods.bottlenecks.stored_bottlenecks import SavedBottleneck, refuse_adapter
from tui_tuner.methods.stored import WEIGHTS


def fill_adapters(model: Module, adapters: Sequence[SavedBottleneck]) -> None:
    """Copy the weights of saved adapters to their places in a model with a fusion.

    Raises:
        ConfigError: an adapter sits at other places.
    """
    found = ((name, module) for name, module in model.named_modules() if isinstance(module, FusionModule))
    places = {shorten_name(name): module for name, module in found}
    for number, adapter in enumerate(adapters):
        names = {shorten_name(name): name for name in adapter.places}
        if names.keys() != places.keys():
            other = min(names.keys() ^ places.keys())
            raise refuse_adapter(
                _("was made for other layers than this model has: they differ at {place}.", place=other),
                adapter.name,
            )
        weights = load_file(adapter.folder / WEIGHTS)
        for place, module in places.items():
            name = names[place]
            for frozen in module.fusion_adapters.values():
                assert isinstance(frozen, FrozenAdapters)
                _fill_one(frozen, number, {one: weights[f"{name}.bottleneck_{one}"] for one in _NAMES})


def shorten_name(name: str) -> str:
    """Return a place's name from its layer's number on: tasks name what is around layers differently."""
    return re.sub(r"^.*?\.(?=\d+\.)", "", name)


_NAMES = ("down.weight", "down.bias", "up.weight", "up.bias")


@torch.no_grad()
def _fill_one(frozen: FrozenAdapters, number: int, weights: dict[str, torch.Tensor]) -> None:
    before = sum(frozen.sizes[:number])
    inside = slice(before, before + frozen.sizes[number])
    frozen.down_weight[inside] = weights["down.weight"].to(frozen.down_weight)
    frozen.down_bias[inside] = weights["down.bias"].to(frozen.down_bias)
    frozen.up_weight[:, inside] = weights["up.weight"].to(frozen.up_weight)
    frozen.up_bias[number] = weights["up.bias"].to(frozen.up_bias)
