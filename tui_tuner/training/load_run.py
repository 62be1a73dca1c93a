"""The model that a run made, ready to answer: what chat, export, evaluation and serving begin with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tui_tuner.config import consent
from tui_tuner.config.kinds import ADAPTERS
from tui_tuner.config.load import read_config
from tui_tuner.config.options import get_value
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import RunError, UsageError
from tui_tuner.locales import _
from tui_tuner.methods.putting import put_adapter, read_stored
from tui_tuner.models.loading import check_device, load_tokenizer
from tui_tuner.runs.private import read_file
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task, find_task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import check_base, other_base, pinned, read_base, require_base
from tui_tuner.training.context import LEARNED
from tui_tuner.training.keeping.checkpoints import Checkpoint, checkpoints, read_json
from tui_tuner.training.keeping.progress import read_progress
from tui_tuner.training.resuming import RESOLVED
from tui_tuner.training.rows import TOKENIZER

if TYPE_CHECKING:
    from tui_tuner.training.loading import Load

UNKNOWN_BEFORE = {"training.compile": False}  # fields that runs of older versions say nothing of
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
) -> LoadedRun:
    """Load what a run made.

    Args:
        run: The run's folder.
        which: `best`, `last`, a checkpoint such as `step-200`, or `base`: what it began with.
        device: `cpu`, `cuda:0`, or `auto`: a GPU where there is one.
        load: Loads the base model of an adapter instead of the task (`training.loading.load_base`).
        base: Folder or hub id that holds the base model now, where it is not where it was.
        any_base: Take a base model also if its weights are not those that the run began with.

    Raises:
        RunError: the run has no such model, or it is damaged; the message names those it has.
        ModelError, HubError, HardwareError: the base model cannot be loaded, or is another one than before.
        ConfigError: the run's config is damaged, or asks for code that nobody here agreed to run.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(Path(run).expanduser())
    config = read_run_config(folder, base)
    consent.require(
        config.model,
        str(folder.path / RESOLVED),
        _(
            "Look at that code, and agree with `tui-tuner resume {name} --trust-remote-code`.",
            name=one_line(folder.name),
        ),
    )
    if not any_base:
        exact = pinned(config.model, read_base(folder.path))
        config = config if exact is config.model else with_values(config, {"model.revision": exact.revision})
    device = choose_device(device)
    task = find_task(config.task)
    place = {"best": folder.best, "last": folder.last}.get(which)
    if place is not None and not place.is_dir():
        raise _no_such_model(folder, which)
    if place is None or (place / ADAPTER).is_file():
        require_base(config.model, one_line(folder.name))
        if not any_base:
            check_base(config.model, read_base(folder.path), one_line(folder.name))
    if place is not None:
        model, tokenizer = _load_final(config, task, place, device, _read_learned(folder), load)
    elif which == BASE:
        model, tokenizer = _load_begun(config, task, folder, device, load)
    else:
        model, tokenizer = _load_checkpoint(config, task, folder, which, device, load)
    model.eval()
    return LoadedRun(model, tokenizer, config)


def list_models(folder: RunFolder) -> list[str]:
    """What `load_run` can load of a run: `best`, `last`, and checkpoints, newest first; unverified."""
    final = [name for name, place in (("best", folder.best), ("last", folder.last)) if place.is_dir()]
    return final + [checkpoint.path.name for checkpoint in checkpoints(folder.checkpoints)]


def read_run_config(folder: RunFolder, base: str = "") -> ResolvedConfig:
    """The config of a run, with `base` in the place of its model.

    Raises:
        RunError: it has not begun to train.
        ConfigError: it is damaged.
    """
    path = folder.path / RESOLVED
    if not path.is_file():
        raise RunError(
            _("has no config.resolved.yaml, so it is no run that has begun to train."),
            where=one_line(folder.path),
            hint=_("`tui-tuner runs` lists the runs."),
        )
    config = read_config(path)
    settled = {name: value for name, value in UNKNOWN_BEFORE.items() if get_value(config, name) == "auto"}
    config = ResolvedConfig.of(with_values(config, settled))
    return with_values(config, other_base(base)) if base else config


