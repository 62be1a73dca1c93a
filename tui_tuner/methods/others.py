"""LoHa and VeRA, through peft."""

from __future__ import annotations

from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.methods.lora import last_layers, outside_layers, saved_modules, target_names, transposed
from tui_tuner.methods.weights import decoder_layers
from tui_tuner.text import one_line


def attach_loha(model: Any, config: RunConfig, peft_type: str) -> Any:
    """Freeze the model; updates are Hadamard products of two low-rank products (arXiv 2108.06098)."""
    from peft import LoHaConfig

    method = config.method
    model = _attached(
        model, config, LoHaConfig(r=method.rank, alpha=method.alpha, **_where(model, config, peft_type))
    )
    for module in model.modules():
        if hasattr(module, "module_dropout"):
            # peft leaves the update out where a random number is not above this, and 0 can be drawn
            module.module_dropout = dict.fromkeys(module.module_dropout, -1.0)
    return model


def attach_vera(model: Any, config: RunConfig, peft_type: str) -> Any:
    """Freeze the model; vectors scale one pair of random matrices for all layers (arXiv 2310.11454)."""
    from peft import VeraConfig

    method = config.method
    settings = VeraConfig(
        r=method.rank,
        vera_dropout=method.dropout,
        projection_prng_key=config.training.seed,
        fan_in_fan_out=transposed(model),
        **_inside(model, _where(model, config, peft_type)),
    )
    return _attached(model, config, settings)


def _inside(model: Any, where: dict[str, Any]) -> dict[str, Any]:
    """The same by whole names: peft's VeRA can leave out no modules that have the name of a target."""
    if where.pop("exclude_modules") is not None:
        inside = {id(module) for module in decoder_layers(model).modules()}
        names = set(where["target_modules"])
        where["target_modules"] = [
            name
            for name, module in model.named_modules()
            if id(module) in inside and name.rpartition(".")[2] in names
        ]
    return where


def _where(model: Any, config: RunConfig, peft_type: str) -> dict[str, Any]:
    """Settings that name the layers."""
    method = config.method
    found: dict[str, Any] = {
        "target_modules": target_names(model, method.targets),
        "exclude_modules": outside_layers(model, method.targets),
        "modules_to_save": saved_modules(model, peft_type) or None,
        "task_type": peft_type,
    }
    if method.layers is not None:
        found["layers_to_transform"] = last_layers(model, method.layers)
    return found


def _attached(model: Any, config: RunConfig, settings: Any) -> Any:
    from peft import get_peft_model

    try:
        return get_peft_model(model, settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(one_line(error, 300), where="method.kind", hint=_("Use lora.")) from error
