"""LoRA adapters combined by weight into one, through peft's `add_weighted_adapter`.

That computes with the adapters' matrices alone. So no base model is loaded: peft gets modules of the right
shapes whose weights are one number each, and an 8B model's adapters are combined in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.methods.stored import WEIGHTS, Stored

if TYPE_CHECKING:
    from torch import Tensor

WAYS = {  # with peft's words for them
    "linear": "linear",
    "cat": "cat",
    "svd": "svd",
    "ties": "ties",
    "dare": "dare_linear",
    "dare_ties": "dare_ties",
}
SPARSE = ("ties", "dare", "dare_ties")  # these read a density
SAME_RANK = ("linear", *SPARSE)  # these add matrices of one shape
_PREFIX = "base_model.model."
_NAME = "combined"
_DOWN = ".lora_A.weight"


@dataclass(frozen=True)
class Recipe:
    """How adapters are combined.

    Args:
        weights: Of each adapter; they may be negative, and need not sum to 1.
        way: A name of `WAYS`.
        density: The share of numbers that ties and dare keep.
        rank: Of the result of svd; 0 is the largest of the adapters'.
        sign: How ties elects a sign: by their sum (`total`), or by how many have it (`frequency`).
        seed: Of what dare drops.
    """

    weights: tuple[float, ...]
    way: str = "linear"
    density: float = 0.5
    rank: int = 0
    sign: str = "total"
    seed: int = 42


def combine_stored(
    folders: Sequence[Path], stored: Sequence[Stored], recipe: Recipe
) -> tuple[Any, dict[str, Tensor]]:
    """Return the settings and the tensors of the combination."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    model: Any = None
    names = [f"adapter_{place}" for place in range(len(folders))]
    base = _make_modules(stored)
    for name, folder in zip(names, folders, strict=True):
        settings = LoraConfig.from_pretrained(str(folder))
        settings.task_type = None  # there is no model whose task it could be
        if model is None:
            model = PeftModel(base, settings, adapter_name=name)
        else:
            model.add_adapter(name, settings)
        set_peft_model_state_dict(model, load_file(folder / WEIGHTS), adapter_name=name)
    _settle_ranks(model, names, stored, recipe)
    torch.manual_seed(recipe.seed)
    model.base_model.add_weighted_adapter(
        names,
        list(recipe.weights),
        _NAME,
        combination_type=WAYS[recipe.way],
        svd_rank=recipe.rank or None,
        svd_full_matrices=False,
        density=recipe.density if recipe.way in SPARSE else None,
        majority_sign_method=recipe.sign,
    )
    found = model.peft_config[_NAME]
    # peft divides by the rank in its result, and so must whoever loads it, not by the rank's root
    found.use_rslora, found.inference_mode = False, True
    told = stored[0].settings
    found.base_model_name_or_path = told.get("base_model_name_or_path")
    found.task_type, found.revision = told.get("task_type"), told.get("revision")
    state = get_peft_model_state_dict(model, adapter_name=_NAME, save_embedding_layers=False)
    ranks = find_ranks({name: tuple(weight.shape) for name, weight in state.items()})
    # all that scaled the adapters is in the tensors, so alpha is the rank in each layer
    found.rank_pattern = {name: rank for name, rank in ranks.items() if rank != found.r}
    found.alpha_pattern = dict(found.rank_pattern)
    return found, {name: weight.contiguous() for name, weight in state.items()}


def find_ranks(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return the rank of each layer by an adapter's tensors: a pattern may set it apart from the settings."""
    return {
        name.removeprefix(_PREFIX).removesuffix(_DOWN): shape[0]
        for name, shape in shapes.items()
        if name.endswith(_DOWN)
    }


def _settle_ranks(model: Any, names: Sequence[str], stored: Sequence[Stored], recipe: Recipe) -> None:
    """Tell peft the largest rank of each adapter, from which it makes room for the combination."""
    largest = [max(find_ranks(one.shapes).values(), default=1) for one in stored]
    for name, rank in zip(names, largest, strict=True):
        settings = model.peft_config[name]
        settings.r, settings.rank_pattern = max(largest) if recipe.way in SAME_RANK else rank, {}


def _make_modules(stored: Sequence[Stored]) -> Any:
    """Return modules with the names and shapes of those that adapters are for, without their weights."""
    import torch

    sizes: dict[str, list[int]] = {}
    for one in stored:
        for name, (rows, columns) in one.shapes.items():
            place, _dot, part = name.removeprefix(_PREFIX).rpartition(".lora_")
            size = sizes.setdefault(place, [0, 0])
            if part.startswith("A"):
                size[0] = columns
            else:
                size[1] = rows
    root = torch.nn.Module()
    for name, (inputs, outputs) in sizes.items():
        *path, last = name.split(".")
        parent = root
        for step in path:
            if step not in parent._modules:
                parent.add_module(step, torch.nn.Module())
            parent = parent.get_submodule(step)
        linear = torch.nn.Linear(1, 1, bias=False)
        linear.in_features, linear.out_features = inputs, outputs
        # one number that is seen everywhere: nothing reads it, and it takes no memory
        linear.weight = torch.nn.Parameter(torch.zeros(1, 1).expand(outputs, inputs), requires_grad=False)
        parent.add_module(last, linear)
    return root
