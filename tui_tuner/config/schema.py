"""`RunConfig`, the complete description of a run.

Each field is declared once, in the module of its section (`config.sections`), with unit, range, default, one
line of help and an explanation for beginners. The form, `--set`, preset comments, validation messages and the
reference page are derived from it (`config.options`).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.optimizers import find_optimizer
from tui_tuner.config.kinds.tasks import TASKS, TINY, TaskKind
from tui_tuner.config.low_rank_checks import list_low_rank_problems
from tui_tuner.config.sections.data import CleaningSection, DataSection, Source
from tui_tuner.config.sections.evaluation import EvaluationSection
from tui_tuner.config.sections.field_options import Section, accept_known_words, declare_option
from tui_tuner.config.sections.hardware import HardwareSection
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.config.sections.output import OutputSection
from tui_tuner.config.sections.training import TrainingSection
from tui_tuner.locales import N_, _

__all__ = [
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
    """The settings of one run. Every way to start a run goes through one of these."""

    task: Annotated[str, accept_known_words(TASKS, N_("unknown task {value!r}; known are {names}"))] = (
        declare_option("sft", N_("The kind of training."), choices=TASKS)
    )
    model: ModelSection = Field(default_factory=ModelSection, description=N_("The model to start from."))
    data: DataSection = Field(default_factory=DataSection, description=N_("The training data."))
    method: MethodSection = Field(default_factory=MethodSection, description=N_("The training method."))
    training: TrainingSection = Field(
        default_factory=TrainingSection, description=N_("How the weights are trained.")
    )
    evaluation: EvaluationSection = Field(
        default_factory=EvaluationSection, description=N_("How the run is evaluated.")
    )
    output: OutputSection = Field(default_factory=OutputSection, description=N_("Where the run is stored."))
    hardware: HardwareSection = Field(default_factory=HardwareSection, description=N_("Devices and cost."))

    @property
    def task_kind(self) -> TaskKind:
        return TASKS[self.task]

    @property
    def best_metric(self) -> str:
        """Return the metric that decides which checkpoint is best: the one asked for, or the task's own."""
        best = self.evaluation.best
        return self.task_kind.best if best == "auto" else best

    @property
    def may_pack(self) -> bool:
        """Return whether rows may be packed: packing is on or `auto`, there are no virtual tokens, and no row
        has a source and a target apart."""
        packs = self.data.packing is not False and not self.task_kind.encoder_decoder
        return packs and not self.method.prompt_length

    @property
    def trained_share(self) -> float:
        """Return the share of the positions with a label that a step trains, which are the hidden ones."""
        return self.data.masking.share if self.task_kind.hides else 1.0

    def limit_sequences(self, tokens: int) -> tuple[str, int]:
        """Return the field that limits sequences, and its value for sequences of at most `tokens` tokens.

        With a source and a target it is the limit of the source, which is what texts exceed.
        """
        if self.task_kind.encoder_decoder:
            return "data.max_source", max(4, tokens - self.data.max_target)
        return "data.max_length", tokens

    @model_validator(mode="after")
    def _own_demo(self) -> RunConfig:
        """Replace `demo` and `tiny` by the rows and the model that they stand for in this task."""
        kind = self.task_kind
        if self.model.name == TINY and kind.tiny:
            self.model = self.model.model_copy(update={"name": kind.tiny})
        path = self.data.path
        paths = [_demo_of(kind, item) for item in path] if isinstance(path, list) else _demo_of(kind, path)
        if paths != path:
            self.data = self.data.model_copy(update={"path": paths})
        return self

    @model_validator(mode="after")
    def _train_new_tokens(self) -> RunConfig:
        """Train all embeddings where `model.new_tokens_train` asks for it."""
        asked = self.model.new_tokens is not None and self.model.new_tokens_train == "all"
        if asked and self.method.reads_field("train_embeddings") and not self.method.train_embeddings:
            self.method = self.method.model_copy(update={"train_embeddings": True})
        return self

    @model_validator(mode="after")
    def _length_of_both_sides(self) -> RunConfig:
        """Set the longest sequence of a task with a source and a target: both at their limits."""
        if self.task_kind.encoder_decoder:
            self.data = self.data.sum_both_sides()
        return self

    @model_validator(mode="after")
    def _no_contradictions(self) -> RunConfig:
        problems = list(_find_contradictions(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _demo_of(kind: TaskKind, path: Any) -> Any:
    """Return a source of `data.path`, with `demo` replaced by the name of the task's sample rows."""
    if isinstance(path, Source):
        return path.model_copy(update={"path": kind.demo}) if path.path == "demo" else path
    return kind.demo if path == "demo" else path


def _find_contradictions(config: RunConfig) -> list[str]:
    """Return the contradictions between fields that are valid on their own, each as `field: sentence`."""
    model, method, training = config.model, config.method, config.training
    found = _method_contradictions(method, training)
    found += _task_without_method(config.task_kind, method.kind)
    if model.name == TINY and not config.task_kind.tiny:
        found.append(
            "model.name: "
            + _(
                "tiny stands for a small encoder, but task {task} needs a model that generates text; use "
                "demo, the small model inside this package",
                task=config.task,
            )
        )
    if model.quantization != "none" and not method.has_trait(Trait.QUANTISABLE):
        found.append(
            "model.quantization: "
            + _(
                "{quantization} weights cannot be trained with method.kind {kind}; use lora, or "
                "quantization none",
                quantization=model.quantization,
                kind=method.kind,
            )
        )
    if model.architecture is not None and method.has_trait(Trait.ADAPTER):
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
                "flash_attention_2 requires 16-bit numbers, but float32 weights without autocast have "
                "none; use sdpa, or set training.autocast to true"
            )
        )
    if model.tokenizer == "train" and model.architecture is None:
        found.append("model.tokenizer: " + _("a new tokenizer needs a new model; set model.architecture"))
    if model.tokenizer == "train" and model.new_tokens is not None:
        found.append(
            "model.new_tokens: "
            + _("a tokenizer that is trained on the data has its words already; leave model.new_tokens out")
        )
    if model.new_tokens is not None and config.task_kind.encoder_decoder:
        found.append(
            "model.new_tokens: "
            + _(
                "models with an encoder and a decoder read their embeddings in several places, so task "
                "{task} cannot add tokens; leave it out",
                task=config.task,
            )
        )
    if model.adapter is not None and model.new_tokens is not None:
        found.append(
            "model.new_tokens: "
            + _("an adapter goes on with the tokens that it was trained with; leave model.new_tokens out")
        )
    if isinstance(training.micro_batch, int) and training.micro_batch > training.batch_size:
        found.append(
            "training.micro_batch: "
            + _(
                "{micro_batch} is more than training.batch_size {batch_size}",
                micro_batch=training.micro_batch,
                batch_size=training.batch_size,
            )
        )
    if find_optimizer(training.optimizer).averages and not training.adam_beta1:
        found.append(
            "training.adam_beta1: " + _("{optimizer} divides by it; use 0.9", optimizer=training.optimizer)
        )
    found += _chosen_layers(method)
    found += _adapter_contradictions(model, method)
    if method.needs_field("adapters") and not method.fused_adapters:
        found.append(
            "method.adapters: "
            + _("{kind} needs the runs or folders of two bottleneck adapters or more", kind=method.kind)
        )
    found += list_low_rank_problems(method, model)
    found += _too_much_shared(config)
    validation = config.data.validation
    if config.evaluation.early_stopping and not validation:
        found.append(
            "evaluation.early_stopping: " + _("early stopping needs held-out rows; set data.validation")
        )
    tokens = training.batch_size * config.data.max_length
    if tokens > MOST_TOKENS:
        found.append(
            "training.batch_size: "
            + _(
                "{batch_size:,} sequences of up to data.max_length {max_length:,} tokens are too many "
                "for one step; lower one of the two",
                batch_size=training.batch_size,
                max_length=config.data.max_length,
            )
        )
    cleaning = config.data.cleaning
    least, most = cleaning.min_characters, cleaning.max_characters
    if least is not None and most is not None and least > most:
        found.append(
            "data.cleaning.min_characters: "
            + _(
                "{least:,} is more than max_characters {most:,}, so no row would be left",
                least=least,
                most=most,
            )
        )
    if config.hardware.budget and config.hardware.price_per_hour is None:
        found.append("hardware.price_per_hour: " + _("set price_per_hour to use a budget"))
    return found