def _read_learned(folder: RunFolder) -> Mapping[str, Any]:
    """What the task found out about the data; nothing for a run of version 0.1."""
    path = folder.path / LEARNED
    if not path.exists():
        return {}
    try:
        found = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunError(_("is damaged."), where=one_line(path), hint=_("Resume the run: it is written anew."))
    return found


def choose_device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", str(asked)):
        raise UsageError(
            _("{device} is no device.", device=repr(one_line(asked))),
            where="device",
            hint=_("Use cpu, cuda:0 or auto."),
        )
    check_device(asked)
    return asked


def _load_final(
    config: ResolvedConfig,
    task: Task,
    place: Path,
    device: str,
    learned: Mapping[str, Any],
    load: Load | None,
) -> tuple[Any, Any]:
    """A final model folder: an adapter on its base model, or a model of its own."""
    tokenizer = load_tokenizer(config.model.model_copy(update={"tokenizer": str(place)}))
    if not (place / ADAPTER).is_file():
        own = {
            "model.name": str(place),
            "model.tokenizer": None,
            "model.revision": None,
            "model.architecture": None,
        }
        return task.load(with_values(config, own), device, tokenizer, learned), tokenizer
    from tui_tuner.training.loading import load_base

    read_stored(place)  # damaged files are found before a large model is loaded
    base = load_base(config, device, tokenizer, task, learned, load)
    if (place / "config.json").is_file():
        task.keep(base, read_json(place / "config.json"))
    return put_adapter(base, place), tokenizer


def _load_begun(
    config: ResolvedConfig, task: Task, folder: RunFolder, device: str, load: Load | None
) -> tuple[Any, Any]:
    """The model that a run began with, and the run's tokenizer."""
    from tui_tuner.training.loading import load_base

    learned_tokenizer = folder.path / TOKENIZER
    section = config.model
    if learned_tokenizer.is_dir():
        section = section.model_copy(update={"tokenizer": str(learned_tokenizer)})
    tokenizer = load_tokenizer(section)
    task.prepare_tokenizer(config, tokenizer)
    return load_base(config, device, tokenizer, task, _read_learned(folder), load), tokenizer


def _load_checkpoint(
    config: ResolvedConfig, task: Task, folder: RunFolder, which: str, device: str, load: Load | None
) -> tuple[Any, Any]:
    """The model at a checkpoint: the base model, its method attached, with the trained weights of then."""
    from tui_tuner.training.loading import attach_method
    from tui_tuner.training.step.engine import load_trained

    checkpoint = _find_checkpoint(folder, which)
    own = config.method.kind not in ADAPTERS  # the model's own weights are trained, so nobody may share them
    model, tokenizer = _load_begun(config, task, folder, device, None if own else load)
    model = attach_method(model, config, task)
    try:
        load_trained(model, checkpoint.path)
    except ValueError as error:
        raise RunError(f"{one_line(error)}.", where=one_line(checkpoint.path)) from error
    task.keep(model, read_progress(checkpoint.path).newest)
    return model, tokenizer


def _find_checkpoint(folder: RunFolder, which: str) -> Checkpoint:
    for checkpoint in checkpoints(folder.checkpoints):
        if checkpoint.path.name == which:
            problem = checkpoint.problem()
            if problem:
                raise RunError(_("is damaged: {problem}.", problem=problem), where=one_line(checkpoint.path))
            return checkpoint
    raise _no_such_model(folder, which)


def _no_such_model(folder: RunFolder, which: str) -> RunError:
    known = list_models(folder)
    return RunError(
        _("has no model {which!r}.", which=one_line(which)),
        where=one_line(folder.path),
        hint=_("It has {known}.", known=", ".join(known))
        if known
        else _("It has none yet: resume it, and let it save."),
    )
