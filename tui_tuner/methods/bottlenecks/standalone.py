"""Load this folder's adapter onto its base model, with torch, transformers and safetensors alone.

    from transformers import AutoModelForSequenceClassification
    from load_adapter import load_adapter

    model = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=2)
    load_adapter(model, "this folder")

The adapter is a bottleneck adapter (arXiv 1902.00751, 2005.00247, 2110.04366) or an AdapterFusion of several
(arXiv 2005.00247). `load_adapter` puts it around modules of the model with hooks, and copies a trained head.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import Module, functional

Update = Callable[[Tensor], Tensor]
PREFIX = "base_model.model."
FUNCTIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "swish": functional.silu,
    "tanh": torch.tanh,
    "leakyrelu": functional.leaky_relu,
}


def load_adapter(model: Module, folder: str | Path) -> Module:
    """Put the adapter of a folder onto a base model, in place, and return it.

    `model.adapter_handles` are the hooks: `for one in model.adapter_handles: one.remove()` takes it off
    again.
    """
    settings = json.loads((Path(folder) / "adapter_config.json").read_text())
    places = json.loads((Path(folder) / "adapter_places.json").read_text())
    weights = load_file(str(Path(folder) / "adapter_model.safetensors"))
    weights = {name.removeprefix(PREFIX): weight for name, weight in weights.items()}
    handles = []
    for name, place in places.items():
        target = model.get_submodule(name)
        device = next(target.parameters()).device
        own = {
            part.removeprefix(f"{name}."): weights.pop(part).to(device)
            for part in sorted(weights)
            if part.startswith((f"{name}.bottleneck_", f"{name}.fusion_"))
        }
        handles += put_around(model, target, place, make_update(settings, own))
    missing = [name for name in weights if name not in model.state_dict()]
    if missing:
        raise ValueError(f"weights of the adapter fit nowhere in the model, such as {missing[0]}")
    model.load_state_dict(weights, strict=False)  # the head that was trained next to it

    model.adapter_handles = handles  # type: ignore[assignment]
    return model


def put_around(model: Module, target: Module, place: dict[str, str], update: Update) -> list[Any]:
    """Hook what the adapter computes around a module; returns the handles of the hooks."""
    role = place["role"]
    residual: list[Tensor] = []
    handles: list[Any] = []
    if place["source"]:
        source = model.get_submodule(place["source"])
        handles.append(source.register_forward_pre_hook(lambda _module, inputs: residual.append(inputs[0])))

    def after(module: Module, inputs: tuple[Any, ...], output: Tensor) -> Any:
        if role == "normed":
            return module.forward(inputs[0] + update(output).to(inputs[0].dtype), *inputs[1:])
        before = residual.pop() if place["source"] else None
        read = {"after": lambda: output, "summed": lambda: before + output, "beside": lambda: before}[role]()
        return output + update(read).to(output.dtype)

    return [*handles, target.register_forward_hook(after)]


def make_update(settings: dict[str, Any], own: dict[str, Tensor]) -> Update:
    """Return what the adapter adds, as a function of what it reads [..., width]."""
    if settings["peft_type"] == "FUSION":
        return lambda x: fuse(settings["adapters"], own, x)
    function, norm = FUNCTIONS[settings["non_linearity"]], settings["layer_norm"]
    down = own["bottleneck_down.weight"], own["bottleneck_down.bias"]
    up = own["bottleneck_up.weight"], own["bottleneck_up.bias"]

    def normalise(x: Tensor) -> Tensor:
        return functional.layer_norm(
            x, x.shape[-1:], own["bottleneck_norm.weight"], own["bottleneck_norm.bias"]
        )

    def update(x: Tensor) -> Tensor:
        x = x.to(down[0].dtype)
        x = normalise(x) if norm == "before" else x
        high = functional.linear(function(functional.linear(x, *down)), *up) * settings["scaling"]
        return normalise(high) if norm == "after" else high

    return update


def fuse(adapters: list[dict[str, Any]], own: dict[str, Tensor], x: Tensor) -> Tensor:
    """Attention over what several adapters make of x [..., width]."""
    x = x.to(own["fusion_query.weight"].dtype)
    sizes = [one["size"] for one in adapters]
    low = functional.linear(x, own["fusion_adapters.down_weight"], own["fusion_adapters.down_bias"])
    up = own["fusion_adapters.up_weight"].split(sizes, dim=-1)
    made = [
        functional.linear(FUNCTIONS[one["non_linearity"]](inner), matrix, bias) * one["scaling"]
        for one, inner, matrix, bias in zip(
            adapters, low.split(sizes, dim=-1), up, own["fusion_adapters.up_bias"], strict=True
        )
    ]
    made = torch.stack(made, dim=-2)
    query = functional.linear(x, own["fusion_query.weight"], own["fusion_query.bias"])
    keys = functional.linear(made, own["fusion_key.weight"], own["fusion_key.bias"])
    weights = torch.softmax(keys.matmul(query.unsqueeze(-1)).squeeze(-1), dim=-1)
    values = functional.linear(made, own["fusion_value.weight"])
    return weights.unsqueeze(-2).matmul(values).squeeze(-2)
