"""Rules for which fields and methods apply: forms offer only those, and others are reported as unused.

A field may apply to some tasks only (`TaskKind.reads`), to some methods only (`MethodKind.fields`), or to
certain values of other fields (`BESIDE`). All others always apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.optimizers import OptimizerKind, find_optimizer
from tui_tuner.config.kinds.tasks import TASKS, WRITING, is_tiny_model
from tui_tuner.config.options import get_config_value, list_options
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.text import join_sentence_items

TASK, METHOD, FIELD = "task", "method", "field"
Get = Callable[[str], Any]  # the value of a field


@dataclass(frozen=True)
class Beside:
    """The values of other fields that a field needs to have an effect.

    Args:
        holds: Tells whether the other fields have such values.
        words: The reason, as a sentence.
        refused: Whether the run itself warns or refuses to start if they do not. A form then keeps showing
            the field while it is set, so that the user can fix it.
    """

    holds: Callable[[Get], bool]
    words: str
    refused: bool = False


@dataclass(frozen=True)
class Unread:
    """Fields that are set but have no effect.

    Args:
        by: The cause: TASK, METHOD, or FIELD for the values of other fields.
        said: A sentence that names the fields.
        reason: A sentence with the reason.
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
    """Return whether a model or a tokenizer may come from a hub."""
    own = get("model.name") == "demo" or is_tiny_model(get("model.name"))
    return not own or get("model.tokenizer") not in (None, "train")


def _own_words(get: Get) -> bool:
    """Return whether virtual tokens can be initialised from words."""
    return not _has_trait(get, Trait.PREFIX) or get("method.encoder_size") is None


def _has_trait(get: Get, trait: Trait) -> bool:
    """Return whether the method of a draft has a trait; an unknown method has none."""
    kind = METHODS.get(str(get("method.kind")))
    return kind is not None and kind.has_trait(trait)


def _trains_embeddings(get: Get) -> bool:
    """Return whether the method can train embeddings beside an adapter."""
    kind = METHODS.get(str(get("method.kind")))
    return kind is not None and "train_embeddings" in kind.fields


def _optimizer(get: Get) -> OptimizerKind:
    return find_optimizer(str(get("training.optimizer")))


_LOW_RANK = N_("It is for the optimizers galore and apollo.")
_HELD_OUT = N_("It needs held-out rows, but data.validation holds none out.")
BESIDE: dict[str, Beside] = {
    "model.hub": Beside(
        _from_hub, N_("It applies to models from a hub; demo and tiny are part of this package.")
    ),
    "model.revision": Beside(
        lambda get: get("model.name") != "demo" and not is_tiny_model(get("model.name")),
        N_("It applies to models from a hub; demo and tiny are part of this package."),
    ),
    "model.quantization": Beside(
        lambda get: _has_trait(get, Trait.QUANTISABLE),
        N_("It applies to methods that keep the model's own weights frozen."),
        refused=True,
    ),
    "model.double_quant": Beside(
        lambda get: get("model.quantization") == "nf4", N_("It applies to model.quantization nf4.")
    ),
    "model.adapter_use": Beside(
        lambda get: get("model.adapter") is not None, N_("It is for model.adapter, and that is empty.")
    ),
    "model.vocabulary": Beside(
        lambda get: get("model.tokenizer") == "train",
        N_("It applies to a newly trained tokenizer: model.tokenizer train."),
    ),
    "model.new_tokens_train": Beside(
        lambda get: get("model.new_tokens") is not None and _trains_embeddings(get),
        N_("It is for model.new_tokens, with a method of the LoRA family."),
    ),
    "data.packing": Beside(
        lambda get: not _has_trait(get, Trait.VIRTUAL_TOKENS),
        N_("Rows with virtual tokens before them cannot be packed."),
        refused=True,
    ),
    "data.pick": Beside(
        lambda get: get("data.limit") is not None,
        N_("It selects the rows for data.limit, which is empty."),
    ),
    "data.cleaning.phrases": Beside(
        lambda get: bool(get("data.cleaning.refusals")),
        N_("It applies to data.cleaning.refusals, which is off."),
    ),
    "method.initial_text": Beside(
        _own_words,
        N_(
            "A network generates the virtual tokens (method.encoder_size), so they cannot be initialised "
            "from words."
        ),
    ),
    "training.epochs": Beside(
        lambda get: get("training.max_steps") is None, N_("training.max_steps sets the length of the run.")
    ),
    "training.gradient_checkpointing": Beside(
        lambda get: get("method.kind") not in METHODS or _has_trait(get, Trait.CHECKPOINTABLE),
        N_("Recomputing activations would leave out the prefix."),
        refused=True,
    ),
    "training.lora_plus_ratio": Beside(
        lambda get: get("method.kind") not in METHODS or _has_trait(get, Trait.RANKED),
        N_("It is for methods of the LoRA family."),
    ),
    "training.schedule": Beside(
        lambda get: _optimizer(get).scheduled,
        N_("Schedule-Free needs no schedule: after the warm-up the learning rate stays at its peak."),
    ),
    "training.optimizer_rank": Beside(lambda get: _optimizer(get).low_rank, _LOW_RANK),
    "training.optimizer_interval": Beside(lambda get: _optimizer(get).low_rank, _LOW_RANK),
    "training.adam_beta1": Beside(
        lambda get: _optimizer(get).reads_betas,
        N_("It is for optimizers with the moments of AdamW."),
    ),
    "training.adam_beta2": Beside(
        lambda get: _optimizer(get).reads_betas,
        N_("It is for optimizers with the moments of AdamW."),
    ),
    "training.tf32": Beside(
        lambda get: get("hardware.devices") != "cpu", N_("It applies to GPUs, but hardware.devices is cpu.")
    ),
    "evaluation.samples": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.metric_rows": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.metrics": Beside(
        lambda get: bool(get("data.validation") and get("evaluation.metric_rows")),
        N_("It applies to scored answers, but evaluation.metric_rows is 0."),
    ),
    "evaluation.max_new_tokens": Beside(_answers_prompts, N_("This run answers no prompts.")),
    "evaluation.best": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.early_stopping": Beside(lambda get: bool(get("data.validation")), _HELD_OUT, refused=True),
}


