"""The adapter that a run begins with: checked, copied into the run's folder, and merged where asked for.

A resumed run, and whoever loads its model, reads the copy. The folder that it came from may be gone by then.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError, HubError, RunError
from tui_tuner.locales import N_, _
from tui_tuner.methods.bottlenecks.stored_bottlenecks import read_adapters
from tui_tuner.methods.saved.starting_adapter import (
    CONTINUE,
    FIELD,
    MERGE,
    check_adapter,
    find_adapter,
    read_method_fields,
)
from tui_tuner.methods.stored import BELOW, CONFIG, WEIGHTS, read_stored
from tui_tuner.models.growing.growth import RECORD as NEW_TOKENS
from tui_tuner.runs.events import Resolved
from tui_tuner.tasks import find_task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import RECORD, read_base_record, record_base_model
from tui_tuner.training.context import TOKENIZER

if TYPE_CHECKING:
    from tui_tuner.training.context import RunContext

FUSED = "fused"  # in a run's folder: the adapters that it fuses
START = "start"  # in a run's folder: the adapter that it began with
MERGED = "merged-base"  # in a run's folder: the model that it began with, an adapter merged into its base
_COPIED = (CONFIG, WEIGHTS, RECORD, "config.json")
# What an adapter with new tokens brings along: its tokenizer, and what each token begins as
_TOKENS = (
    NEW_TOKENS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_Config = TypeVar("_Config", bound=RunConfig)


def check_start(config: RunConfig) -> Path:
    """Check that a run can begin with its adapter; return the adapter's folder.

    Raises:
        ConfigError, ModelError, UsageError: it cannot, or there is no such adapter.
    """
    place = find_adapter(config)
    stored = check_adapter(config, place, find_task(config.task).peft_type)
    _check_base(config, place, str(stored.settings.get("base_model_name_or_path") or ""))
    return place


def _check_base(config: RunConfig, place: Path, named: str) -> None:
    """Raise `ConfigError` where an adapter was trained on another model than that of a run."""
    record = read_base_record(place)
    try:
        found = record_base_model(config.model)
    except HubError:
        return  # it is fetched by the run, which checks again
    if record.weights and found.weights:
        if record.weights == found.weights:
            return
    elif not named or _ends_alike(named, config.model.name):
        return
    its, ours = one_line(record.name or named, 200), one_line(config.model.name, 200)
    raise ConfigError(
        _("the adapter was trained on {its}, and model.name is {ours}.", its=its, ours=ours)
        if its != ours
        else _("the adapter was trained on other weights than those of {ours}.", ours=ours),
        where="model.name",
        field="model.name",
        hint=build_hint(N_("Begin with that model: {command}.", command=write_setting({"model.name": its})))
        if its != ours
        else _("Put the weights back that it was trained on, or begin with another adapter."),
    )


def _ends_alike(one: str, other: str) -> bool:
    """Return whether two names may mean one model: a copy of a hub's model lies in a folder of its name."""
    places = [os.path.realpath(name) if os.path.isdir(name) else name for name in (one, other)]
    return os.path.basename(places[0]) == os.path.basename(places[1])


def begin_with_adapter(context: RunContext, config: RunConfig) -> RunConfig:
    """Return the config of a run with what its adapter decides; a new run copies the adapter first.

    Raises:
        ConfigError, ModelError, UsageError: it cannot begin with this adapter.
        RunError: a resumed run has lost its copy.
    """
    config = _keep_fused(context, config)
    if config.model.adapter is None:
        return config
    kept = context.folder.path / START
    place = kept
    if context.checkpoint is None:
        place = check_start(config)
        if context.ranks.is_main:
            _copy_adapter(place, kept)
            _copy_tokens(place, context.folder.path / TOKENIZER)
        why = {
            CONTINUE: _("Its adapter is trained on."),
            MERGE: _("It is merged into the model's weights before the first step."),
        }.get(
            config.model.adapter_use, _("It stays frozen and active; a new adapter is trained on top of it.")
        )
        context.reporter.emit(Resolved(FIELD, str(place), why))
        config = edit_values(config, {FIELD: str(place)})
    context.ranks.any_rank(False)  # the others wait for the copy
    if not (kept / CONFIG).is_file():
        raise RunError(
            _("has lost the adapter that it began with."),
            where=one_line(kept),
            hint=_("Put that folder back, or begin a new run."),
        )
    if config.model.adapter_use != CONTINUE:
        return config
    own = read_method_fields(config, read_stored(kept))
    for name, value in own.items():
        context.reporter.emit(Resolved(name, value, _("The adapter that is trained on has it.")))
    return edit_values(config, own)


