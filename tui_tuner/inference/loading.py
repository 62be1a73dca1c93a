"""Loaded models; those that began with the same base model share its weights in memory."""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.inference.origin import ADAPTER, BASE, Origin, read_adapter
from tui_tuner.inference.room import check_room
from tui_tuner.locales import _
from tui_tuner.models.hub.local import find
from tui_tuner.models.hub.place import is_path
from tui_tuner.models.loading import load_tokenizer, torch_dtype
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.models.reading import counting_weights
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task, find_task
from tui_tuner.text import one_line
from tui_tuner.training.load_run import choose_device, load_run, put_adapter

Said = Callable[[str, int, int], None]  # which model is loaded, how many of its weights are, of how many

# Beginnings of an adapter that leave the base model as it is; others take a part of its weights out of it.
_PLAIN = (True, False, None, "gaussian", "orthogonal")


class Loaded(NamedTuple):
    """A model of transformers or peft in evaluation mode, its tokenizer, and what it belongs to."""

    origin: Origin
    model: Any
    tokenizer: Any
    config: RunConfig
    task: Task


class Models:
    """Keeps what was loaded until another set is asked for.

    Args:
        device: `cpu`, `cuda:0` or `auto`: a GPU where there is one.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = choose_device(device)
        self._bases: dict[str, Any] = {}
        self._taken: dict[Origin, str] = {}  # the base that each was made of
        self._loaded: dict[tuple[Origin, Any], Loaded] = {}

    def load(self, origins: Sequence[Origin], say: Said = lambda *_: None) -> list[Loaded]:
        """Load these models, and let go of all others.

        Raises:
            RunError, ModelError, HubError, HardwareError, ConfigError: one of them cannot be loaded.
            OutOfMemoryError: there is no room for them.
        """
        wanted = [(origin, stamp(origin)) for origin in origins]
        self._loaded = {key: one for key, one in self._loaded.items() if key in wanted}
        self._let_go()
        self._check_room([origin for origin, seen in wanted if (origin, seen) not in self._loaded])
        for key in wanted:
            if key not in self._loaded:
                self._loaded[key] = self._guarded(key[0], say)
        return [self._loaded[key] for key in wanted]

    def _check_room(self, origins: Sequence[Origin]) -> None:
        """Raise `OutOfMemoryError` unless what has to be loaded fits."""
        new: dict[str, tuple[Origin, RunConfig]] = {}
        for origin in origins:
            config = config_of(origin)
            own = _adapter(origin) is None and origin.checkpoint not in ("", BASE)
            key = _source_key(config, self.device) + (origin.label if own else "")
            if not any(base.startswith(key) for base in self._bases):
                new[key] = (origin, config)
        check_room(new.values(), self.device)

    def _let_go(self) -> None:
        """Of base models that nothing is made of any more."""
        origins = {one.origin for one in self._loaded.values()}
        kept = {base for origin, base in self._taken.items() if origin in origins}
        self._bases = {key: base for key, base in self._bases.items() if key in kept}

    def _guarded(self, origin: Origin, say: Said) -> Loaded:
        say(origin.label, 0, 0)
        try:
            with counting_weights(lambda done, total: say(origin.label, done, total)):
                return self._load(origin)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            problem = one_line(error, 200)
            free_memory_of(error)
            raise OutOfMemoryError(
                _("memory ran out while the model was loaded ({problem}).", problem=problem),
                where=one_line(origin.name),
                hint=_("Compare fewer models, or load them on the processor (--device cpu)."),
            ) from None

    def _load(self, origin: Origin) -> Loaded:
        if origin.kind == "run":
            folder = RunFolder(Path(origin.path))
            found = load_run(folder, origin.checkpoint, self.device, self._sharing(origin, _adapter(origin)))
            return Loaded(origin, *found, find_task(found.config.task))
        config = config_of(origin)
        task = find_task(config.task)
        if origin.kind == "adapter":
            tokenizer = _tokenizer_of(Path(origin.path), config)
            model = self._sharing(origin, Path(origin.path))(config, self.device, tokenizer, {})
            if origin.checkpoint != BASE:
                model = put_adapter(model, Path(origin.path))
        else:
            tokenizer = load_tokenizer(config.model)
            model = self._sharing(origin, None)(config, self.device, tokenizer, {})
        return Loaded(origin, model.eval(), tokenizer, config, task)

    def _sharing(
        self, origin: Origin, adapter: Path | None
    ) -> Callable[[RunConfig, str, Any, Mapping[str, Any]], Any]:
        """Loads a base model, or makes another of the weights of one that is here."""
        begins = read_adapter(adapter).get("init_lora_weights") if adapter is not None else None
        plain = begins in _PLAIN

        def load(config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]) -> Any:
            task = find_task(config.task)
            key = self._taken[origin] = _base_key(config, device, task, learned, tokenizer)
            if key not in self._bases:
                self._bases[key] = task.load(config, device, tokenizer, learned)
            return share_weights(self._bases[key]) if plain else copy.deepcopy(self._bases[key])

        return load


def bases_not_here(origins: Sequence[Origin]) -> list[ModelSection]:
    """Models of hubs whose weights these need, and which are not on this machine whole."""
    missing: dict[tuple[str, str | None], ModelSection] = {}
    for origin in origins:
        own = origin.kind == "run" and origin.checkpoint != BASE and _adapter(origin) is None
        model = config_of(origin).model
        if own or model.architecture is not None or is_path(model.name):
            continue
        if find(model.name, model.revision, model.hub) is None:
            missing[model.name, model.revision] = model
    return list(missing.values())


def share_weights(model: Any) -> Any:
    """Another model of the same tensors: what is attached to it, or set on its config, is its own."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def config_of(origin: Origin) -> RunConfig:
    """The config of a run; for a model that no run made, one that names it.

    Raises:
        ConfigError, ModelError: it is damaged.
    """
    if origin.kind == "run":
        from tui_tuner.config.load import read_config
        from tui_tuner.inference.origin import RESOLVED

        return read_config(Path(origin.path) / RESOLVED)
    name, revision = origin.path, origin.revision
    if origin.kind == "adapter":
        said = read_adapter(Path(origin.path))
        name, revision = said["base_model_name_or_path"], said.get("revision") or ""
    return build_config({"task": origin.task, "model": {"name": name, "revision": revision or None}})


