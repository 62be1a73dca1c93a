"""Decide which fields have an effect: which ones a form offers, and which are set in vain.

A field may apply only to some tasks (`TaskKind.reads`), to some methods (`MethodKind.fields`), or with
certain values of other fields (`BESIDE`). All others always apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.tasks import TASKS, WRITING, is_tiny
from tui_tuner.config.options import get_value, list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.text import list_items

TASK, METHOD, FIELD = "task", "method", "field"
Get = Callable[[str], Any]  # the value of a field


@dataclass(frozen=True)
class Beside:
    """A condition on other fields under which a field has an effect.

    Args:
        holds: The condition.
        words: A sentence that explains it.
        refused: If it does not hold, the run itself reports that it cannot do what the field asks for, or
            does not start: a field that is set stays visible in the form, so that it can be corrected.
    """

    holds: Callable[[Get], bool]
    words: str
    refused: bool = False


@dataclass(frozen=True)
class Unread:
    """Fields that are set but have no effect.

    Args:
        by: What makes them ineffective: the task, the method, or other fields.
        said: A sentence about them.
        reason: The reason.
    """

    by: str
    fields: tuple[str, ...]
    said: str
    reason: str


def _answers_prompts(get: Get) -> bool:
    """Return whether the run answers any prompts."""
    own = get("evaluation.prompts")
    return bool(
        own or (get("data.validation") and (get("evaluation.samples") or get("evaluation.metric_rows")))
    )


def _from_hub(get: Get) -> bool:
    """Return whether the model or the tokenizer may come from a hub."""
    own = get("model.name") == "demo" or is_tiny(get("model.name"))
    return not own or get("model.tokenizer") not in (None, "train")


def _own_words(get: Get) -> bool:
    """Return whether virtual tokens can be initialised from words."""
    return not _has_trait(get, Trait.PREFIX) or get("method.encoder_size") is None


def _has_trait(get: Get, trait: Trait) -> bool:
    """Return whether the method of a draft has a trait; unknown methods have none."""
    kind = METHODS.get(str(get("method.kind")))
    return kind is not None and kind.has_trait(trait)


_HELD_OUT = N_("It is for held-out rows, but data.validation holds none out.")
BESIDE: dict[str, Beside] = {
    "model.hub": Beside(
        _from_hub, N_("It is for models and tokenizers from a hub; demo and tiny are part of this package.")
    ),
    "model.revision": Beside(
        lambda get: get("model.name") != "demo" and not is_tiny(get("model.name")),
        N_("It is for models from a hub; demo and tiny are part of this package."),
    ),
    "model.quantization": Beside(
        lambda get: _has_trait(get, Trait.QUANTISABLE),
        N_("It is for methods that keep the model's own weights frozen."),
        refused=True,
    ),
    "model.double_quant": Beside(
        lambda get: get("model.quantization") == "nf4", N_("It is for model.quantization: nf4.")
    ),
    "model.vocabulary": Beside(
        lambda get: get("model.tokenizer") == "train",
        N_("It is for a newly trained tokenizer (model.tokenizer: train)."),
    ),
    "data.packing": Beside(
        lambda get: not _has_trait(get, Trait.VIRTUAL_TOKENS),
        N_("Rows with virtual tokens before them cannot be packed."),
        refused=True,
    ),
    "data.pick": Beside(
        lambda get: get("data.limit") is not None,
        N_("It chooses the rows that data.limit keeps, but data.limit is empty."),
    ),
    "data.cleaning.phrases": Beside(
        lambda get: bool(get("data.cleaning.refusals")),
        N_("It is for data.cleaning.refusals, which is off."),
    ),
    "method.initial_text": Beside(
        _own_words,
        N_("A network generates the virtual tokens (method.encoder_size), so they cannot start as words."),
    ),
    "training.epochs": Beside(
        lambda get: get("training.max_steps") is None,
        N_("training.max_steps determines the length of the run."),
    ),
    "training.gradient_checkpointing": Beside(
        lambda get: get("method.kind") not in METHODS or _has_trait(get, Trait.CHECKPOINTABLE),
        N_("Recomputed activations would lack the prefix."),
        refused=True,
    ),
    "training.adam_beta1": Beside(
        lambda get: get("training.optimizer") not in ("sgd", "adafactor"),
        N_("It is for the AdamW optimizers."),
    ),
    "training.adam_beta2": Beside(
        lambda get: get("training.optimizer") not in ("sgd", "adafactor"),
        N_("It is for the AdamW optimizers."),
    ),
    "training.tf32": Beside(
        lambda get: get("hardware.devices") != "cpu", N_("It is for GPUs, but hardware.devices is cpu.")
    ),
    "evaluation.samples": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.metric_rows": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.metrics": Beside(
        lambda get: bool(get("data.validation") and get("evaluation.metric_rows")),
        N_("It is for scored answers, but evaluation.metric_rows is 0."),
    ),
    "evaluation.max_new_tokens": Beside(_answers_prompts, N_("This run answers no prompts.")),
    "evaluation.best": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.early_stopping": Beside(lambda get: bool(get("data.validation")), _HELD_OUT, refused=True),
}


def list_particular_fields() -> frozenset[str]:
    """Return the fields that only some tasks read."""
    return frozenset(WRITING).union(*(kind.reads for kind in TASKS.values()))


def list_dependent_fields() -> frozenset[str]:
    """Return the fields that do not always have an effect."""
    return (
        list_particular_fields() | {path for path in list_options() if _of_methods(path)} | frozenset(BESIDE)
    )


def task_reads(task: str, path: str) -> bool:
    """Return whether a field has an effect on runs of a task; for an unknown task, every field has."""
    kind = TASKS.get(task)
    if kind is None or path not in list_particular_fields():
        return True
    return path in kind.reads or (kind.writes and path in WRITING)


def method_reads(method: str, path: str) -> bool:
    """Return whether a field has an effect with a method; for an unknown method, every field has."""
    return (
        not _of_methods(path)
        or method not in METHODS
        or path.removeprefix("method.") in METHODS[method].fields
    )


def _of_methods(path: str) -> bool:
    return path.startswith("method.") and path != "method.kind"


def has_effect(path: str, get: Get) -> bool:
    """Return whether a field has an effect on a run, or must stay visible because the run refuses it.

    Args:
        get: Returns the value of a field by its dotted name.
    """
    if not task_reads(str(get("task")), path) or not method_reads(str(get("method.kind")), path):
        return False
    beside = BESIDE.get(path)
    if beside is None or beside.holds(get):
        return True
    # A setting that makes the run fail must not disappear from the form; at its default it does no harm
    return beside.refused and get(path) not in (list_options()[path].default, False)


def list_readers(path: str) -> list[str]:
    """Return the names of the tasks that read a field."""
    return [name for name in TASKS if task_reads(name, path)]


def list_unread_fields(config: RunConfig) -> list[str]:
    """Return the fields that differ from their default and have no effect on this run."""

    def get(path: str) -> Any:
        return get_value(config, path)

    return [
        path
        for path, option in list_options().items()
        if not has_effect(path, get) and get(path) != option.default
    ]


def describe_unread_fields(config: RunConfig) -> list[Unread]:
    """Describe fields without effect: those of other tasks, of other methods, and the rest."""
    fields = list_unread_fields(config)
    of_tasks = [path for path in fields if not task_reads(config.task, path)]
    # The conditions on other fields are the last reason to give: changing those would not help a field that
    # the task or the method does not read
    of_methods = [path for path in fields if not method_reads(config.method.kind, path)]
    rest = [path for path in fields if path not in of_tasks and path not in of_methods]
    found = []
    if of_tasks:
        said = _("{task} does not use {fields}.", task=_(config.task_kind.label), fields=list_items(of_tasks))
        tasks = ", ".join(dict.fromkeys(name for path in of_tasks for name in list_readers(path)))
        reason = _("They are for task {tasks} and change nothing here.", tasks=tasks)
        found.append(Unread(TASK, tuple(of_tasks), said, reason))
    if of_methods:
        label = _(METHODS[config.method.kind].label)
        said = _("{method} does not use {fields}.", method=label, fields=list_items(of_methods))
        reason = _("They are for other methods and change nothing here.")
        found.append(Unread(METHOD, tuple(of_methods), said, reason))
    if rest:
        said = _("Set, but without effect in this run: {fields}.", fields=list_items(rest))
        reason = " ".join(dict.fromkeys(_(BESIDE[path].words) for path in rest))
        found.append(Unread(FIELD, tuple(rest), said, reason))
    return found


def list_methods(task: str) -> list[str]:
    """Return the methods that can train a task; all methods for an unknown task."""
    return [name for name in METHODS if can_train(task, name)]


def can_train(task: str, method: str) -> bool:
    """Return whether a method can train a task; an unknown method trains none."""
    kind = TASKS.get(task)
    return method in METHODS and (kind is None or kind.takes_method(method))


def make_getter(values: Mapping[str, Any]) -> Get:
    """Return a function that looks up the values of a draft, or their defaults."""

    def get(path: str) -> Any:
        found: Any = values
        for part in path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return list_options()[path].default
            found = found[part]
        return found

    return get
