"""Where a model lies, the config that loads it, and the head that an adapter needs under it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.compute.encoders import first_position
from tui_tuner.config import consent
from tui_tuner.config.load import build_config, read_config
from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import ConfigError
from tui_tuner.evaluation.generation import context_length
from tui_tuner.inference.heads import problem_of, read_json
from tui_tuner.inference.origin import RESOLVED, Origin, read_adapter
from tui_tuner.locales import _
from tui_tuner.methods.prompts import virtual_tokens
from tui_tuner.models.heads import head_classes
from tui_tuner.models.hub.place import is_path
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import other_base, pinned, read_base

_OWN_CODE = "auto_map"  # in a JSON file of a model: Python files beside it that it needs


def place_of(origin: Origin) -> Path:
    """The folder of a model, or of a run's checkpoint; a hub id as it is."""
    path = Path(origin.path)
    if origin.kind != "run":
        return path
    folder = RunFolder(path)
    return {"best": folder.best, "last": folder.last}.get(
        origin.checkpoint, folder.checkpoints / one_line(origin.checkpoint)
    )


def config_of(origin: Origin) -> RunConfig:
    """The config of a run; for a model that no run made, one that names it.

    Raises:
        ConfigError, ModelError: it is damaged.
    """
    if origin.kind == "run":
        config = read_config(Path(origin.path) / RESOLVED)
        if origin.base:
            return with_values(config, other_base(origin.base))
        return _exact(config, Path(origin.path), origin.any_base)
    values: dict[str, Any] = {"name": origin.path, "revision": origin.revision or None}
    if origin.kind == "adapter":
        values = _base_of(origin)
    section = ModelSection(**values)
    agreed = section.model_copy(update={"trust_remote_code": True})
    trusts = not is_path(section.name) or _brings_code(Path(section.name).expanduser())
    if trusts and consent.allowed(agreed):  # they have agreed to this very code before
        values["trust_remote_code"] = True
    config = build_config({"task": origin.task, "model": values})
    return _exact(config, Path(origin.path), origin.any_base) if origin.kind == "adapter" else config


def _exact(config: RunConfig, folder: Path, any_base: bool) -> RunConfig:
    """With the commit of the hub that was trained on."""
    exact = config.model if any_base else pinned(config.model, read_base(folder))
    return config if exact is config.model else with_values(config, {"model.revision": exact.revision})


def _base_of(origin: Origin) -> dict[str, Any]:
    """Name and revision of the model that an adapter belongs to.

    Where its folder is gone, or was another machine's, a name that is known everywhere is taken in its place.
    """
    if origin.base:
        told = other_base(origin.base)
        return {"name": told["model.name"], "revision": told["model.revision"]}
    said, record = read_adapter(Path(origin.path)), read_base(Path(origin.path))
    name, revision = said["base_model_name_or_path"], said.get("revision") or None
    if not os.path.isdir(Path(name).expanduser()) and record.name and not record.name.startswith(("/", ".")):
        name, revision = record.name, record.revision or None
    if os.path.isdir(Path(name).expanduser()) or "/" not in name:
        revision = None
    return {"name": name, "revision": revision}


def require_consent(origin: Origin, config: RunConfig) -> None:
    """Raise `ConfigError` where a model brings code that nobody here has agreed to run."""
    folder = Path(config.model.name).expanduser()
    if config.model.trust_remote_code or not os.path.isdir(folder) or not _brings_code(folder):
        return
    raise ConfigError(
        _("brings Python code of its own, and you have not agreed to run it."),
        where=one_line(origin.name if origin.kind != "adapter" else config.model.name),
        hint=_("Look at the .py files beside it, and agree with --trust-remote-code."),
        field=consent.FIELD,
    )


def agree(origin: Origin) -> None:
    """Take down that the user agrees to run the code that a model comes with."""
    section = config_of(origin).model.model_copy(update={"trust_remote_code": True})
    consent.remember(section)


def _brings_code(folder: Path) -> bool:
    """Whether the files of a folder name Python files of its own for a model that transformers has not."""
    names = ("config.json", "tokenizer_config.json")
    told = [read_json(folder / name) for name in names]
    if not any(values.get(_OWN_CODE) for values in told) or not any(folder.glob("*.py")):
        return False
    from transformers import CONFIG_MAPPING

    return told[0].get("model_type") not in CONFIG_MAPPING or not told[0].get(_OWN_CODE)


def load_headed(
    config: RunConfig,
    device: str,
    tokenizer: Any,
    task: Task,
    learned: Mapping[str, Any],
    head: Mapping[str, Any],
) -> Any:
    """A base model; with `head`, which an adapter brings, one with as many outputs, which are random yet."""
    if not head:
        return task.load(config, device, tokenizer, learned)
    from tui_tuner.models.loading import load_model

    values = {**task.model_values(config, learned), **head}
    kind = task.auto_class.removeprefix("AutoModel")
    there = head_classes(config.model, kind)
    wanted = list(head.get("id2label", {}).values()) or ["?"] * int(head.get("num_labels", 0))
    other = bool(there) and (there != wanted if "id2label" in head else len(there) != len(wanted))
    model = load_model(config, device, tokenizer, task.auto_class, values, task.new_modules, new_head=other)
    if tokenizer.pad_token_id is not None:  # models that write find the end of a text by it
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model


def task_tokens(task: Task, config: RunConfig, tokenizer: Any) -> None:
    """What a task with a head of its own needs of a tokenizer; one that writes goes by what is saved."""
    if task.new_modules:
        task.prepare_tokenizer(config, tokenizer)


def fitted(config: RunConfig, model: Any, tokenizer: Any) -> RunConfig:
    """The config of a model that no run made: what its labels are, and how long a text it reads at once."""
    if config.task_kind.writes:
        return config
    values: dict[str, Any] = {}
    longest = [config.data.max_length]
    context = context_length(model)
    if context is not None:
        longest.append(context - virtual_tokens(model) - first_position(model))
    if 0 < int(tokenizer.model_max_length) < 1 << 30:
        longest.append(int(tokenizer.model_max_length))
    if min(longest) < config.data.max_length:
        values["data.max_length"] = min(longest)
        values["data.stride"] = min(config.data.stride, min(longest) // 4)
    if config.task_kind.decides == "text":
        values["data.problem"] = problem_of(model.config.to_dict())
    return with_values(config, values) if values else config
