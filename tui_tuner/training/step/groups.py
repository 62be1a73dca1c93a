"""Sort the trained weights into the parameter groups of an optimizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch.nn import Embedding, LayerNorm, ModuleList

if TYPE_CHECKING:
    from torch.nn import Module, Parameter

# The patterns of transformers' Trainer (`get_decay_parameter_names`), which made the groups of version 0.1.
_NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def group_parameters(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two parameter groups: weights that decay, and biases and norms, which do not.

    The groups and the order in them decide which saved state belongs to which weight. Checkpoints of all
    versions hold them in this order, including an empty group.
    """
    norms = {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if isinstance(module, LayerNorm)
        for name, _unused in module.named_parameters()
    }
    decayed: list[Parameter] = []
    others: list[Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kept = name in norms or _NOT_DECAYED.search(name.lower())
            (others if kept else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def split_by_rate(
    model: Module, groups: list[dict[str, Any]], trains_faster: Callable[[str], bool], rate: float
) -> list[dict[str, Any]]:
    """Return parameter groups with what trains faster in groups of its own behind the others (LoRA+)."""
    faster = {id(one) for name, one in model.named_parameters() if trains_faster(name)}
    if not faster:
        return groups
    found = []
    for chosen in (False, True):
        for group in groups:
            params = [one for one in group["params"] if (id(one) in faster) is chosen]
            found.append({**group, "params": params} | ({"lr": rate} if chosen else {}))
    # The first group, whose rate is shown, is never empty where anything trains at the plain rate
    return found[:2] + [group for group in found[2:] if group["params"]]


def take_matrices(
    model: Module, groups: list[dict[str, Any]], least: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the groups with the weight matrices of the model's layers, and those with everything else.

    Args:
        least: Both sides of such a matrix have at least so many rows and columns.
    """
    chosen = find_layer_matrices(model, least)
    taken, others = [], []
    for group in groups:
        inside = [one for one in group["params"] if id(one) in chosen]
        outside = [one for one in group["params"] if id(one) not in chosen]
        # Matrices never make an empty group; the others keep the two that checkpoints expect
        taken += [{**group, "params": inside}] if inside else []
        others.append({**group, "params": outside})
    return taken, others


def find_layer_matrices(model: Module, least: int) -> set[int]:
    """Return the ids of the trained matrices inside of a stack of layers, without embeddings.

    What stands outside of every stack, such as the head, decides about classes or tokens one by one; the
    papers of Muon, GaLore and APOLLO leave it, and embeddings, to AdamW.
    """
    stacks = [module for module in model.modules() if isinstance(module, ModuleList)]
    tables = {
        id(one)
        for module in model.modules()
        if isinstance(module, Embedding)
        for one in module.parameters(recurse=False)
    }
    output = getattr(model, "get_output_embeddings", lambda: None)()
    if output is not None:
        tables |= {id(one) for one in output.parameters()}
    return {
        id(one)
        for stack in stacks
        for one in stack.parameters()
        if one.requires_grad and one.dim() == 2 and min(one.shape) >= least and id(one) not in tables
    }
