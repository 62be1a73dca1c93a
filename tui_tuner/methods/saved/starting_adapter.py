"""An adapter that a run begins with (`model.adapter`): found, checked, and what of the method it decides.

Everything here reads files only, so that forms, plans and checks before a run can ask.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError, ModelError, TunerError, name_error_field
from tui_tuner.locales import N_, _
from tui_tuner.methods import find_method
from tui_tuner.methods.bottlenecks.stored_bottlenecks import place_adapters
from tui_tuner.methods.method import Method
from tui_tuner.methods.saved.putting import find_adapter_method
from tui_tuner.methods.stored import CONFIG, WEIGHTS, Stored, is_embedding, list_below, read_stored
from tui_tuner.runs.store import RunStore
from tui_tuner.text import one_line

FIELD = "model.adapter"
CONTINUE, MERGE, STACK = "continue", "merge", "stack"


def find_adapter(config: RunConfig) -> Path:
    """Return the folder of the adapter that `model.adapter` names: a folder, or the final model of a run.

    `RUN` is its best model, else its last one; `RUN/best` and `RUN/last` are one of them.

    Raises:
        ConfigError, UsageError: there is no such adapter.
    """
    name = str(config.model.adapter)
    folder = Path(name).expanduser()
    with name_error_field(FIELD):
        if (folder / CONFIG).is_file():
            return folder.absolute()
        if os.path.exists(folder) and not (folder / "config.yaml").is_file():
            raise _refuse_folder(name)
        run, _slash, which = name.rpartition("/") if name.endswith(("/best", "/last")) else (name, "", "")
        found = RunStore(config.output.folder).find_run(run)
        places = [place for place in (found.best_path, found.last_path) if which in ("", place.name)]
        for place in places:
            if (place / CONFIG).is_file():
                return place.absolute()
        if any(place.is_dir() for place in places):
            raise ConfigError(
                _("run {run} trained a whole model, and no adapter.", run=one_line(found.name)),
                where=FIELD,
                hint=build_hint(
                    N_("Begin with that model: {command}.",
                       command=write_setting({"model.name": str(places[0]), FIELD: None}))
                ),
            )  # fmt: skip
        raise ConfigError(
            _("run {run} has saved no model yet.", run=one_line(found.name)),
            where=FIELD,
            hint=_("Wait for its end, or name another run or folder."),
        )


def _refuse_folder(name: str) -> ConfigError:
    return ConfigError(
        _("{folder} holds no adapter: it has no adapter_config.json.", folder=one_line(name, 200)),
        where=FIELD,
        hint=_("Name a run, the folder of its final model, or an adapter that peft has saved."),
    )


def check_adapter(config: RunConfig, place: Path, peft_type: str) -> Stored:
    """Check that a run can begin with an adapter in the way it asks for.

    Args:
        peft_type: peft's name for the task.

    Raises:
        ConfigError, ModelError: it is damaged, or does not fit the method, the task or the way.
    """
    with name_error_field(FIELD):
        stored = read_stored(place)
        if not stored.settings:
            raise ModelError(
                _("its adapter_config.json is damaged."),
                where=one_line(place),
                hint=_("Copy the adapter's folder again."),
            )
        try:
            _check_use(config, stored, place, peft_type)
        # Settings come from a file, so each of them can have any type
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ModelError(
                _("its adapter_config.json is damaged: {error}.", error=one_line(error, 120)),
                where=one_line(place),
                hint=_("Copy the adapter's folder again."),
            ) from error
    return stored


def _check_use(config: RunConfig, stored: Stored, place: Path, peft_type: str) -> None:
    method = find_adapter_method(stored.settings)
    _check_task(stored, peft_type)
    match config.model.adapter_use:
        case "continue":
            _check_continue(config, stored, method, place)
        case "merge":
            _check_merge(method)
        case _:
            _check_stack(config, stored, method)


def _check_task(stored: Stored, peft_type: str) -> None:
    task = stored.settings.get("task_type")
    # adapters for answers are saved without a task, and those of other programs may have none
    if task in (None, "", peft_type):
        return
    raise ConfigError(
        _(
            "the adapter was trained for {its}, and this task is {ours} in peft's words.",
            its=one_line(task, 40),
            ours=peft_type,
        ),
        where=FIELD,
        hint=_("Choose the task that it was trained for, or another adapter."),
    )


def _check_continue(config: RunConfig, stored: Stored, method: Method, place: Path) -> None:
    own = find_method(config.method.kind)
    if not own.can_load(stored.settings):
        known = method.name if method.has(Trait.ADAPTER) and method.name != "adapter" else ""
        command = write_setting({"method.kind": known})
        train = N_("Train it with its own method, {command}.", command=command)
        if method.has(Trait.MERGEABLE):
            train = N_("Train it with its own method, {command}, or merge it first.", command=command)
        raise ConfigError(
            _(
                "the adapter was made by {its}, and {ours} cannot train it on.",
                its=method.name if known else one_line(stored.settings.get("peft_type"), 40),
                ours=config.method.kind,
            ),
            where="method.kind",
            field="method.kind",
            hint=build_hint(train) if known else _("Merge it first: model.adapter_use merge."),
        )
    if list_below(place):
        raise ConfigError(
            _("the adapter stands on others, which would have to be trained on too."),
            where=FIELD,
            hint=build_hint(N_("Use {command}.", command=write_setting({"model.adapter_use": STACK}))),
        )
    why = own.explain_end(stored.settings)
    if why:
        raise ConfigError(
            why,
            where=FIELD,
            hint=build_hint(
                N_("Merge it first: {command}.", command=write_setting({"model.adapter_use": MERGE}))
            )
            if own.has(Trait.MERGEABLE)
            else _("Begin a new one, or begin with another adapter."),
        )


def _check_merge(method: Method) -> None:
    if not method.has(Trait.MERGEABLE):
        raise ConfigError(
            _("an adapter of {method} changes no weight, so it cannot be merged.", method=method.name),
            where="model.adapter_use",
            field="model.adapter_use",
            hint=_("Use continue with the same method, or begin without it."),
        )


def _check_stack(config: RunConfig, stored: Stored, method: Method) -> None:
    own = find_method(config.method.kind)
    # embeddings that it replaces would be lost: a new adapter saves its own only
    whole = [f"{name}.weight" for name in stored.settings.get("modules_to_save") or ()]
    if own.can_stack(stored.settings) and not any(map(is_embedding, whole)):
        return
    raise ConfigError(
        _(
            "{ours} cannot be trained on top of a frozen adapter of {its}: peft adds up several adapters of "
            "one kind only (LoRA, LoHa or IA3), without trained embeddings, and DoRA none.",
            ours=config.method.kind,
            its=method.name,
        ),
        where="model.adapter_use",
        field="model.adapter_use",
        hint=build_hint(
            N_("Merge it first: {command}.", command=write_setting({"model.adapter_use": MERGE}))
        ),
    )


def read_method_fields(config: RunConfig, stored: Stored) -> dict[str, Any]:
    """Return the fields of the method that an adapter decides and that differ, by their dotted names."""
    found = find_method(config.method.kind).read_fields(stored.settings)
    return {
        f"method.{name}": value
        for name, value in found.items()
        if config.method.reads_field(name) and getattr(config.method, name) != value
    }


def follow_adapter(config: RunConfig) -> RunConfig:
    """Return a config as its run will begin: with its adapter's place, and the adapter's own sizes.

    What cannot be read stays as it is; a run says what is wrong with it.
    """
    if config.method.reads_field("adapters"):
        placed = place_adapters(config.method.fused_adapters, config.output.folder)
        config = edit_values(config, {"method.adapters": placed})
    if config.model.adapter is None:
        return config
    try:
        place = find_adapter(config)
        own: dict[str, Any] = {FIELD: str(place)}
        if config.model.adapter_use == CONTINUE:
            own |= read_method_fields(config, read_stored(place))
        return edit_values(config, own)
    except TunerError:
        return config


def count_frozen(config: RunConfig) -> tuple[float, ...]:
    """Return the elements of each tensor of the adapters that stay frozen below a new one."""
    if config.model.adapter is None or config.model.adapter_use != STACK:
        return ()
    place = Path(str(config.model.adapter)).expanduser()
    if not (place / WEIGHTS).is_file():
        return ()
    found: list[float] = []
    for folder in (*list_below(place), place):
        for name, shape in read_stored(folder).shapes.items():
            if not any(part in name for part in ("modules_to_save", "classifier", "score", "qa_outputs")):
                size = 1.0
                for side in shape:
                    size *= side
                found.append(size)
    return tuple(found)