def list_particular_fields() -> frozenset[str]:
    """Return the fields that only some tasks read."""
    return frozenset(WRITING).union(*(kind.reads + kind.ignores for kind in TASKS.values()))


def list_dependent_fields() -> frozenset[str]:
    """Return the fields that do not always have an effect."""
    return (
        list_particular_fields() | {path for path in list_options() if _of_methods(path)} | frozenset(BESIDE)
    )


def is_read_by_task(task: str, path: str) -> bool:
    """Return whether a field affects runs of a task; True for an unknown task."""
    kind = TASKS.get(task)
    if kind is None or path not in list_particular_fields():
        return True
    if any(path in other.ignores for other in TASKS.values()):
        return path not in kind.ignores
    return path in kind.reads or (kind.writes and path in WRITING)


def is_read_by_method(method: str, path: str) -> bool:
    """Return whether a field has an effect with a method; True for an unknown method."""
    return (
        not _of_methods(path)
        or method not in METHODS
        or path.removeprefix("method.") in METHODS[method].fields
    )


def _of_methods(path: str) -> bool:
    return path.startswith("method.") and path != "method.kind"


def has_effect(path: str, get: Get) -> bool:
    """Return whether a field has an effect on a run, or must stay visible although it has none.

    Args:
        get: Returns the value of a field, by its dotted name.
    """
    if not is_read_by_task(str(get("task")), path) or not is_read_by_method(str(get("method.kind")), path):
        return False
    beside = BESIDE.get(path)
    if beside is None or beside.holds(get):
        return True
    # The run will complain about this field, so a form must keep showing it. False and the default ask
    # for nothing.
    return beside.refused and get(path) not in (list_options()[path].default, False)


def list_reading_tasks(path: str) -> list[str]:
    """Return the names of the tasks that read a field."""
    return [name for name in TASKS if is_read_by_task(name, path)]


def list_unread_fields(config: RunConfig) -> list[str]:
    """Return the fields that differ from their default but have no effect on this run."""

    def get(path: str) -> Any:
        return get_config_value(config, path)

    return [
        path
        for path, option in list_options().items()
        if not has_effect(path, get)
        and get(path) != option.default
        # It follows from the limits of both sides (`RunConfig`) and was set by nobody.
        and not (path == "data.max_length" and config.task_kind.encoder_decoder)
    ]


def describe_unread_fields(config: RunConfig) -> list[Unread]:
    """Return the fields without effect, grouped by cause: task, method, or other fields."""
    fields = list_unread_fields(config)
    of_tasks = [path for path in fields if not is_read_by_task(config.task, path)]
    of_methods = [path for path in fields if not is_read_by_method(config.method.kind, path)]
    rest = [path for path in fields if path not in of_tasks and path not in of_methods]
    found = []
    if of_tasks:
        said = _(
            "{task} does not read {fields}.",
            task=_(config.task_kind.label),
            fields=join_sentence_items(of_tasks),
        )
        tasks = ", ".join(dict.fromkeys(name for path in of_tasks for name in list_reading_tasks(path)))
        reason = _("Only task {tasks} uses this; it has no effect here.", tasks=tasks)
        found.append(Unread(TASK, tuple(of_tasks), said, reason))
    if of_methods:
        label = _(METHODS[config.method.kind].label)
        said = _("{method} does not use {fields}.", method=label, fields=join_sentence_items(of_methods))
        reason = _("Only other methods use this; it has no effect here.")
        found.append(Unread(METHOD, tuple(of_methods), said, reason))
    if rest:
        said = _("Set, but without effect in this run: {fields}.", fields=join_sentence_items(rest))
        reason = " ".join(dict.fromkeys(_(BESIDE[path].words) for path in rest))
        found.append(Unread(FIELD, tuple(rest), said, reason))
    return found


def list_task_methods(task: str) -> list[str]:
    """Return the methods that can train a task; all of them for an unknown task."""
    return [name for name in METHODS if can_method_train(task, name)]


def can_method_train(task: str, method: str) -> bool:
    """Return whether a task can be trained with a method; False for an unknown method."""
    kind = TASKS.get(task)
    return method in METHODS and (kind is None or kind.takes_method(method))


def make_field_getter(values: Mapping[str, Any]) -> Get:
    """Return a function that gives the value of a field in a draft, or its default."""

    def get(path: str) -> Any:
        found: Any = values
        for part in path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return list_options()[path].default
            found = found[part]
        return found

    return get