def _keep_fused(context: RunContext, config: RunConfig) -> RunConfig:
    """Return the config of a run with its own copies of the adapters that it fuses; a new run makes them.

    Raises:
        ConfigError: an adapter is missing, or they do not go together.
    """
    if not config.method.reads_field("adapters"):
        return config
    kept = context.folder.path / FUSED
    if context.checkpoint is None or not kept.is_dir():
        found = read_adapters(config.method.fused_adapters, config.output.folder)
        if context.ranks.is_main:
            shutil.rmtree(kept, ignore_errors=True)
            for number, one in enumerate(found):
                # the folder's name is what the fusion calls the adapter
                _copy_adapter(one.folder, kept / f"{number:03}" / one.short_name)
    context.ranks.any_rank(False)  # the others wait for the copies
    copies = [str(one.parent.absolute()) for one in sorted(kept.glob(f"*/*/{CONFIG}"))]
    return edit_values(config, {"method.adapters": copies})


def _copy_adapter(place: Path, target: Path) -> None:
    from tui_tuner.training.keeping.checkpoints import write_checkpoint_folder

    def fill(folder: Path) -> None:
        for name in _COPIED:
            if (place / name).is_file():
                shutil.copyfile(place / name, folder / name)
        for below in sorted(place.glob(f"{BELOW}*")):
            if (below / CONFIG).is_file():
                shutil.copytree(below, folder / below.name)

    target.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint_folder(target, fill)


def _copy_tokens(place: Path, target: Path) -> None:
    """Copy the tokenizer of an adapter with new tokens, which is that of the run, too."""
    if not (place / NEW_TOKENS).is_file():
        return
    target.mkdir(parents=True, exist_ok=True)
    # The record last: it says that the tokenizer is whole
    for name in reversed(_TOKENS):
        if (place / name).is_file():
            shutil.copyfile(place / name, target / name)


def find_start(folder: Path, config: RunConfig) -> Path | None:
    """Return the adapter that a run attaches in place of a new one, or below it; None for any other run."""
    if config.model.adapter is None or config.model.adapter_use == MERGE:
        return None
    return folder / START


def use_merged_base(config: _Config, folder: Path) -> _Config:
    """Return the config of a run with the model that it began with: its merged one, where it has one."""
    if config.model.adapter is None or config.model.adapter_use != MERGE:
        return config
    own = {"name": str((folder / MERGED).absolute()), "revision": None, "hub": "huggingface", "adapter": None}
    return edit_values(config, {f"model.{name}": value for name, value in own.items()})


def merge_start(context: RunContext, config: _Config, tokenizer: Any, learned: Mapping[str, Any]) -> _Config:
    """Merge the adapter of a run into its model, once, and return the config with that model.

    Args:
        learned: What the task's encoder found out about the data.

    Raises:
        ModelError: the adapter does not fit the model.
    """
    if config.model.adapter is None or config.model.adapter_use != MERGE:
        return config
    target = context.folder.path / MERGED
    if context.ranks.is_main and not (target / "config.json").is_file():
        context.reporter.report_phase("loading", note=_("merging the adapter"))
        _write_merged(context, config, tokenizer, learned, target)
    # The merged model has its rows; grown again, they would begin anew.
    if context.ranks.is_main:
        (context.folder.path / TOKENIZER / NEW_TOKENS).unlink(missing_ok=True)
    context.ranks.any_rank(False)  # the others wait for it
    return use_merged_base(config, context.folder.path)


def _write_merged(
    context: RunContext, config: RunConfig, tokenizer: Any, learned: Mapping[str, Any], target: Path
) -> None:
    from tui_tuner.methods import merge
    from tui_tuner.methods.saved.putting import put_adapter
    from tui_tuner.training.keeping.final_model import write_final_model
    from tui_tuner.training.model_loading import load_base_model

    # on the processor, so that the result is the same whatever trains
    model = load_base_model(config, "cpu", tokenizer, context.task, learned)
    write_final_model(merge(put_adapter(model, context.folder.path / START)), tokenizer, target)
