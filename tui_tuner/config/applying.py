"""Which fields and methods apply: what a form offers, and what has no effect where it is set.

A field may be for some tasks alone (`TaskKind.reads`), for some methods alone (`METHOD_FIELDS`), or for
certain values of other fields (`BESIDE`). All others apply always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds import METHOD_FIELDS, METHODS, PROMPTS, QUANTISABLE, TASKS, WRITING, is_tiny
from tui_tuner.config.options import get_value, options
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.text import listed

TASK, METHOD, FIELD = "task", "method", "field"
Get = Callable[[str], Any]  # the value of a field


@dataclass(frozen=True)
class Beside:
    """What other fields have to be for a field to have an effect.

    Args:
        holds: Whether they are.
        words: A sentence about that.
        refused: Where they are not, a run says by itself that it cannot do what the field asks for, or does
            not begin: the field stays in sight where it is set, to be mended.
    """

    holds: Callable[[Get], bool]
    words: str
    refused: bool = False


@dataclass(frozen=True)
class Unread:
    """Fields that are set and have no effect.

    Args:
        by: What they do not go with: the task, the method, or other fields.
        said: A sentence about them.
        reason: Why that is so.
    """

    by: str
    fields: tuple[str, ...]
    said: str
    reason: str


def _answers(get: Get) -> bool:
    """Whether prompts are answered at all."""
    own = get("evaluation.prompts")
    return bool(
        own or (get("data.validation") and (get("evaluation.samples") or get("evaluation.metric_rows")))
    )


def _from_hub(get: Get) -> bool:
    """Whether a model or a tokenizer may come from a hub."""
    own = get("model.name") == "demo" or is_tiny(get("model.name"))
    return not own or get("model.tokenizer") not in (None, "train")


def _own_words(get: Get) -> bool:
    """Whether virtual tokens may begin as words."""
    return get("method.kind") != "prefix_tuning" or get("method.encoder_size") is None


_HELD_OUT = N_("It is about held-out rows, and data.validation holds none out.")
BESIDE: dict[str, Beside] = {
    "model.hub": Beside(
        _from_hub, N_("It is for what comes from a hub; demo and tiny are made by this package.")
    ),
    "model.revision": Beside(
        lambda get: get("model.name") != "demo" and not is_tiny(get("model.name")),
        N_("It is for models of a hub; demo and tiny are made by this package."),
    ),
    "model.quantization": Beside(
        lambda get: get("method.kind") in QUANTISABLE,
        N_("It is for methods that leave the model's own weights as they are."),
        refused=True,
    ),
    "model.double_quant": Beside(
        lambda get: get("model.quantization") == "nf4", N_("It is for model.quantization nf4.")
    ),
    "model.vocabulary": Beside(
        lambda get: get("model.tokenizer") == "train",
        N_("It is for a tokenizer that is learnt: model.tokenizer train."),
    ),
    "data.packing": Beside(
        lambda get: get("method.kind") not in PROMPTS,
        N_("Rows with virtual tokens before them cannot lie side by side."),
        refused=True,
    ),
    "data.pick": Beside(
        lambda get: get("data.limit") is not None,
        N_("It says which rows data.limit takes, and that is empty."),
    ),
    "data.cleaning.phrases": Beside(
        lambda get: bool(get("data.cleaning.refusals")),
        N_("It is for data.cleaning.refusals, and that is off."),
    ),
    "method.initial_text": Beside(
        _own_words,
        N_("A network makes the virtual tokens (method.encoder_size): they cannot begin as words."),
    ),
    "training.epochs": Beside(
        lambda get: get("training.max_steps") is None, N_("training.max_steps decides how long the run is.")
    ),
    "training.gradient_checkpointing": Beside(
        lambda get: get("method.kind") != "prefix_tuning",
        N_("Computing activations again would leave the prefix out."),
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
        lambda get: get("hardware.devices") != "cpu", N_("It is for GPUs, and hardware.devices is cpu.")
    ),
    "evaluation.samples": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.metric_rows": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.metrics": Beside(
        lambda get: bool(get("data.validation") and get("evaluation.metric_rows")),
        N_("It is for answers that are scored, and evaluation.metric_rows asks for none."),
    ),
    "evaluation.max_new_tokens": Beside(_answers, N_("No prompt is answered in this run.")),
    "evaluation.best": Beside(lambda get: bool(get("data.validation")), _HELD_OUT),
    "evaluation.early_stopping": Beside(lambda get: bool(get("data.validation")), _HELD_OUT, refused=True),
}


def particular() -> frozenset[str]:
    """The fields that some tasks read and others do not."""
    return frozenset(WRITING).union(*(kind.reads for kind in TASKS.values()))


def dependent() -> frozenset[str]:
    """The fields that do not always have an effect."""
    return particular() | {path for path in options() if _of_methods(path)} | frozenset(BESIDE)


def reads(task: str, path: str) -> bool:
    """Whether a field has an effect on runs of a task; all have for a task that nobody knows."""
    kind = TASKS.get(task)
    if kind is None or path not in particular():
        return True
    return path in kind.reads or (kind.writes and path in WRITING)


def method_reads(method: str, path: str) -> bool:
    """Whether a field has an effect with a method; all have for a method that nobody knows."""
    return (
        not _of_methods(path)
        or method not in METHODS
        or path.removeprefix("method.") in METHOD_FIELDS[method]
    )


def _of_methods(path: str) -> bool:
    return path.startswith("method.") and path != "method.kind"


def has_effect(path: str, get: Get) -> bool:
    """Whether a field has an effect on a run.

    Args:
        get: The value of a field, by its dotted name.
    """
    if not reads(str(get("task")), path) or not method_reads(str(get("method.kind")), path):
        return False
    beside = BESIDE.get(path)
    if beside is None or beside.holds(get):
        return True
    return beside.refused and get(path) not in (options()[path].default, False)


def readers(path: str) -> list[str]:
    """The names of the tasks that read a field."""
    return [name for name in TASKS if reads(name, path)]


def unread(config: RunConfig) -> list[str]:
    """Fields that differ from their default and have no effect on this run."""

    def get(path: str) -> Any:
        return get_value(config, path)

    return [
        path
        for path, option in options().items()
        if not has_effect(path, get) and get(path) != option.default
    ]


def unread_said(config: RunConfig) -> list[Unread]:
    """What is said of such fields: of those of other tasks, of those of other methods, and of the rest."""
    fields = unread(config)
    of_tasks = [path for path in fields if not reads(config.task, path)]
    of_methods = [path for path in fields if not method_reads(config.method.kind, path)]
    rest = [path for path in fields if path not in of_tasks and path not in of_methods]
    found = []
    if of_tasks:
        said = _("{task} does not read {fields}.", task=_(config.task_kind.label), fields=listed(of_tasks))
        tasks = ", ".join(dict.fromkeys(name for path in of_tasks for name in readers(path)))
        reason = _("That is for task {tasks}, and changes nothing here.", tasks=tasks)
        found.append(Unread(TASK, tuple(of_tasks), said, reason))
    if of_methods:
        label = _(METHODS[config.method.kind].label)
        said = _("{method} does not use {fields}.", method=label, fields=listed(of_methods))
        reason = _("That is for other methods, and changes nothing here.")
        found.append(Unread(METHOD, tuple(of_methods), said, reason))
    if rest:
        said = _("Set, but without effect in this run: {fields}.", fields=listed(rest))
        reason = " ".join(dict.fromkeys(_(BESIDE[path].words) for path in rest))
        found.append(Unread(FIELD, tuple(rest), said, reason))
    return found


def methods_of(task: str) -> list[str]:
    """The methods that can train a task; all of them for a task that nobody knows."""
    kind = TASKS.get(task)
    return [name for name in METHODS if kind is None or name not in kind.without]


def getter(values: Mapping[str, Any]) -> Get:
    """The values of a draft, or their defaults."""

    def get(path: str) -> Any:
        found: Any = values
        for part in path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return options()[path].default
            found = found[part]
        return found

    return get
