"""What is exported: a run's model at a checkpoint, a PEFT adapter, a model folder or a model of a hub."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ModelError
from tui_tuner.inference.heads import read_head_values, read_model_json
from tui_tuner.inference.model_places import (
    build_origin_config,
    find_model_folder,
    require_origin_consent,
)
from tui_tuner.inference.origin import ADAPTER, BASE, Origin
from tui_tuner.locales import _
from tui_tuner.methods.method import Method
from tui_tuner.methods.saved.putting import find_adapter_method
from tui_tuner.methods.stored import Stored, list_below, read_stored
from tui_tuner.models.loading import check_weight_files, find_tokenizer_source
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task, find_task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import check_base, read_base_record, require_base
from tui_tuner.training.load_run import read_learned
from tui_tuner.training.origin import find_model_sources


@dataclass(frozen=True)
class Source:
    """A model that is exported, found and checked but not loaded.

    Args:
        origin: What it is called, and how it is loaded (`inference.loading.ModelKeeper`).
        config: The run's config, or one that names the model.
        task: What it was trained for.
        weights: The folder of a whole model's weights: its own, or those of the base of an adapter.
        adapter: The folder of the adapter; None for a whole model.
        stored: The adapter's settings and shapes.
        base_name: The base model as others can find it: a hub id, or a folder's name.
        base_revision: Its commit, if it is of a hub.
        head: Values of the model's config for the head of an adapter: its classes by number.
        learned: What the task's encoder found out about the rows of a run, such as the tokens that end
        answers.
    """

    origin: Origin
    config: RunConfig
    task: Task
    weights: Path
    adapter: Path | None = None
    stored: Stored | None = None
    base_name: str = ""
    base_revision: str = ""
    head: Mapping[str, Any] = field(default_factory=dict)
    learned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return its name for the user."""
        return self.origin.display_label

    @property
    def folder(self) -> Path:
        """Return the folder with its own files, such as the tokenizer: the adapter's or the whole model's."""
        return self.adapter if self.adapter is not None else self.weights

    @property
    def method(self) -> Method | None:
        """Return the method of its adapter; None for a whole model."""
        return None if self.stored is None else find_adapter_method(self.stored.settings)

    @property
    def below(self) -> list[Path]:
        """Return the frozen adapters under its own, lowest first."""
        return [] if self.adapter is None else list_below(self.adapter)

    @property
    def writes(self) -> bool:
        """Return whether it writes text, so that greedy answers can be compared."""
        return self.config.task_kind.writes

    @property
    def tokenizer_source(self) -> str:
        """Return the folder or hub id that its tokenizer is loaded from."""
        if any((self.folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            return str(self.folder)
        return find_tokenizer_source(self.config.model)

    def read_base_config(self) -> dict[str, Any]:
        """Return the config.json beside the weights.

        Raises:
            ModelError: it is missing or damaged.
        """
        path = self.weights / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ModelError(
                _("is missing or damaged."), where=one_line(path, 300), hint=_("Copy the model again.")
            )
        return found


def open_source(origin: Origin, place: Path | None = None) -> Source:
    """Find the files of what is exported, and check that they belong together; nothing is loaded.

    A base model of a hub must be on this machine (`inference.base_download`). A checkpoint of a run
    (`step-N`) has no files of a model: `exporting.checkpoints` makes them first.

    Args:
        place: The folder with the adapter or the whole model, where it is not the origin's own.

    Raises:
        ModelError, HubError, ConfigError, RunError: something is missing, damaged, or of another model.
    """
    config = build_origin_config(origin)
    require_origin_consent(origin, config)
    task = find_task(config.task)
    if place is None:
        place = find_model_folder(origin)
        if origin.checkpoint == BASE or origin.kind in ("hub", "model"):
            place = _find_weights(config, origin)
    learned = read_learned(RunFolder(Path(origin.path))) if origin.kind == "run" else {}
    if not (place / ADAPTER).is_file():
        check_weight_files(place)
        return Source(origin, config, task, place, learned=learned)
    stored = read_stored(place)
    name = one_line(origin.name)
    require_base(config.model, name)
    if not origin.any_base:
        record = read_base_record(place)
        check_base(config.model, record, name)
    found = find_model_sources(config.model)[0]
    weights = _find_weights(config, origin)
    _check_vocabulary(stored, weights, origin)
    head = read_head_values(place, task.new_modules) if task.new_modules else {}
    revision = found.revision or ""
    return Source(origin, config, task, weights, place, stored, _name_base(config), revision, head, learned)


def _find_weights(config: RunConfig, origin: Origin) -> Path:
    if config.model.architecture is not None:
        raise ModelError(
            _("its base model had random weights, which no file holds."),
            where=one_line(origin.name),
            hint=_("Train it with method.kind full, which saves all weights."),
        )
    path = find_model_sources(config.model)[0].path
    if not path or not os.path.isdir(path):
        raise ModelError(
            _("its base model {base} is not on this machine.", base=one_line(config.model.name, 200)),
            where=one_line(origin.name),
            hint=_("Fetch it with `tui-tuner models fetch`, or name its folder with --base."),
        )
    check_weight_files(Path(path))
    return Path(path)


def _name_base(config: RunConfig) -> str:
    name = config.model.name
    return os.path.abspath(os.path.expanduser(name)) if os.path.isdir(os.path.expanduser(name)) else name


def _check_vocabulary(stored: Stored, weights: Path, origin: Origin) -> None:
    """Raise `ModelError` where an adapter has embeddings of fewer tokens than its base model."""
    rows = stored.embedding_rows
    values = read_model_json(weights / "config.json")
    own = (values.get("text_config") or values).get("vocab_size")
    if rows and isinstance(own, int) and rows < own:
        raise ModelError(
            _(
                "the adapter has embeddings of {rows:,} tokens, and the base model of {own:,}: it is another "
                "model, or another revision of it.",
                rows=rows,
                own=own,
            ),
            where=one_line(origin.name),
            hint=_("Name the model that it was trained on with --base."),
        )
