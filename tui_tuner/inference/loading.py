"""Loads models for inference; those with the same base model share its weights in memory."""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.inference.heads import read_head_values, read_model_json
from tui_tuner.inference.model_places import (
    add_task_tokens,
    build_origin_config,
    find_model_folder,
    fit_origin_config,
    load_headed_model,
    require_origin_consent,
)
from tui_tuner.inference.origin import ADAPTER, BASE, Origin
from tui_tuner.inference.room import check_model_room
from tui_tuner.locales import _
from tui_tuner.methods.saved.putting import leaves_base, put_adapter
from tui_tuner.methods.stored import read_stored
from tui_tuner.models.growing.growth import find_growth
from tui_tuner.models.loading import find_torch_dtype, load_tokenizer
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.models.weight_reading import count_weights
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task, find_task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import check_base, read_base_record, require_base
from tui_tuner.training.load_run import choose_load_device, load_run

Said = Callable[[str, int, int], None]  # name of the model, weights loaded so far, all weights


class LoadedModel(NamedTuple):
    """A model of transformers or peft in evaluation mode, with its tokenizer, config and task."""

    origin: Origin
    model: Any
    tokenizer: Any
    config: RunConfig
    task: Task


class ModelKeeper:
    """Keeps loaded models until another set is requested.

    Args:
        device: `cpu`, `cuda:0` or `auto` (a GPU if there is one).
        changes: Fields of each config that are loaded with other values, such as `model.dtype`.
    """

    def __init__(self, device: str = "auto", changes: Mapping[str, Any] | None = None) -> None:
        self.device = choose_load_device(device)
        self._changes = dict(changes or {})
        self._bases: dict[str, Any] = {}
        self._taken: dict[Origin, str] = {}  # the base model of each
        self._loaded: dict[tuple[Origin, Any], LoadedModel] = {}

    def load_all(self, origins: Sequence[Origin], say: Said = lambda *_: None) -> list[LoadedModel]:
        """Load these models, and release all others.

        Raises:
            RunError, ModelError, HubError, HardwareError, ConfigError: one of them cannot be loaded.
            OutOfMemoryError: they do not fit into memory.
        """
        # A run may write a better model while a chat with it is open: its stamp then differs, and it is
        # loaded again
        wanted = [(origin, stamp_origin(origin)) for origin in origins]
        # Others are released before anything is loaded, as both together may not fit
        self._loaded = {key: one for key, one in self._loaded.items() if key in wanted}
        self._release_bases()
        self._check_room([origin for origin, seen in wanted if (origin, seen) not in self._loaded])
        for key in wanted:
            if key not in self._loaded:
                self._loaded[key] = self._load_guarded(key[0], say)
        return [self._loaded[key] for key in wanted]

    def _check_room(self, origins: Sequence[Origin]) -> None:
        """Raise `OutOfMemoryError` if the models to be loaded do not fit."""
        new: dict[str, tuple[Origin, RunConfig]] = {}
        for origin in origins:
            config = self._build_config(origin)
            adapter = _find_adapter(origin)
            # Full checkpoints, and adapters that change the base's tensors, need a copy of their own
            own = (
                origin.checkpoint not in ("", BASE)
                if adapter is None
                else not _leaves_base_unchanged(origin, adapter)
            )
            # Models that share weights need their memory only once
            key = _make_source_key(config, self.device) + (origin.display_label if own else "")
            if not any(base.startswith(key) for base in self._bases):
                new[key] = (origin, config)
        check_model_room(new.values(), self.device)

    def _build_config(self, origin: Origin) -> RunConfig:
        config = build_origin_config(origin)
        return edit_values(config, self._changes) if self._changes else config

    def _release_bases(self) -> None:
        """Release base models that no loaded model uses any more."""
        origins = {one.origin for one in self._loaded.values()}
        kept = {base for origin, base in self._taken.items() if origin in origins}
        self._bases = {key: base for key, base in self._bases.items() if key in kept}

    def _load_guarded(self, origin: Origin, say: Said) -> LoadedModel:
        say(origin.display_label, 0, 0)
        try:
            with count_weights(lambda done, total: say(origin.display_label, done, total)):
                return self._load_origin(origin)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            problem = one_line(error, 200)
            # The frames of the error hold the tensors that were loaded so far
            free_attempt_memory(error)
            raise OutOfMemoryError(
                _("ran out of memory while loading the model ({problem}).", problem=problem),
                where=one_line(origin.name),
                hint=_("Compare fewer models, or load them on the processor (--device cpu)."),
            ) from None

    def _load_origin(self, origin: Origin) -> LoadedModel:
        if origin.kind == "run":
            load = self._make_loader(origin, _find_adapter(origin), {})
            found = load_run(
                RunFolder(Path(origin.path)),
                origin.checkpoint,
                self.device,
                load,
                base=origin.base,
                any_base=origin.any_base,
                changes=self._changes,
            )
            return LoadedModel(origin, *found, find_task(found.config.task))
        config = self._build_config(origin)
        require_origin_consent(origin, config)
        task = find_task(config.task)
        if origin.kind == "adapter":
            config, model, tokenizer = self._load_adapter(origin, config, task)
        else:
            tokenizer = load_tokenizer(config.model)
            add_task_tokens(task, config, tokenizer)
            model = self._make_loader(origin, None, {})(config, self.device, tokenizer, {})
        return LoadedModel(origin, model.eval(), tokenizer, fit_origin_config(config, model, tokenizer), task)

    def _load_adapter(self, origin: Origin, config: RunConfig, task: Task) -> tuple[RunConfig, Any, Any]:
        """Load an adapter that no run here made; return (config, model, tokenizer)."""
        folder, name = Path(origin.path), one_line(origin.name)
        # Reports damaged files before a large model is loaded
        read_stored(folder)
        require_base(config.model, name)
        if not origin.any_base:
            check_base(config.model, read_base_record(folder), name)
        tokenizer = _load_own_tokenizer(folder, config)
        add_task_tokens(task, config, tokenizer)
        head = read_head_values(folder, task.new_modules) if task.new_modules else {}
        model = self._make_loader(origin, folder, head)(config, self.device, tokenizer, {})
        task.keep_metrics(model, read_model_json(folder / "config.json"))
        return config, model if origin.checkpoint == BASE else put_adapter(model, folder), tokenizer

    def _make_loader(
        self, origin: Origin, adapter: Path | None, head: Mapping[str, Any]
    ) -> Callable[[RunConfig, str, Any, Mapping[str, Any]], Any]:
        """Return a loader that reuses the weights of a base model that is loaded already.

        Args:
            head: Model config values for the head of an adapter.
        """
        shares = _leaves_base_unchanged(origin, adapter)

        def load_base(config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]) -> Any:
            task = find_task(config.task)
            key = self._taken[origin] = _make_base_key(config, device, task, learned, head, tokenizer)
            if key not in self._bases:
                self._bases[key] = load_headed_model(config, device, tokenizer, task, learned, head)
            return share_weights(self._bases[key]) if shares else copy.deepcopy(self._bases[key])

        return load_base


