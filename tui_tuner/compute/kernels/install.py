"""Replacement of model parts by kernels, wherever tests show that they compute the same.

A part is recognised by its structure and by tests, not by the name of its class. Weights, names and saved
files are untouched: only the function that a module calls changes. On a CPU nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from tui_tuner.compute.kernels import gated_product, liger, norm, rotary
from tui_tuner.compute.kernels.available_kernels import find_liger_problem, find_liger_version
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.compute.kernels.probe import Numbers, find_model_device, list_probed_formats
from tui_tuner.locales import _
from tui_tuner.models.device import Device


def install_kernels(
    model: torch.nn.Module, device: Device, autocast: torch.dtype | None = None, checkpointed: bool = False
) -> list[ChosenKernel]:
    """Replace parts by kernels with fewer launches if they are exact; returns what was replaced, or why not.

    Draws nothing from the global random state.

    Args:
        device: The device of the run.
        autocast: The dtype of autocast; None without it.
        checkpointed: Layers recompute their activations, so keeping fewer of them saves nothing.
    """
    if device.kind != "cuda":
        return []
    place = find_model_device(model)
    numbers = list_probed_formats([one.dtype for one in model.parameters()], autocast)
    fast = liger.is_liger_usable(device)
    return [
        _install_norms(model, place, numbers),
        _install_rotations(model, place, numbers, fast, find_liger_problem(device)),
        _install_products(model, place, numbers, fast, checkpointed, find_liger_problem(device)),
    ]


def _install_norms(model: torch.nn.Module, place: torch.device, numbers: list[Numbers]) -> ChosenKernel:
    found = [module for module in model.modules() if norm.looks_like_norm(module)]

    def key(module: torch.nn.Module) -> Any:
        weight = module._parameters.get("weight")
        # Any float may be the epsilon, so norms with other floats are another kind.
        floats = tuple(one for one in vars(module).values() if type(one) is float)
        return type(module), None if weight is None else weight.shape, floats

    kinds = _prove_each(found, key, lambda module: norm.find_norm_kind(module, place, numbers))
    for module, kind in kinds:
        module.forward = partial(norm.forward_norm, module, module.forward, kind)
    if kinds:
        return ChosenKernel("norm", "torch _fused_rms_norm", "", len(kinds))
    if any(isinstance(module, torch.nn.LayerNorm) for module in model.modules()):
        return ChosenKernel("norm", "torch layer_norm", _("LayerNorm is already a single kernel."))
    return ChosenKernel("norm", "", _("No norm of this model matched what the kernel computes."))


def _install_rotations(
    model: torch.nn.Module, place: torch.device, numbers: list[Numbers], fast: bool, why_not: str
) -> ChosenKernel:
    width, rotated = _find_head_width(model)
    found = [module for module in model.modules() if rotary.list_rotating_names(module)] if width else []

    def prove(module: torch.nn.Module) -> Any:
        function: Any = rotary.find_innermost_function(type(module).forward)
        replaced = []
        for name in rotary.list_rotating_names(module):
            stock = function.__globals__[name]
            ours = rotary.prove_rotation(stock, width, rotated, place, numbers, fast)
            if ours is not None:
                replaced.append((name, ours))
        return tuple(replaced) or None

    kinds = _prove_each(found, type, prove)
    for module, replaced in kinds:
        module.forward = partial(rotary.forward_rotary, module, replaced)
    if not kinds:
        return ChosenKernel("rotary", "", _("No rotary embedding of this model matched a supported one."))
    if any(ours.fast for _unused, replaced in kinds for _name, ours in replaced):
        return ChosenKernel("rotary", _name_liger(), "", len(kinds))
    return ChosenKernel("rotary", "PyTorch", _explain_no_liger(why_not), len(kinds))


def _install_products(
    model: torch.nn.Module,
    place: torch.device,
    numbers: list[Numbers],
    fast: bool,
    checkpointed: bool,
    why_not: str,
) -> ChosenKernel:
    if checkpointed and not fast:
        why = _("Layers already recompute their activations, so keeping fewer of them saves nothing.")
        return ChosenKernel("mlp", "", " ".join((why, _explain_no_liger(why_not))))

    def key(module: torch.nn.Module) -> Any:
        sizes = tuple(
            (name, gated_product.find_linear_size(child)) for name, child in module.named_children()
        )
        return type(module), sizes

    found = [module for module in model.modules() if gated_product.looks_gated(module)]
    kinds = _prove_each(
        found, key, lambda module: gated_product.find_gated_kind(module, place, numbers, fast)
    )
    # Only Liger's kernel saves launches; the plain steps save memory alone.
    if checkpointed:
        kinds = [(module, kind) for module, kind in kinds if kind.fast]
    for module, kind in kinds:
        module.forward = partial(gated_product.forward_gated, module, module.forward, kind)
    if not kinds:
        return ChosenKernel("mlp", "", _("No feed-forward layer of this model matched a gated one."))
    if any(kind.fast for _unused, kind in kinds):
        return ChosenKernel("mlp", _name_liger(), "", len(kinds))
    return ChosenKernel("mlp", "PyTorch", _explain_no_liger(why_not), len(kinds))


def _prove_each(
    modules: Iterable[torch.nn.Module], key: Callable[[Any], Any], prove: Callable[[Any], Any]
) -> list[tuple[Any, Any]]:
    """Return the modules with a proved kind; modules with equal keys are tested once."""
    proved: dict[Any, Any] = {}
    found = []
    for module in modules:
        alike = key(module)
        if alike not in proved:
            proved[alike] = prove(module)
        if proved[alike] is not None:
            found.append((module, proved[alike]))
    return found


def _find_head_width(model: torch.nn.Module) -> tuple[int, int]:
    """Return the dimensions of a head, and how many are rotated; (0, 0) if the config does not tell."""
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


def _name_liger() -> str:
    return f"Liger {find_liger_version()}"


def _explain_no_liger(why_not: str) -> str:
    return _("Liger: {why}.", why=why_not) if why_not else _("Liger's kernel did not give the same results.")


__all__ = ["install_kernels"]
