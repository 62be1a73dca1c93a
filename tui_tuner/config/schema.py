"""`RunConfig`: the one description of a run.

A field is declared once, in the module of its section (`config.sections`), with unit, range, default, one
line of help and an explanation for beginners. The form, `--set`, preset comments, validation messages and the
reference page are derived from it (`config.options`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from tui_tuner.config.kinds import ADAPTERS, METHODS, QUANTISABLE, TASKS, TINY, TaskKind
from tui_tuner.config.sections.base import Section, known, option
from tui_tuner.config.sections.data import CleaningSection, DataSection, Source
from tui_tuner.config.sections.evaluation import EvaluationSection
from tui_tuner.config.sections.hardware import HardwareSection
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.config.sections.output import OutputSection
from tui_tuner.config.sections.training import TrainingSection
from tui_tuner.locales import N_, _

__all__ = [
    "ADAPTERS",
    "CleaningSection",
    "DataSection",
    "EvaluationSection",
    "HardwareSection",
    "MethodSection",
    "ModelSection",
    "OutputSection",
    "RunConfig",
    "Section",
    "Source",
    "TrainingSection",
]


MOST_TOKENS = 10**12  # of an optimizer step


class RunConfig(Section):
    """One run. Everything that starts a run makes one of these, and nothing else starts a run."""

    task: Annotated[str, known(TASKS, N_("unknown task {value!r}; known are {names}"))] = option(
        "sft", N_("What is learnt."), choices=TASKS
    )
    model: ModelSection = Field(default_factory=ModelSection, description=N_("The model to start from."))
    data: DataSection = Field(default_factory=DataSection, description=N_("What is learnt from."))
    method: MethodSection = Field(default_factory=MethodSection, description=N_("Which weights are trained."))
    training: TrainingSection = Field(
        default_factory=TrainingSection, description=N_("How they are trained.")
    )
    evaluation: EvaluationSection = Field(
        default_factory=EvaluationSection, description=N_("How it is judged.")
    )
    output: OutputSection = Field(default_factory=OutputSection, description=N_("Where the run lives."))
    hardware: HardwareSection = Field(default_factory=HardwareSection, description=N_("Devices and money."))

    @property
    def task_kind(self) -> TaskKind:
        """What planning has to know of the task."""
        return TASKS[self.task]

    @property
    def best_metric(self) -> str:
        """The metric that decides which checkpoint is best: the one asked for, or else the task's own."""
        best = self.evaluation.best
        return self.task_kind.best if best == "auto" else best

    @property
    def packs(self) -> bool:
        """Whether rows may lie side by side: asked for or left open, and no virtual tokens between them."""
        return self.data.packing is not False and not self.method.prompt_length

    @model_validator(mode="after")
    def _own_demo(self) -> RunConfig:
        """Say which rows and which model `demo` and `tiny` are: each task has its own."""
        kind = self.task_kind
        if self.model.name == TINY and kind.tiny:
            self.model = self.model.model_copy(update={"name": kind.tiny})
        path = self.data.path
        paths = [_demo_of(kind, item) for item in path] if isinstance(path, list) else _demo_of(kind, path)
        if paths != path:
            self.data = self.data.model_copy(update={"path": paths})
        return self

    @model_validator(mode="after")
    def _no_contradictions(self) -> RunConfig:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _demo_of(kind: TaskKind, path: Any) -> Any:
    """A source of `data.path`, with the name of the task's own rows where it is the demo's."""
    if isinstance(path, Source):
        return path.model_copy(update={"path": kind.demo}) if path.path == "demo" else path
    return kind.demo if path == "demo" else path


