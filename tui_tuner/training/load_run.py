"""Load the model that a run made, for chat, export, evaluation and serving."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tui_tuner.config import consent
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.load import read_config
from tui_tuner.config.options import get_config_value
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import RunError, UsageError
from tui_tuner.locales import _
from tui_tuner.methods.saved.putting import put_adapter
from tui_tuner.methods.stored import read_stored
from tui_tuner.models.device import find_device
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.runs.private_files import read_small_file
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task, find_task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import (
    check_base,
    describe_other_base,
    pin_model,
    read_base_record,
    require_base,
)
from tui_tuner.training.context import LEARNED, TOKENIZER
from tui_tuner.training.keeping.checkpoints import Checkpoint, list_checkpoints, read_checkpoint_json
from tui_tuner.training.keeping.progress import read_progress
from tui_tuner.training.resuming import RESOLVED
from tui_tuner.training.starting import find_start, use_merged_base

if TYPE_CHECKING:
    from tui_tuner.training.model_loading import Load

UNKNOWN_BEFORE = {"training.compile": False}  # fields that older versions did not have, and their behaviour
ADAPTER = "adapter_config.json"
BASE = "base"


class LoadedRun(NamedTuple):
    """A model of transformers or peft in evaluation mode, its tokenizer, and the run's config."""

    model: Any
    tokenizer: Any
    config: RunConfig


def load_run(
    run: RunFolder | Path | str,
    which: str = "best",
    device: str = "auto",
    load: Load | None = None,
    *,
    base: str = "",
    any_base: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> LoadedRun:
    """Load a model that a run made, with its tokenizer and config.

    Args:
        run: The run's folder.
        which: `best`, `last`, a checkpoint such as `step-200`, or `base`: the model it began with.
        device: `cpu`, `cuda:0`, or `auto`: a GPU if there is one.
        load: Loads the base model of an adapter instead of the task
        (`training.model_loading.load_base_model`).
        base: Folder or hub id of the base model, if it has moved.
        any_base: Use a base model even if its weights are not those that the run began with.
        changes: Fields of its config that are loaded with other values, such as `model.dtype`.

    Raises:
        RunError: the run has no such model, or it is damaged; the message names those it has.
        ModelError, HubError, HardwareError: the base model cannot be loaded, or has other weights.
        ConfigError: the run's config is damaged, or names code that was not approved on this machine.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(Path(run).expanduser())
    config = read_run_config(folder, base)
    config = edit_values(config, changes) if changes else config
    # Before anything of the model is read: a run folder from elsewhere may name any code.
    consent.require_code_consent(
        config.model,
        str(folder.path / RESOLVED),
        _(
            "Look at that code, and agree with `tui-tuner resume {name} --trust-remote-code`.",
            name=one_line(folder.name),
        ),
    )
    if not any_base:
        exact = pin_model(config.model, read_base_record(folder.path))
        config = config if exact is config.model else edit_values(config, {"model.revision": exact.revision})
    device = choose_load_device(device)
    task = find_task(config.task)
    place = {"best": folder.best_path, "last": folder.last_path}.get(which)
    if place is not None and not place.is_dir():
        raise _no_such_model(folder, which)
    # A final model without an adapter holds all its weights, and needs no base model.
    if place is None or (place / ADAPTER).is_file():
        require_base(config.model, one_line(folder.name))
        if not any_base:
            check_base(config.model, read_base_record(folder.path), one_line(folder.name))
    if place is not None:
        model, tokenizer = _load_final(config, task, place, device, read_learned(folder), load)
    elif which == BASE:
        model, tokenizer = _load_begun(config, task, folder, device, load)
    else:
        model, tokenizer = _load_checkpoint(config, task, folder, which, device, load)
    model.eval()
    return LoadedRun(model, tokenizer, config)


def list_run_models(folder: RunFolder) -> list[str]:
    """List what `load_run` can load of a run: `best`, `last`, and checkpoints, newest first; unverified."""
    final = [
        name for name, place in (("best", folder.best_path), ("last", folder.last_path)) if place.is_dir()
    ]
    return final + [checkpoint.path.name for checkpoint in list_checkpoints(folder.checkpoints_path)]


def read_run_config(folder: RunFolder, base: str = "") -> ResolvedConfig:
    """Read the resolved config of a run; `base` replaces its model.

    Raises:
        RunError: it has not begun training.
        ConfigError: it is damaged.
    """
    path = folder.path / RESOLVED
    if not path.is_file():
        raise RunError(
            _("has no config.resolved.yaml, so it is not a run that has begun training."),
            where=one_line(folder.path),
            hint=_("`tui-tuner runs` lists the runs."),
        )
    config = read_config(path)
    # A field that is missing in the file reads as `auto`, which a resolved config must not have.
    settled = {
        name: value for name, value in UNKNOWN_BEFORE.items() if get_config_value(config, name) == "auto"
    }
    config = ResolvedConfig.from_config(edit_values(config, settled))
    config = use_merged_base(config, folder.path)
    return edit_values(config, describe_other_base(base)) if base else config


def read_learned(folder: RunFolder) -> Mapping[str, Any]:
    """Read what the task's encoder found out about the data; empty for a run of version 0.1."""
    path = folder.path / LEARNED
    if not path.exists():
        return {}
    try:
        found = json.loads(read_small_file(path))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunError(
            _("is damaged."), where=one_line(path), hint=_("Resume the run: it writes this again.")
        )
    return found


def choose_load_device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(asked)):
        raise UsageError(
            _("{device} is not a device.", device=repr(one_line(asked))),
            where="device",
            hint=_("Use cpu, cuda:0 or auto."),
        )
    find_device(asked)
    return asked


