"""Several LoRA adapters of one model, combined by weight into one, through peft's `add_weighted_adapter`.

That computes with the adapters' matrices alone. So no base model is loaded: peft gets modules of the right
shapes whose weights are one number each, and an 8B model's adapters are combined in seconds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError, ModelError, UsageError
from tui_tuner.inference.model_places import find_model_folder
from tui_tuner.inference.origin import ADAPTER, Origin
from tui_tuner.locales import N_, _
from tui_tuner.methods.stored import CONFIG, WEIGHTS, Stored, list_below, read_stored
from tui_tuner.text import one_line
from tui_tuner.training.base_model import RECORD, read_base

if TYPE_CHECKING:
    from torch import Tensor

WAYS: dict[str, tuple[str, str]] = {  # what peft calls it, and what it does
    "linear": (
        "linear",
        N_("adds the matrices A, and the matrices B: quick, a rough sum of the updates"),
    ),
    "cat": ("cat", N_("the exact sum of the updates; the rank is the sum of all ranks")),
    "svd": ("svd", N_("the sum of the updates, brought back to one rank")),
    "ties": ("ties", N_("keeps the largest numbers, and those of the sign that most of them have")),
    "dare": ("dare_linear", N_("drops numbers at random and scales up the others, then adds them")),
    "dare_ties": ("dare_ties", N_("drops at random as dare does, then elects signs as ties does")),
}
SPARSE = ("ties", "dare", "dare_ties")  # these read a density
SAME_RANK = ("linear", *SPARSE)
_PREFIX = "base_model.model."
_COPIED = (RECORD, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_COPIED_TOO = ("chat_template.jinja", "tokenizer.model", "added_tokens.json", "vocab.json", "merges.txt")
_ALIKE = ("layers_to_transform", "layers_pattern", "fan_in_fan_out", "exclude_modules")
_NAME = "combined"


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


def combine_adapters(origins: Sequence[Origin], recipe: Recipe, target: Path) -> Path:
    """Write the combination of adapters into a new folder, which plain peft loads; return the folder.

    Raises:
        UsageError: the folder is there already, or the recipe does not fit the number of adapters.
        ConfigError, ModelError: the adapters cannot be combined.
    """
    if os.path.lexists(target):
        raise UsageError(
            _("is there already."), where=one_line(target), hint=_("Name a new folder with --out.")
        )
    if len(recipe.weights) != len(origins):
        raise UsageError(
            _(
                "{weights} weights were given for {adapters} adapters.",
                weights=len(recipe.weights),
                adapters=len(origins),
            ),
            where="--weights",
            hint=_("Give one for each, such as --weights 0.7,0.3."),
        )
    folders = [_find_folder(origin) for origin in origins]
    stored = [read_stored(folder) for folder in folders]
    _check_alike(folders, stored, recipe)
    settings, weights = _combine(folders, stored, recipe)
    _write_folder(target, folders, settings, weights, recipe)
    return target


def _find_folder(origin: Origin) -> Path:
    folder = find_model_folder(origin)
    if origin.kind in ("run", "adapter") and (folder / ADAPTER).is_file():
        return folder
    raise ModelError(
        _("is no adapter: there is nothing to combine."),
        where=one_line(origin.name),
        hint=_("Name runs that trained an adapter, or folders that hold one."),
    )


def _check_alike(folders: Sequence[Path], stored: Sequence[Stored], recipe: Recipe) -> None:
    first = stored[0].settings
    for folder, one in zip(folders, stored, strict=True):
        told = one.settings
        if str(told.get("peft_type") or "").upper() != "LORA" or told.get("use_dora"):
            raise _refuse(folder, _("only adapters of LoRA and rank-stabilised LoRA can be combined."))
        if told.get("modules_to_save") or one.whole_tensors:
            raise _refuse(
                folder,
                _("it brings a head or embeddings of its own, which cannot be combined by weight."),
            )
        if list_below(folder):
            raise _refuse(folder, _("it stands on other adapters."))
        if any(len(shape) != 2 or "lora_embedding" in name for name, shape in one.shapes.items()):
            raise _refuse(folder, _("it has matrices beside other layers than linear ones."))
        if any(told.get(name) != first.get(name) for name in _ALIKE):
            raise _refuse(folder, _("it sits on other layers than the first one."))
        if recipe.way in SAME_RANK and told.get("r") != first.get("r"):
            raise ConfigError(
                _(
                    "{way} needs adapters of one rank, and these have {first} and {other}.",
                    way=recipe.way,
                    first=first.get("r"),
                    other=told.get("r"),
                ),
                where=one_line(folder),
                hint=_("Use --how cat or --how svd."),
            )
        _check_same_base(folders[0], folder, first, told)


def _check_same_base(one: Path, other: Path, first: Any, told: Any) -> None:
    """Raise `ModelError` where two adapters were trained on different models."""
    records = read_base(one), read_base(other)
    if records[0].weights and records[1].weights:
        same = records[0].weights == records[1].weights
    else:
        names = [str(settings.get("base_model_name_or_path")) for settings in (first, told)]
        same = os.path.basename(names[0]) == os.path.basename(names[1])
    if not same:
        raise _refuse(other, _("it was trained on another model than the first one."))


def _refuse(folder: Path, why: str) -> ModelError:
    return ModelError(
        _("the adapter cannot be combined: {why}", why=why),
        where=one_line(folder),
        hint=_("Leave it out. A run can begin with it: model.adapter."),
    )


def _combine(
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
    torch.manual_seed(recipe.seed)
    model.base_model.add_weighted_adapter(
        names,
        list(recipe.weights),
        _NAME,
        combination_type=WAYS[recipe.way][0],
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
    return found, {name: weight.contiguous() for name, weight in state.items()}


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


def _write_folder(
    target: Path, folders: Sequence[Path], settings: Any, weights: dict[str, Tensor], recipe: Recipe
) -> None:
    from safetensors.torch import save_file

    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
    settings.save_pretrained(str(part))
    for name in (*_COPIED, *_COPIED_TOO):
        if (folders[0] / name).is_file():
            shutil.copyfile(folders[0] / name, part / name)
    told = {
        "adapters": [str(folder) for folder in folders],
        "weights": list(recipe.weights),
        "how": recipe.way,
        **({"density": recipe.density} if recipe.way in SPARSE else {}),
    }
    (part / "combined.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if not (part / CONFIG).is_file():
        raise ModelError(_("peft wrote no config of the combination."), where=one_line(part))
    part.rename(target)
