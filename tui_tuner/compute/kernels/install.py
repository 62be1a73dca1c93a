"""Kernels in the place of parts of a model, wherever they prove to compute the same.

A part is found by how it is made, and proved by trying, not by the name of its class. Weights, names and
saved files are untouched: what changes is the function that a module calls. On a processor nothing is
replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from tui_tuner.compute.kernels import gated, liger, norm, rotary
from tui_tuner.compute.kernels.available import liger_problem, liger_version
from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.compute.kernels.probe import Numbers, device_of, numbers_of
from tui_tuner.locales import _
from tui_tuner.models.device import Device


def install_kernels(
    model: Any, device: Device, autocast: Any = None, checkpointed: bool = False
) -> list[Chosen]:
    """Replace what proves exact by kernels with fewer launches; what was replaced, and what was not and why.

    Draws nothing from the global random state.

    Args:
        device: What the run computes on.
        autocast: The dtype that autocast computes in; None without it.
        checkpointed: Layers compute their activations again, so that keeping fewer of them gains nothing.
    """
    if device.kind != "cuda":
        return []
    place = device_of(model)
    numbers = numbers_of([one.dtype for one in model.parameters()], autocast)
    fast = liger.usable(device)
    return [
        _norms(model, place, numbers),
        _rotations(model, place, numbers, fast, liger_problem(device)),
        _products(model, place, numbers, fast, checkpointed, liger_problem(device)),
    ]


def _norms(model: Any, place: Any, numbers: list[Numbers]) -> Chosen:
    found = [module for module in model.modules() if norm.looks_like_norm(module)]

    def key(module: Any) -> Any:
        weight = module._parameters.get("weight")
        floats = tuple(one for one in vars(module).values() if type(one) is float)
        return type(module), None if weight is None else weight.shape, floats

    kinds = _each(found, key, lambda module: norm.kind_of(module, place, numbers))
    for module, kind in kinds:
        module.forward = partial(norm.forward, module, module.forward, kind)
    if kinds:
        return Chosen("norm", "torch _fused_rms_norm", "", len(kinds))
    if any(isinstance(module, torch.nn.LayerNorm) for module in model.modules()):
        return Chosen("norm", "torch layer_norm", _("LayerNorm is one kernel as it is."))
    return Chosen("norm", "", _("No norm of this model proved to be one that a kernel computes."))


def _rotations(model: Any, place: Any, numbers: list[Numbers], fast: bool, why_not: str) -> Chosen:
    width, rotated = _head_width(model)
    found = [module for module in model.modules() if rotary.rotating_names(module)] if width else []

    def prove(module: Any) -> Any:
        function: Any = type(module).forward
        replaced = []
        for name in rotary.rotating_names(module):
            stock = function.__globals__[name]
            ours = rotary.prove(stock, width, rotated, place, numbers, fast)
            if ours is not None:
                replaced.append((name, ours))
        return tuple(replaced) or None

    kinds = _each(found, type, prove)
    for module, replaced in kinds:
        module.forward = partial(rotary.forward, module, replaced)
    if not kinds:
        return Chosen("rotary", "", _("No rotation of this model proved to be one that is known here."))
    if any(ours.fast for _unused, replaced in kinds for _name, ours in replaced):
        return Chosen("rotary", _liger(), "", len(kinds))
    return Chosen("rotary", "PyTorch", _without_liger(why_not), len(kinds))


def _products(
    model: Any, place: Any, numbers: list[Numbers], fast: bool, checkpointed: bool, why_not: str
) -> Chosen:
    if checkpointed and not fast:
        why = _("Layers compute again what they do not keep, so keeping less gains nothing.")
        return Chosen("mlp", "", " ".join((why, _without_liger(why_not))))

    def key(module: Any) -> Any:
        sizes = tuple((name, gated.size_of(child)) for name, child in module.named_children())
        return type(module), sizes

    found = [module for module in model.modules() if gated.looks_gated(module)]
    kinds = _each(found, key, lambda module: gated.kind_of(module, place, numbers, fast))
    if checkpointed:
        kinds = [(module, kind) for module, kind in kinds if kind.fast]
    for module, kind in kinds:
        module.forward = partial(gated.forward, module, module.forward, kind)
    if not kinds:
        return Chosen("mlp", "", _("No feed-forward layer of this model proved to be a gated one."))
    if any(kind.fast for _unused, kind in kinds):
        return Chosen("mlp", _liger(), "", len(kinds))
    return Chosen("mlp", "PyTorch", _without_liger(why_not), len(kinds))


def _each(
    modules: Iterable[Any], key: Callable[[Any], Any], prove: Callable[[Any], Any]
) -> list[tuple[Any, Any]]:
    """Modules with what was proved of them; those that are made alike are tried once."""
    proved: dict[Any, Any] = {}
    found = []
    for module in modules:
        alike = key(module)
        if alike not in proved:
            proved[alike] = prove(module)
        if proved[alike] is not None:
            found.append((module, proved[alike]))
    return found


def _head_width(model: Any) -> tuple[int, int]:
    """Dimensions of a head, and those of them that are rotated; (0, 0) where the config does not say."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    hidden = getattr(config, "hidden_size", None)
    width = getattr(config, "head_dim", None)
    if not isinstance(width, int):
        width = hidden // heads if isinstance(hidden, int) and isinstance(heads, int) and heads else 0
    share = getattr(config, "partial_rotary_factor", None)
    settings = getattr(config, "rope_parameters", None)
    if share is None and isinstance(settings, dict):
        share = settings.get("partial_rotary_factor")
    rotated = int(width * share) if isinstance(share, float) else width
    return (width, rotated) if rotated >= 2 and rotated % 2 == 0 else (0, 0)


def _liger() -> str:
    return f"Liger {liger_version()}"


def _without_liger(why_not: str) -> str:
    return _("Liger: {why}.", why=why_not) if why_not else _("Liger's kernel did not prove exact.")


__all__ = ["install_kernels"]