def _load_final(
    config: ResolvedConfig,
    task: Task,
    place: Path,
    device: str,
    learned: Mapping[str, Any],
    load: Load | None,
) -> tuple[Any, Any]:
    """Load a final model folder: an adapter on its base model, or a whole model."""
    tokenizer = load_tokenizer(config.model.model_copy(update={"tokenizer": str(place)}))
    if not (place / ADAPTER).is_file():
        own = {
            "model.name": str(place),
            "model.tokenizer": None,
            "model.revision": None,
            "model.architecture": None,
        }
        return task.load_run_model(edit_values(config, own), device, tokenizer, learned), tokenizer
    from tui_tuner.training.model_loading import load_base_model

    read_stored(place)  # finds damaged files before a large model is loaded
    base = load_base_model(config, device, tokenizer, task, learned, load)
    # Metrics that decide answers, such as thresholds, are in the adapter's config, not in the base model's.
    if (place / "config.json").is_file():
        task.keep_metrics(base, read_checkpoint_json(place / "config.json"))
    return put_adapter(base, place), tokenizer


def _load_begun(
    config: ResolvedConfig, task: Task, folder: RunFolder, device: str, load: Load | None
) -> tuple[Any, Any]:
    """Load the model that a run began with, and the run's tokenizer."""
    from tui_tuner.training.model_loading import load_base_model

    learned_tokenizer = folder.path / TOKENIZER
    section = config.model
    if learned_tokenizer.is_dir():
        section = section.model_copy(update={"tokenizer": str(learned_tokenizer)})
    tokenizer = load_tokenizer(section)
    task.prepare_tokenizer(config, tokenizer)
    return load_base_model(config, device, tokenizer, task, read_learned(folder), load), tokenizer


def _load_checkpoint(
    config: ResolvedConfig, task: Task, folder: RunFolder, which: str, device: str, load: Load | None
) -> tuple[Any, Any]:
    """Load the model at a checkpoint: the base model with the run's method and the weights of that step."""
    from tui_tuner.training.model_loading import attach_method
    from tui_tuner.training.step.states import load_trained_parameters

    checkpoint = _find_checkpoint(folder, which)
    # `load` may give a base model that others share: its weights must not be replaced by trained ones.
    own = not config.method.has_trait(Trait.ADAPTER)
    model, tokenizer = _load_begun(config, task, folder, device, None if own else load)
    model = attach_method(model, config, task, find_start(folder.path, config))
    try:
        load_trained_parameters(model, checkpoint.path)
    except ValueError as error:
        raise RunError(f"{one_line(error)}.", where=one_line(checkpoint.path)) from error
    task.keep_metrics(model, read_progress(checkpoint.path).newest_metrics)
    return model, tokenizer


def _find_checkpoint(folder: RunFolder, which: str) -> Checkpoint:
    for checkpoint in list_checkpoints(folder.checkpoints_path):
        if checkpoint.path.name == which:
            problem = checkpoint.find_problem()
            if problem:
                raise RunError(_("is damaged: {problem}.", problem=problem), where=one_line(checkpoint.path))
            return checkpoint
    raise _no_such_model(folder, which)


def _no_such_model(folder: RunFolder, which: str) -> RunError:
    known = list_run_models(folder)
    return RunError(
        _("has no model {which!r}.", which=one_line(which)),
        where=one_line(folder.path),
        hint=_("It has {known}.", known=", ".join(known))
        if known
        else _("It has none yet: resume it until it saves one."),
    )