def stamp(origin: Origin) -> Any:
    """What changes when a run writes this model anew; None for what does not change."""
    if origin.kind == "hub" or origin.checkpoint == BASE:
        return None
    place = _place(origin)
    try:
        found = place.stat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None


def _place(origin: Origin) -> Path:
    path = Path(origin.path)
    if origin.kind != "run":
        return path
    folder = RunFolder(path)
    return {"best": folder.best, "last": folder.last}.get(
        origin.checkpoint, folder.checkpoints / one_line(origin.checkpoint)
    )


def _adapter(origin: Origin) -> Path | None:
    place = _place(origin)
    return place if (place / ADAPTER).is_file() else None


def _tokenizer_of(folder: Path, config: RunConfig) -> Any:
    """The tokenizer beside an adapter, or the base model's."""
    own = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    return load_tokenizer(config.model.model_copy(update={"tokenizer": str(folder)} if own else {}))


def _base_key(config: RunConfig, device: str, task: Task, learned: Mapping[str, Any], tokenizer: Any) -> str:
    """What two models must have in common to begin with the same weights."""
    scratch = config.model.architecture is not None or bool(task.new_modules)
    own = [config.training.seed, len(tokenizer)] if scratch else []
    values = task.model_values(config, learned)
    return _source_key(config, device) + json.dumps(
        [task.auto_class, own, values], sort_keys=True, default=str
    )


def _source_key(config: RunConfig, device: str) -> str:
    """Which weights a config names, and how they are held."""
    section = config.model.model_dump(mode="json")
    section["name"] = os.path.realpath(section["name"]) if os.path.isdir(section["name"]) else section["name"]
    for name in ("tokenizer", "chat_template", "trust_remote_code"):
        section.pop(name, None)
    section["dtype"] = str(torch_dtype(section["dtype"], device))
    section["attention"] = "sdpa" if section["attention"] == "auto" else section["attention"]
    return json.dumps(section, sort_keys=True, default=str)