def _leaves_base_unchanged(origin: Origin, adapter: Path | None) -> bool:
    """Return whether a model leaves its base model's tensors unchanged."""
    return adapter is None or origin.checkpoint == BASE or leaves_base(read_stored(adapter))


def share_weights(model: Any) -> Any:
    """Copy a model without its tensors: attached adapters and config changes stay separate."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    # deepcopy takes objects from its memo instead of copying them, here all tensors
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def stamp_origin(origin: Origin) -> Any:
    """Return a value that changes when a run overwrites this model; None if it cannot change."""
    if origin.kind == "hub" or origin.checkpoint == BASE:
        return None
    try:
        found = find_model_folder(origin).stat()
        # A run replaces `best` by renaming a new folder, which gives it a new inode
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None


def _find_adapter(origin: Origin) -> Path | None:
    place = find_model_folder(origin)
    return place if (place / ADAPTER).is_file() else None


def _load_own_tokenizer(folder: Path, config: RunConfig) -> Any:
    """Load the tokenizer saved with an adapter, or else the base model's."""
    own = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    return load_tokenizer(config.model.model_copy(update={"tokenizer": str(folder)} if own else {}))


def _make_base_key(
    config: RunConfig,
    device: str,
    task: Task,
    learned: Mapping[str, Any],
    head: Mapping[str, Any],
    tokenizer: Any,
) -> str:
    """Return a key that is equal for models that start from the same weights."""
    scratch = config.model.architecture is not None or bool(task.new_modules)
    # Random weights depend on the seed, and on the vocabulary's size
    own: list[Any] = [config.training.seed, len(tokenizer)] if scratch else []
    growth = find_growth(tokenizer)
    own += [growth.format_record()] if growth is not None else []
    values = {**task.model_values(config, learned), **head}
    return _make_source_key(config, device) + json.dumps(
        [task.auto_class, own, values], sort_keys=True, default=str
    )


def _make_source_key(config: RunConfig, device: str) -> str:
    """Return a key of the weights that a config names and the form in which they are loaded."""
    section = config.model.model_dump(mode="json")
    section["name"] = os.path.realpath(section["name"]) if os.path.isdir(section["name"]) else section["name"]
    # These change nothing about the weights, so models that differ in them can share
    for name in ("tokenizer", "chat_template", "trust_remote_code"):
        section.pop(name, None)
    section["dtype"] = str(find_torch_dtype(section["dtype"], device))
    section["attention"] = "sdpa" if section["attention"] == "auto" else section["attention"]
    return json.dumps(section, sort_keys=True, default=str)