def _contradictions(config: RunConfig) -> list[str]:
    """Values that are valid alone and cannot be together; each as `field: sentence`."""
    model, method, training = config.model, config.method, config.training
    found = _method_contradictions(method, training)
    found += _task_without_method(config.task_kind, method.kind)
    if model.name == TINY and not config.task_kind.tiny:
        found.append(
            "model.name: "
            + _(
                "tiny stands for a small encoder, and task {task} needs a model that writes; use demo, the "
                "small model inside this package",
                task=config.task,
            )
        )
    if model.quantization != "none" and method.kind not in QUANTISABLE:
        found.append(
            "model.quantization: "
            + _(
                "{quantization} weights cannot be trained with method.kind {kind}; use lora, or "
                "quantization none",
                quantization=model.quantization,
                kind=method.kind,
            )
        )
    if model.architecture is not None and method.kind in ADAPTERS:
        found.append(
            "method.kind: "
            + _(
                "{kind} adapts a trained model, but model.architecture starts from random weights; use full",
                kind=method.kind,
            )
        )
    if model.architecture is not None and model.quantization != "none":
        found.append(
            "model.quantization: " + _("random weights of model.architecture cannot be quantised; use none")
        )
    if model.attention == "flash_attention_2" and model.dtype == "float32" and training.autocast is False:
        found.append(
            "model.attention: "
            + _(
                "flash_attention_2 takes 16-bit numbers only, and with float32 weights without autocast "
                "there are none; use sdpa, or set training.autocast to true"
            )
        )
    if model.tokenizer == "train" and model.architecture is None:
        found.append("model.tokenizer: " + _("a new tokenizer needs a new model; set model.architecture"))
    if isinstance(training.micro_batch, int) and training.micro_batch > training.batch_size:
        found.append(
            "training.micro_batch: "
            + _(
                "{micro_batch} is more than training.batch_size {batch_size}",
                micro_batch=training.micro_batch,
                batch_size=training.batch_size,
            )
        )
    if method.kind == "freeze" and method.layers is None:
        found.append("method.layers: " + _("freeze needs the number of top layers to train, such as 2"))
    found += _too_much_shared(config)
    validation = config.data.validation
    if config.evaluation.early_stopping and not validation:
        found.append("evaluation.early_stopping: " + _("there is nothing to judge by; set data.validation"))
    tokens = training.batch_size * config.data.max_length
    if tokens > MOST_TOKENS:
        found.append(
            "training.batch_size: "
            + _(
                "{batch_size:,} sequences of up to data.max_length {max_length:,} tokens are more than a "
                "step can hold; lower one of the two",
                batch_size=training.batch_size,
                max_length=config.data.max_length,
            )
        )
    cleaning = config.data.cleaning
    least, most = cleaning.min_characters, cleaning.max_characters
    if least is not None and most is not None and least > most:
        found.append(
            "data.cleaning.min_characters: "
            + _("{least:,} is more than max_characters {most:,}: no row is left", least=least, most=most)
        )
    if config.hardware.budget and config.hardware.price_per_hour is None:
        found.append("hardware.price_per_hour: " + _("a budget needs the price of an hour"))
    return found


def _task_without_method(task: TaskKind, method: str) -> list[str]:
    """A method that cannot train the task, with the reason and what can."""
    if method not in task.without:
        return []
    said = _(
        "{method} cannot train task {task}: {reason}; use {others}",
        method=method,
        task=task.name,
        reason=_(task.without[method]),
        others=", ".join(name for name in METHODS if name not in task.without),
    )
    return [f"method.kind: {said}"]


def _too_much_shared(config: RunConfig) -> list[str]:
    """Windows that share all they hold, and so never come to the end of a text."""
    data = config.data
    default = DataSection.model_fields["stride"].default
    if "data.stride" not in config.task_kind.reads or data.stride == default or data.stride < data.max_length:
        return []
    said = _(
        "windows of data.max_length {max_length:,} tokens cannot share {stride:,}; a third of them is usual",
        max_length=data.max_length,
        stride=data.stride,
    )
    return [f"data.stride: {said}"]


def _method_contradictions(method: MethodSection, training: TrainingSection) -> list[str]:
    """Fields that ask for what the method cannot do; what has no effect is said, and no contradiction."""
    if method.kind == "prefix_tuning" and training.gradient_checkpointing not in (False, "auto"):
        said = _("computing activations again would leave the prefix out; use false, or prompt_tuning")
        return [f"training.gradient_checkpointing: {said}"]
    return []
