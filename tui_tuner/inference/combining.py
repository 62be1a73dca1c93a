"""Several adapters of one model, named as models are, checked and combined into a new folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.errors import ConfigError, ModelError, UsageError
from tui_tuner.inference.model_places import find_model_folder
from tui_tuner.inference.origin import ADAPTER, Origin
from tui_tuner.locales import _
from tui_tuner.methods.saved.weighted_sum import SAME_RANK, SPARSE, Recipe, combine_stored, find_ranks
from tui_tuner.methods.stored import CONFIG, WEIGHTS, Stored, list_below, read_stored
from tui_tuner.models.growing.growth import read_growth
from tui_tuner.text import one_line
from tui_tuner.training.base_model import RECORD, read_base_record

if TYPE_CHECKING:
    from torch import Tensor

_COPIED = (RECORD, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_COPIED_TOO = ("chat_template.jinja", "tokenizer.model", "added_tokens.json", "vocab.json", "merges.txt")
_ALIKE = ("layers_to_transform", "layers_pattern", "fan_in_fan_out", "exclude_modules")


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
    settings, weights = combine_stored(folders, stored, recipe)
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
        if told.get("target_parameters"):
            raise _refuse(folder, _("adapters of a mixture's fused experts cannot be combined."))
        if told.get("modules_to_save") or one.whole_tensors:
            raise _refuse(
                folder,
                _("it brings a head or embeddings of its own, which cannot be combined by weight."),
            )
        if told.get("trainable_token_indices") or read_growth(folder) is not None:
            raise _refuse(folder, _("it has new tokens, which cannot be combined by weight."))
        if list_below(folder):
            raise _refuse(folder, _("it stands on other adapters."))
        if any(len(shape) != 2 or "lora_embedding" in name for name, shape in one.shapes.items()):
            raise _refuse(folder, _("it has matrices beside other layers than linear ones."))
        if any(told.get(name) != first.get(name) for name in _ALIKE):
            raise _refuse(folder, _("it sits on other layers than the first one."))
        if recipe.way in SAME_RANK:
            _check_same_rank(folder, stored[0], one, recipe.way)
        _check_same_base(folders[0], folder, first, told)


def _check_same_rank(folder: Path, first: Stored, other: Stored, way: str) -> None:
    """Raise `ConfigError` where two adapters have matrices of different ranks beside a layer."""
    ranks, others = find_ranks(first.shapes), find_ranks(other.shapes)
    for name in sorted(ranks.keys() & others.keys()):
        if ranks[name] != others[name]:
            raise ConfigError(
                _(
                    "{way} needs adapters of one rank, and these have {first} and {other} beside {name}.",
                    way=way,
                    first=ranks[name],
                    other=others[name],
                    name=one_line(name, 120),
                ),
                where=one_line(folder),
                hint=_("Use --how cat or --how svd."),
            )


def _check_same_base(one: Path, other: Path, first: Any, told: Any) -> None:
    """Raise `ModelError` where two adapters were trained on different models."""
    records = read_base_record(one), read_base_record(other)
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