def _task_without_method(task: TaskKind, method: str) -> list[str]:
    """Return the contradiction if the method cannot train the task, with the methods that can."""
    if task.takes_method(method):
        return []
    said = _(
        "{method} cannot train task {task}: {reason}; use {others}",
        method=method,
        task=task.name,
        reason=_(task.without[method]),
        others=", ".join(name for name in METHODS if task.takes_method(name)),
    )
    return [f"method.kind: {said}"]


def _adapter_contradictions(model: ModelSection, method: MethodSection) -> list[str]:
    """Return what an adapter to begin with cannot be combined with."""
    if model.adapter is None:
        return []
    if model.architecture is not None:
        return ["model.adapter: " + _("an adapter belongs to a trained model; leave model.architecture out")]
    if method.reads_field("adapters"):
        return [
            "model.adapter: "
            + _(
                "{kind} is trained on the model that its adapters were made for; leave it empty",
                kind=method.kind,
            )
        ]
    if model.adapter_use == "merge" and model.quantization != "none":
        return [
            "model.adapter_use: "
            + _(
                "{quantization} weights would be rounded once more by merging; use continue or stack, or "
                "quantization none",
                quantization=model.quantization,
            )
        ]
    if model.adapter_use != "merge" and not method.has_trait(Trait.ADAPTER):
        return [
            "model.adapter_use: "
            + _("{kind} trains the model's own weights; use merge with it", kind=method.kind)
        ]
    return []


