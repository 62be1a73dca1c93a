"""Norm tuning (arXiv 2312.11420): a trained copy in place of each norm, through peft."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.layers import (
    choose_last_layers,
    find_final_norms,
    find_layers,
    find_stacks,
    list_layers,
    name_saved_modules,
)
from tui_tuner.methods.numbers.update_shapes import NormNumbers
from tui_tuner.methods.peft_method import PeftMethod, wrap_peft_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig
    from tui_tuner.models.facts import ModelFacts


class NormTuning(NormNumbers, PeftMethod):
    """Copies of the norms, trained in float32."""

    peft_type = "LN_TUNING"

    def check_model(self, config: RunConfig, facts: ModelFacts) -> None:
        if facts.verified and not facts.norm_parameters:
            raise _refuse_plain()

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import LNTuningConfig

        kept = name_saved_modules(model, peft_type)
        names = name_norms(model, config.method.layers, kept)
        if not names:
            raise _refuse_plain()
        settings = LNTuningConfig(target_modules=names, modules_to_save=kept or None, task_type=peft_type)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a type of layer whose inputs peft cannot name
            return widen_copies(wrap_peft_model(model, settings))

    def continue_adapter(self, base: Module, folder: Path) -> Module:
        return widen_copies(super().continue_adapter(base, folder))


def _refuse_plain() -> ConfigError:
    return ConfigError(
        _("the norms of this model have no weights, so there is nothing to train."),
        where="method.kind",
        field="method.kind",
        hint=_("Use lora."),
    )


def name_norms(model: Module, layers: int | None, kept: list[str]) -> list[str]:
    """Return names by which peft finds the norms: their last parts, where nothing else is called so.

    Args:
        layers: Only those of the last so many layers, and after them; None is all, with the embeddings'.
        kept: Modules that are trained whole, whose norms are trained anyway.
    """
    if layers is None:
        norms = [norm for stack in find_stacks(model) for norm in find_final_norms(model, stack)]
        parts = [*list_layers(model), *norms, *_find_embedding_norms(model)]
    else:
        stack = find_layers(model)
        chosen_places = choose_last_layers(model, layers)
        parts = [*(stack[place] for place in chosen_places), *find_final_norms(model)]
    chosen = {id(one) for part in parts for one in part.modules()}
    names = [
        name
        for name, one in model.named_modules()
        if _is_norm(one) and id(one) in chosen and not any(part in kept for part in name.split("."))
    ]
    short = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    alike = [name for name, _unused in model.named_modules() if name.rpartition(".")[2] in short]
    return short if alike == names else names


def _find_embedding_norms(model: Module) -> list[Module]:
    import torch

    found = []
    for module in model.modules():
        children = list(module.children())
        if any(isinstance(child, torch.nn.Embedding) for child in children):
            found += [child for child in children if _is_norm(child)]
    return found


def _is_norm(module: Module) -> bool:
    weight = module._parameters.get("weight")
    return "norm" in type(module).__name__.lower() and weight is not None and weight.dim() == 1


def widen_copies(model: Module) -> Module:
    """Train the copies in float32, whatever the model's own norms have: 16 bits lose small steps near 1."""
    import torch
    from peft.tuners.ln_tuning.layer import LNTuningLayer

    for layer in model.modules():
        if not isinstance(layer, LNTuningLayer):
            continue
        for copy in layer.ln_tuning_layers.values():
            if copy.weight.dtype != torch.float32:
                copy.float()
                copy.register_forward_pre_hook(_widen_input)
                copy.register_forward_hook(_narrow_output)
    return model


def _widen_input(module: Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """PyTorch's own layer norm takes one dtype; autocast brings it about by itself."""
    import torch

    x = inputs[0]
    if not isinstance(module, torch.nn.LayerNorm) or torch.is_autocast_enabled(x.device.type):
        return None
    module._given = x.dtype  # type: ignore[assignment]
    return (x.float(), *inputs[1:])


def _narrow_output(module: Module, inputs: tuple[Any, ...], result: Tensor) -> Tensor:
    """Return what the model's own norm would have returned, in its dtype."""
    import torch

    x = inputs[0]
    if isinstance(module, torch.nn.LayerNorm):
        # under autocast it gives float32 in any case
        return result if torch.is_autocast_enabled(x.device.type) else result.to(module._given)
    return result.to(x.dtype)


METHODS = (NormTuning("ln_tuning"),)
