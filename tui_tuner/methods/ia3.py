"""IA3 (arXiv 2205.05638): a trained factor for each output of a linear layer, through peft.

In the layer that leads out of a feed-forward block the factors multiply its inputs, as in the paper.
"""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.methods.lora import last_layers, outside_layers, saved_modules, target_names, transposed
from tui_tuner.methods.weights import decoder_layers
from tui_tuner.text import one_line


def attach_ia3(model: Any, config: RunConfig, peft_type: str) -> Any:
    """Freeze the model and put a vector of factors, at first 1 and in float32, on the target layers."""
    from peft import IA3Config, get_peft_model

    method = config.method
    targets = target_names(model, method.targets)
    forward = feed_forward_outputs(model, targets)
    if method.layers is not None:
        targets, forward = _within(model, targets, method.layers), _within(model, forward, method.layers)
    try:
        settings = IA3Config(
            target_modules=[*targets, *forward],
            feedforward_modules=forward,
            exclude_modules=outside_layers(model, method.targets),
            modules_to_save=saved_modules(model, peft_type) or None,
            fan_in_fan_out=transposed(model),
            task_type=peft_type,
        )
        model = get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigError(one_line(error, 300), where="method", field="method.kind") from error
    return model


def _within(model: Any, names: list[str], count: int) -> list[str]:
    """The full names of the modules of these names in the last `count` layers."""
    inside = {
        id(module) for place in last_layers(model, count) for module in decoder_layers(model)[place].modules()
    }
    return [
        full
        for full, module in model.named_modules()
        if id(module) in inside and any(full.endswith(f".{name}") for name in names)
    ]


def feed_forward_outputs(model: Any, targets: list[str]) -> list[str]:
    """The targets that lead out of a feed-forward block, as `block.layer`: from another width to the model's.

    The layer that leads out of attention may have another width too, and is told by the name of its block.
    """
    hidden = model.config.get_text_config().hidden_size  # embeddings may be narrower (ELECTRA, ALBERT)
    found: dict[str, None] = {}
    for layer in decoder_layers(model):
        for name, module in layer.named_modules():
            sizes = widths(module)
            block = name.rpartition(".")[0]
            meant = any(f".{name}".endswith(f".{target}") for target in targets)
            if sizes is None or not meant or "attn" in block or "attention" in block:
                continue
            if sizes[1] == hidden and sizes[0] > hidden:
                found[".".join(name.split(".")[-2:])] = None
    return list(found)


def widths(module: Any) -> tuple[int, int] | None:
    """(inputs, outputs) of a linear layer; None for any other module."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return int(module.in_features), int(module.out_features)
    return None
