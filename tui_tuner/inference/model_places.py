"""Folder, config and head of a model to be loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.compute.encoders import find_first_position
from tui_tuner.config import consent
from tui_tuner.config.load import build_config, read_config
from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError
from tui_tuner.evaluation.writing.decoder_writer import find_side_lengths
from tui_tuner.evaluation.writing.stop_tokens import find_context_length
from tui_tuner.inference.heads import find_head_label_problem, read_model_json
from tui_tuner.inference.origin import RESOLVED, Origin, read_adapter_config
from tui_tuner.locales import _
from tui_tuner.methods.attached import count_virtual_tokens
from tui_tuner.models.head_classes import read_head_classes
from tui_tuner.models.hub.place import is_model_path
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import describe_other_base, pin_model, read_base_record
from tui_tuner.training.starting import use_merged_base

_OWN_CODE = "auto_map"  # in a model's JSON files: names Python files in the same folder


def find_model_folder(origin: Origin) -> Path:
    """Return the folder of a model or of a run's checkpoint; a hub id unchanged."""
    path = Path(origin.path)
    if origin.kind != "run":
        return path
    folder = RunFolder(path)
    return {"best": folder.best_path, "last": folder.last_path}.get(
        origin.checkpoint, folder.checkpoints_path / one_line(origin.checkpoint)
    )


def build_origin_config(origin: Origin) -> RunConfig:
    """Return the config of a run; for other models, build one that names the model.

    Raises:
        ConfigError, ModelError: it is damaged.
    """
    if origin.kind == "run":
        config = use_merged_base(read_config(Path(origin.path) / RESOLVED), Path(origin.path))
        if origin.base:
            return edit_values(config, describe_other_base(origin.base))
        return _pin_revision(config, Path(origin.path), origin.any_base)
    values: dict[str, Any] = {"name": origin.path, "revision": origin.revision or None}
    if origin.kind == "adapter":
        values = _find_base_section(origin)
    section = ModelSection(**values)
    agreed = section.model_copy(update={"trust_remote_code": True})
    # A folder without code needs no consent, and none may be looked up for it
    trusts = not is_model_path(section.name) or _brings_code(Path(section.name).expanduser())
    # The user has agreed to exactly this code before
    if trusts and consent.is_code_allowed(agreed):
        values["trust_remote_code"] = True
    config = build_config({"task": origin.task, "model": values})
    return _pin_revision(config, Path(origin.path), origin.any_base) if origin.kind == "adapter" else config


def _pin_revision(config: RunConfig, folder: Path, any_base: bool) -> RunConfig:
    """Set the hub commit that the adapter was trained on."""
    exact = config.model if any_base else pin_model(config.model, read_base_record(folder))
    return config if exact is config.model else edit_values(config, {"model.revision": exact.revision})


def _find_base_section(origin: Origin) -> dict[str, Any]:
    """Return name and revision of an adapter's base model.

    If its folder does not exist here, the hub id in the adapter's record is used instead.
    """
    if origin.base:
        told = describe_other_base(origin.base)
        return {"name": told["model.name"], "revision": told["model.revision"]}
    said, record = read_adapter_config(Path(origin.path)), read_base_record(Path(origin.path))
    name, revision = said["base_model_name_or_path"], said.get("revision") or None
    if not os.path.isdir(Path(name).expanduser()) and record.name and not record.name.startswith(("/", ".")):
        name, revision = record.name, record.revision or None
    if os.path.isdir(Path(name).expanduser()) or "/" not in name:
        revision = None
    return {"name": name, "revision": revision}


def require_origin_consent(origin: Origin, config: RunConfig) -> None:
    """Raise `ConfigError` if a model comes with code that the user has not agreed to run."""
    folder = Path(config.model.name).expanduser()
    if config.model.trust_remote_code or not os.path.isdir(folder) or not _brings_code(folder):
        return
    raise ConfigError(
        _("comes with its own Python code, and you have not agreed to run it."),
        where=one_line(origin.name if origin.kind != "adapter" else config.model.name),
        hint=_("Check the .py files in its folder, and agree with --trust-remote-code."),
        field=consent.FIELD,
    )


def remember_origin_consent(origin: Origin) -> None:
    """Record that the user agrees to run the code that comes with a model."""
    section = build_origin_config(origin).model.model_copy(update={"trust_remote_code": True})
    consent.record_code_consent(section)


def _brings_code(folder: Path) -> bool:
    """Return whether a folder has its own Python code for a model type that transformers lacks."""
    names = ("config.json", "tokenizer_config.json")
    told = [read_model_json(folder / name) for name in names]
    if not any(values.get(_OWN_CODE) for values in told) or not any(folder.glob("*.py")):
        return False
    from transformers import CONFIG_MAPPING

    return told[0].get("model_type") not in CONFIG_MAPPING or not told[0].get(_OWN_CODE)


def load_headed_model(
    config: RunConfig,
    device: str,
    tokenizer: Any,
    task: Task,
    learned: Mapping[str, Any],
    head: Mapping[str, Any],
) -> Any:
    """Load a base model; with `head`, give it a new head of that shape, still with random weights."""
    # The task's own loader creates a head that matches the run's data
    if not head:
        return task.load_run_model(config, device, tokenizer, learned)
    from tui_tuner.models.loading import load_model

    values = {**task.model_values(config, learned), **head}
    kind = task.auto_class.removeprefix("AutoModel")
    there = read_head_classes(config.model, kind)
    wanted = list(head.get("id2label", {}).values()) or ["?"] * int(head.get("num_labels", 0))
    other = bool(there) and (there != wanted if "id2label" in head else len(there) != len(wanted))
    model = load_model(config, device, tokenizer, task.auto_class, values, task.new_modules, new_head=other)
    if (
        tokenizer.pad_token_id is not None
    ):  # classifiers made of decoder models find the last token of a text by it
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model


def add_task_tokens(task: Task, config: RunConfig, tokenizer: Any) -> None:
    """Add the tokens that a task with its own head needs; tasks that write use the saved tokenizer."""
    if task.new_modules:
        task.prepare_tokenizer(config, tokenizer)


def fit_origin_config(config: RunConfig, model: Any, tokenizer: Any) -> RunConfig:
    """Adapt the config of a model that no run made: kind of labels and longest text."""
    if config.task_kind.encoder_decoder:
        reads = find_side_lengths(model)[0]
        most = config.data.max_source if reads is None else reads - count_virtual_tokens(model)
        return edit_values(config, {"data.max_source": most}) if most < config.data.max_source else config
    if config.task_kind.writes:
        return config
    values: dict[str, Any] = {}
    longest = [config.data.max_length]
    context = find_context_length(model)
    if context is not None:
        longest.append(context - count_virtual_tokens(model) - find_first_position(model))
    # transformers writes 10^30 where a tokenizer has no limit
    if 0 < int(tokenizer.model_max_length) < 1 << 30:
        longest.append(int(tokenizer.model_max_length))
    if min(longest) < config.data.max_length:
        values["data.max_length"] = min(longest)
        # Windows must be longer than their overlap
        values["data.stride"] = min(config.data.stride, min(longest) // 4)
    if config.task_kind.decides == "text":
        values["data.problem"] = find_head_label_problem(model.config.to_dict())
    return edit_values(config, values) if values else config
