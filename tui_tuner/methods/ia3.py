"""IA3 (arXiv 2205.05638): a trained factor for each output of a linear layer, through peft.

In the last layer of a feed-forward block, the factors multiply the inputs instead, as in the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_tuner.errors import ConfigError
from tui_tuner.methods.layers import (
    choose_last_layers,
    choose_target_layers,
    find_layers,
    is_transposed,
    list_layers,
    name_outside_layers,
    name_saved_modules,
)
from tui_tuner.methods.numbers.matrices import FactorNumbers
from tui_tuner.methods.peft_method import PeftMethod
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch.nn import Module

    from tui_tuner.config.schema import RunConfig


class Ia3(FactorNumbers, PeftMethod):
    """Vectors of factors on the target layers, initially 1, in float32."""

    peft_type = "IA3"
    stacks = True

    def attach(self, model: Module, config: RunConfig, peft_type: str) -> Module:
        from peft import IA3Config, get_peft_model

        method = config.method
        targets = choose_target_layers(model, method.targets)
        forward = list_feed_forward_targets(model, targets)
        every = dict(model.named_modules())
        if any(name in every for name in targets):  # full names, of some layers only
            forward = [name for name in targets if f".{name}".endswith(tuple(f".{one}" for one in forward))]
        # peft's IA3 has no `layers_to_transform`: full names select the layers
        if method.layers is not None:
            targets, forward = (
                _name_within(model, targets, method.layers),
                _name_within(model, forward, method.layers),
            )
        try:
            settings = IA3Config(
                target_modules=[*targets, *forward],
                feedforward_modules=forward,
                exclude_modules=name_outside_layers(model, method.targets),
                modules_to_save=name_saved_modules(model, peft_type) or None,
                fan_in_fan_out=is_transposed(model),
                task_type=peft_type,
            )
            model = get_peft_model(model, settings)
        except ValueError as error:
            raise ConfigError(one_line(error, 300), where="method", field="method.kind") from error
        return model


def _name_within(model: Module, names: list[str], count: int) -> list[str]:
    """Return the full names of the modules with these names in the last `count` layers."""
    inside = {
        id(module)
        for place in choose_last_layers(model, count)
        for module in find_layers(model)[place].modules()
    }
    return [
        full
        for full, module in model.named_modules()
        if id(module) in inside and any(f".{full}".endswith(f".{name}") for name in names)
    ]


def list_feed_forward_targets(model: Module, targets: list[str]) -> list[str]:
    """Return the targets that are the last layer of a feed-forward block, as `block.layer`.

    These are layers from a larger width to the model's own.
    """
    # Not the width of the embeddings, which may be narrower (ELECTRA, ALBERT)
    hidden = model.config.get_text_config().hidden_size
    found: dict[str, None] = {}
    for layer in list_layers(model):
        for name, module in layer.named_modules():
            sizes = find_linear_widths(module)
            block = name.rpartition(".")[0]
            # The output layer of attention may have wider inputs too; its block's name shows what it is
            meant = any(
                f".{name}".endswith(f".{target}") or target.endswith(f".{name}") for target in targets
            )
            if sizes is None or not meant or "attn" in block or "attention" in block.lower():
                continue
            if sizes[1] == hidden and sizes[0] > hidden:
                found[".".join(name.split(".")[-2:])] = None
    return list(found)


def find_linear_widths(module: Module) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a linear layer; None for any other module."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return int(module.in_features), int(module.out_features)
    return None


METHODS = (Ia3("ia3"),)