def _chosen_layers(method: MethodSection) -> list[str]:
    """Return what is wrong with the choice of layers, or of weights by their names."""
    if method.needs_field("layers") and method.layers is None and not method.trained_names:
        said = _("{kind} needs the number of top layers to train, such as 2", kind=method.kind)
    elif method.layers is not None and method.trained_names:
        said = _("method.pattern says which weights are trained; leave one of the two out")
    elif method.layers == 0 and method.reads_field("layers") and method.has_trait(Trait.ADAPTER):
        said = _("{kind} needs a layer to sit on; use 1 or more, or freeze", kind=method.kind)
    else:
        return []
    return [f"method.layers: {said}"]


def _too_much_shared(config: RunConfig) -> list[str]:
    """Refuse windows that overlap completely: reading would never reach the end of a text."""
    data = config.data
    default = DataSection.model_fields["stride"].default
    # The default stride is longer than a short max_length; reading then takes a smaller one by itself.
    if "data.stride" not in config.task_kind.reads or data.stride == default or data.stride < data.max_length:
        return []
    said = _(
        "windows of data.max_length {max_length:,} tokens cannot share {stride:,} tokens; a third of "
        "max_length is usual",
        max_length=data.max_length,
        stride=data.stride,
    )
    return [f"data.stride: {said}"]


def _method_contradictions(method: MethodSection, training: TrainingSection) -> list[str]:
    """Return the settings that the method cannot carry out; fields without effect do not count."""
    if method.has_trait(Trait.CHECKPOINTABLE) or training.gradient_checkpointing in (False, "auto"):
        return []
    if method.has_trait(Trait.PREFIX):
        said = _("recomputing activations would leave out the prefix; use false, or prompt_tuning")
    else:
        said = _("{kind} does not work with recomputed activations; use false", kind=method.kind)
    return [f"training.gradient_checkpointing: {said}"]
