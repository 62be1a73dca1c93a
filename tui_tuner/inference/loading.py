"""Loaded models; those that began with the same base model share its weights in memory."""

from __future__ import annotations

import copy
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import OutOfMemoryError
from tui_tuner.inference.heads import head_values, read_json
from tui_tuner.inference.origin import ADAPTER, BASE, Origin
from tui_tuner.inference.places import config_of, fitted, load_headed, place_of, require_consent, task_tokens
from tui_tuner.inference.room import check_room
from tui_tuner.locales import _
from tui_tuner.methods.putting import put_adapter, read_stored
from tui_tuner.models.loading import load_tokenizer, torch_dtype
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.models.reading import counting_weights
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import Task, find_task
from tui_tuner.text import one_line
from tui_tuner.training.base_model import check_base, read_base, require_base
from tui_tuner.training.load_run import choose_device, load_run

Said = Callable[[str, int, int], None]  # which model is loaded, how many of its weights are, of how many


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
            adapter = _adapter(origin)
            own = origin.checkpoint not in ("", BASE) if adapter is None else not _shares(origin, adapter)
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
            load = self._sharing(origin, _adapter(origin), {})
            found = load_run(
                RunFolder(Path(origin.path)),
                origin.checkpoint,
                self.device,
                load,
                base=origin.base,
                any_base=origin.any_base,
            )
            return Loaded(origin, *found, find_task(found.config.task))
        config = config_of(origin)
        require_consent(origin, config)
        task = find_task(config.task)
        if origin.kind == "adapter":
            config, model, tokenizer = self._load_adapter(origin, config, task)
        else:
            tokenizer = load_tokenizer(config.model)
            task_tokens(task, config, tokenizer)
            model = self._sharing(origin, None, {})(config, self.device, tokenizer, {})
        return Loaded(origin, model.eval(), tokenizer, fitted(config, model, tokenizer), task)

    def _load_adapter(self, origin: Origin, config: RunConfig, task: Task) -> tuple[RunConfig, Any, Any]:
        """A base model with an adapter that no run is known of, and its tokenizer."""
        folder, name = Path(origin.path), one_line(origin.name)
        read_stored(folder)  # damaged files are found before a large model is loaded
        require_base(config.model, name)
        if not origin.any_base:
            check_base(config.model, read_base(folder), name)
        tokenizer = _tokenizer_of(folder, config)
        task_tokens(task, config, tokenizer)
        head = head_values(folder, task.new_modules) if task.new_modules else {}
        model = self._sharing(origin, folder, head)(config, self.device, tokenizer, {})
        task.keep(model, read_json(folder / "config.json"))
        return config, model if origin.checkpoint == BASE else put_adapter(model, folder), tokenizer

    def _sharing(
        self, origin: Origin, adapter: Path | None, head: Mapping[str, Any]
    ) -> Callable[[RunConfig, str, Any, Mapping[str, Any]], Any]:
        """Loads a base model, or makes another of the weights of one that is here.

        Args:
            head: What the model's config has to say for the head that an adapter brings.
        """
        shares = _shares(origin, adapter)

        def load(config: RunConfig, device: str, tokenizer: Any, learned: Mapping[str, Any]) -> Any:
            task = find_task(config.task)
            key = self._taken[origin] = _base_key(config, device, task, learned, head, tokenizer)
            if key not in self._bases:
                self._bases[key] = load_headed(config, device, tokenizer, task, learned, head)
            return share_weights(self._bases[key]) if shares else copy.deepcopy(self._bases[key])

        return load


def _shares(origin: Origin, adapter: Path | None) -> bool:
    """Whether what is made of a base model leaves its tensors as they are."""
    return adapter is None or origin.checkpoint == BASE or read_stored(adapter).leaves_base


def share_weights(model: Any) -> Any:
    """Another model of the same tensors: what is attached to it, or set on its config, is its own."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def stamp(origin: Origin) -> Any:
    """What changes when a run writes this model anew; None for what does not change."""
    if origin.kind == "hub" or origin.checkpoint == BASE:
        return None
    try:
        found = place_of(origin).stat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None


def _adapter(origin: Origin) -> Path | None:
    place = place_of(origin)
    return place if (place / ADAPTER).is_file() else None


def _tokenizer_of(folder: Path, config: RunConfig) -> Any:
    """The tokenizer beside an adapter, or the base model's."""
    own = any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    return load_tokenizer(config.model.model_copy(update={"tokenizer": str(folder)} if own else {}))


def _base_key(
    config: RunConfig,
    device: str,
    task: Task,
    learned: Mapping[str, Any],
    head: Mapping[str, Any],
    tokenizer: Any,
) -> str:
    """What two models must have in common to begin with the same weights."""
    scratch = config.model.architecture is not None or bool(task.new_modules)
    own = [config.training.seed, len(tokenizer)] if scratch else []
    values = {**task.model_values(config, learned), **head}
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
