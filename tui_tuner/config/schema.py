"""`RunConfig`: the one description of a run.

A field is declared once, with unit, range, default, one line of help and an explanation for beginners.
The form, `--set`, preset comments, validation messages and the reference page are derived from it
(`config.options`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tui_tuner.config.kinds import ADAPTERS as ADAPTERS
from tui_tuner.config.kinds import METHODS, PROMPTS, QUANTISABLE, RANKED, RECORD_FORMATS, TASKS, TaskKind

Auto = Literal["auto"]


def _known(names: Any, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"unknown {what} {value!r}; known are {', '.join(names)}")
        return value

    return AfterValidator(check)


def option(
    default: Any,
    help: str,
    explain: str = "",
    *,
    unit: str = "",
    choices: Any = None,
    advanced: bool = False,
    **limits: Any,
) -> Any:
    """Declare a field: `help` of one line, `explain` for beginners, `limits` such as ge, gt, min_length."""
    extra: dict[str, Any] = {"explain": explain, "unit": unit, "advanced": advanced, "limits": limits}
    if choices is not None:
        extra["choices"] = list(choices)
    return Field(default, description=help, json_schema_extra=extra)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @field_validator("*")
    @classmethod
    def _within_limits(cls, value: Any, info: ValidationInfo) -> Any:
        """Hold numbers and texts to their limits; `auto` and null pass (pydantic's own choke on unions)."""
        extra = cls.model_fields[info.field_name or ""].json_schema_extra
        limits = extra.get("limits", {}) if isinstance(extra, dict) else {}
        if limits and not _within(value, limits):  # type: ignore[arg-type]
            raise PydanticCustomError("limits", "is out of its limits")
        return value


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    "min_length": lambda text, least: len(text) >= least,
    "max_length": lambda text, most: len(text) <= most,
}


def _within(value: Any, limits: Mapping[str, float]) -> bool:
    for name, limit in limits.items():
        kind = str if name.endswith("_length") else (int, float)
        if isinstance(value, kind) and not _COMPARE[name](value, limit):
            return False
    return True


class ModelSection(Section):
    """Which model to start from, and how it is held in memory."""

    name: str = option(
        "demo",
        "Hub id, local folder, or `demo` (the small model inside this package).",
        "The model that learns. A hub id such as Qwen/Qwen3-0.6B is downloaded once; a folder holds "
        "config.json, the tokenizer and safetensors weights.",
        min_length=1,
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model.", advanced=True)
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "auto",
        "Number format of the weights.",
        "auto takes bfloat16 where the hardware computes in it, else float32. float16 has a small range and "
        "can overflow; it is for GPUs without bfloat16, such as the T4.",
    )
    quantization: Literal["none", "nf4", "int8"] = option(
        "none",
        "Hold the frozen weights in 4 or 8 bits (bitsandbytes).",
        "nf4 with LoRA is QLoRA (arXiv 2305.14314): the weights take about a quarter of the memory of "
        "bfloat16. Only adapters can be trained on quantised weights.",
    )
    double_quant: bool = option(
        True, "Quantise the quantisation constants too (nf4).", "Saves 0.37 bits a weight.", advanced=True
    )
    attention: Literal["auto", "sdpa", "flash_attention_2", "flex_attention", "eager"] = option(
        "auto", "Attention implementation.", "auto takes the fastest one that is exact here.", advanced=True
    )
    chat_template: str | None = option(
        None,
        "Chat template: `chatml`, or a Jinja file; empty means the model's own.",
        "How turns become text. A tuned chat model expects its own. A model without one gets ChatML, and "
        "the run says so.",
        advanced=True,
    )
    trust_remote_code: bool = option(
        False,
        "Run Python code that comes with this model.",
        "Some hub models bring their own code. It runs with your rights: say yes only to a model you trust.",
        advanced=True,
    )
    architecture: dict[str, Any] | None = option(
        None,
        "Start from random weights of this shape (a transformers config), instead of loading any.",
        "For pretraining from scratch: model_type and its sizes, such as hidden_size and num_hidden_layers.",
        advanced=True,
    )
    tokenizer: str | None = option(
        None,
        "Tokenizer folder or hub id, where it is not the model's; `train` learns a new one from the data.",
        advanced=True,
    )
    vocabulary: int = option(
        4096, "Size of a newly trained tokenizer.", unit="tokens", ge=64, le=1_000_000, advanced=True
    )


class Source(Section):
    """One data set of several, with its share."""

    path: str = option("", "File, folder, glob or hub data set.", min_length=1)
    weight: float = option(1.0, "How often its rows are used, relative to the others.", gt=0)
    format: Annotated[str, _known(RECORD_FORMATS, "format")] = option("auto", "Record format of this source.")


class CleaningSection(Section):
    """Optional clean-up; each step counts what it did in the row ledger."""

    exact_duplicates: bool = option(False, "Drop rows that repeat another exactly.")
    near_duplicates: float | None = option(
        None,
        "Drop rows this similar to an earlier one (MinHash estimate of Jaccard).",
        gt=0,
        le=1,
        advanced=True,
    )
    refusals: bool = option(False, "Drop answers that refuse or speak of being a language model.")
    html: Literal["keep", "text", "markdown"] = option("keep", "What becomes of HTML inside fields.")
    control_characters: bool = option(False, "Remove control characters.")
    min_answer: int = option(0, "Drop rows whose answer is shorter.", unit="characters", ge=0)
    languages: list[str] | None = option(None, "Keep these languages only (ISO codes).", advanced=True)
    min_characters: int | None = option(None, "Drop shorter rows.", unit="characters", ge=0, advanced=True)
    max_characters: int | None = option(None, "Drop longer rows.", unit="characters", ge=1, advanced=True)
    personal_data: bool = option(False, "Flag e-mail addresses and phone numbers.")
    phrases: str | None = option(None, "YAML file with more refusal phrases.", advanced=True)


class DataSection(Section):
    """What is learnt from, and how rows become tokens."""

    path: str | list[str | Source] = option(
        "demo",
        "File, folder, glob, hub data set, a list of them, or `demo`.",
        "JSONL, JSON, CSV, Parquet, plain text and more; the record format is recognised and shown.",
    )
    format: Annotated[str, _known(RECORD_FORMATS, "format")] = option(
        "auto", "Record format.", "auto recognises it and says how sure it is.", choices=RECORD_FORMATS
    )
    columns: dict[str, str] | None = option(
        None, "Which column is what, such as {prompt: question, response: answer}.", advanced=True
    )
    field: str | None = option(
        None,
        "Key (JSON), table (SQL) or member (zip) that holds the rows, where a file has several.",
        advanced=True,
    )
    encoding: str | None = option(
        None, "Text encoding of the files, where it is not recognised right.", advanced=True
    )
    system: str | None = option(None, "System message for rows that have none.", advanced=True)
    max_length: int = option(
        1024,
        "Longest sequence.",
        "Longer texts are split or cut, and counted. Memory grows with it.",
        unit="tokens",
        ge=8,
        le=10_000_000,
    )
    overlong: Literal["split", "truncate", "drop"] = option(
        "split",
        "What becomes of a row longer than max_length.",
        "split cuts a chat between turns, never inside an answer; what still does not fit is dropped and "
        "counted. truncate cuts the end off, the stop token with it.",
    )
    train_on: Literal["all_answers", "last_answer"] = option(
        "all_answers", "Which answers of a chat are trained.", advanced=True
    )
    packing: bool | Auto = option(
        "auto",
        "Put several rows side by side, without padding and without seeing each other.",
        "Faster, and exact: every row keeps its own positions and attention. auto switches it off for models "
        "that cannot keep rows apart.",
    )
    validation: float | str | None = option(
        0.05,
        "Share of the rows held out, or a file.",
        "Held-out rows are never trained; the loss on them tells learning from memorising.",
    )
    limit: int | None = option(None, "Use at most this many rows.", unit="rows", ge=1)
    max_dropped: float = option(
        0.01,
        "Share of rows that may be dropped before the run stops and asks.",
        ge=0,
        le=1,
        advanced=True,
    )
    preflight: Literal["stop", "warn", "off"] = option(
        "stop", "What an error found before training does.", advanced=True
    )
    seed: int = option(42, "Seed of the split and of mixing.", ge=0, advanced=True)
    workers: int | Auto = option(
        "auto", "Processes that tokenise; auto uses every core.", ge=1, advanced=True
    )
    cleaning: CleaningSection = Field(default_factory=CleaningSection, description="Clean-up of rows.")


class MethodSection(Section):
    """Which weights are trained."""

    kind: Annotated[str, _known(METHODS, "method")] = option(
        "lora",
        "Which weights are trained.",
        "LoRA trains small matrices beside the frozen model: little memory, small files, hard to break. Full "
        "fine-tuning trains everything.",
        choices=METHODS,
    )
    rank: int = option(
        16,
        "Rank: the inner size of the matrices (LoRA, LoHa, VeRA).",
        "Higher can learn more and costs memory. 8 to 64 is customary, for VeRA 256 and more.",
        ge=1,
        le=4096,
    )
    alpha: float = option(
        32.0,
        "Alpha: the update is scaled by alpha / rank (LoRA, LoHa).",
        "Twice the rank is customary.",
        gt=0,
    )
    dropout: float = option(0.0, "Dropout before the matrices (LoRA, VeRA).", ge=0, lt=1)
    targets: str | list[str] = option(
        "all-linear",
        "Layers that get an adapter: all-linear, or module names.",
        "All linear layers learn better than attention alone at the same size (QLoRA paper).",
    )
    layers: int | None = option(
        None,
        "Only the last N layers are trained (freeze; of methods with targets, only they get adapters).",
        unit="layers",
        ge=1,
    )
    train_embeddings: bool = option(False, "Also train embeddings and head (LoRA).", advanced=True)
    virtual_tokens: int = option(
        20,
        "Virtual tokens before each sequence (prompt tuning, P-tuning, prefix tuning).",
        "What is learnt is a prompt of numbers instead of words. 10 to 100 is customary; each takes a place "
        "in the model's context.",
        unit="tokens",
        ge=1,
        le=4096,
    )
    encoder_size: int | None = option(
        None,
        "Width of the small network that makes the virtual tokens (P-tuning, prefix tuning).",
        "Empty is the model's own width for P-tuning, and no network for prefix tuning: keys and values are "
        "trained directly. The network is not needed after training.",
        ge=1,
        le=65_536,
        advanced=True,
    )
    initial_text: str | None = option(
        None,
        "Words that the virtual tokens begin as (prompt tuning, prefix tuning).",
        "Say what is to be done, such as: Answer briefly and politely. It is repeated to fill the virtual "
        "tokens. Empty takes frequent words of the vocabulary.",
        min_length=1,
        advanced=True,
    )

    @property
    def prompt_length(self) -> int:
        """Virtual tokens before each sequence; 0 if the method has none."""
        return self.virtual_tokens if self.kind in PROMPTS else 0


class TrainingSection(Section):
    """How the weights are trained."""

    learning_rate: float | Auto = option(
        "auto",
        "Learning rate at its peak.",
        "The size of each step. Too high and the loss jumps or explodes; too low and nothing is learnt. auto "
        "takes a value customary for the method and says which.",
        gt=0,
        le=10,
    )
    epochs: float = option(3.0, "Passes over the training rows.", unit="epochs", gt=0, le=10_000)
    max_steps: int | None = option(None, "Stop after this many optimizer steps.", unit="steps", ge=1)
    batch_size: int = option(
        16,
        "Sequences per optimizer step.",
        "The effective batch: what the gradient is averaged over, whatever fits into memory at once.",
        unit="sequences",
        ge=1,
        le=1_000_000,
    )
    micro_batch: int | Auto = option(
        "auto",
        "Sequences per forward pass; the gradients of several are accumulated.",
        "Lower it if memory runs out: the result stays the same.",
        unit="sequences",
        ge=1,
    )
    gradient_checkpointing: bool | Auto = option(
        "auto",
        "Compute activations twice instead of keeping them.",
        "Saves much memory and costs about 40 % speed. auto switches it on only where memory asks for it.",
    )
    optimizer: Literal["auto", "adamw", "adamw_8bit", "paged_adamw_8bit", "sgd", "adafactor"] = option(
        "auto", "Optimizer.", "8-bit AdamW keeps its state in a quarter of the memory."
    )
    schedule: Literal["cosine", "linear", "constant", "inverse_sqrt", "warmup_stable_decay"] = option(
        "cosine", "How the learning rate falls."
    )
    warmup: float = option(
        0.03,
        "Share of the steps in which the learning rate rises from zero (warm-up).",
        ge=0,
        le=1,
        unit="share",
    )
    weight_decay: float = option(0.0, "Weight decay (decoupled).", ge=0, le=10)
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm; 0 is off.", ge=0)
    adam_beta1: float = option(0.9, "AdamW beta 1.", ge=0, lt=1, advanced=True)
    adam_beta2: float = option(0.999, "AdamW beta 2.", ge=0, lt=1, advanced=True)
    loss: Literal["auto", "full_logits"] = option(
        "auto",
        "Where logits are computed.",
        "auto computes them for trained tokens only: the same loss with less time and memory.",
        advanced=True,
    )
    neftune_alpha: float | None = option(
        None, "Noise on the embeddings (NEFTune, arXiv 2310.05914).", gt=0, advanced=True
    )
    autocast: bool | Auto = option(
        "auto", "Mixed precision: compute in 16 bits over float32 weights.", advanced=True
    )
    tf32: bool = option(
        False,
        "TensorFloat-32 on GPUs.",
        "float32 matrix products with 10 bits of mantissa: quicker on Ampere and newer, and less exact.",
        advanced=True,
    )
    deterministic: bool = option(False, "Only kernels that repeat bit for bit.", advanced=True)
    on_out_of_memory: Literal["retry", "stop"] = option(
        "retry",
        "retry halves the micro-batch and keeps the effective batch; stop ends the run.",
        advanced=True,
    )
    on_bad_numbers: Literal["warn", "skip", "rollback", "stop"] = option(
        "stop",
        "What a NaN or infinite loss or gradient does.",
        "skip leaves the batch out; rollback goes back to the last checkpoint with a lower rate.",
        advanced=True,
    )
    report_every: float = option(
        1.0,
        "Steps are read from the device and written in batches this far apart.",
        unit="seconds",
        gt=0,
        le=60,
        advanced=True,
    )
    seed: int = option(42, "Seed of initialisation, order and dropout.", ge=0, le=2**32 - 1)


class EvaluationSection(Section):
    """How the run is judged while it trains, and before and after."""

    every: int | float | Auto | None = option(
        "auto",
        "Evaluate every so many steps (a share below 1 means of the whole run); empty is only at the end.",
    )
    samples: int = option(
        4,
        "Held-out prompts answered before, during and after.",
        "The quickest way to see what was learnt.",
        unit="prompts",
        ge=0,
        le=1000,
    )
    prompts: list[str] | None = option(
        None, "Prompts of your own to answer, beside held-out rows.", advanced=True
    )
    metrics: list[str] | Auto = option("auto", "Metrics of generated answers.", advanced=True)
    metric_rows: int = option(
        0,
        "Held-out rows whose answers are generated and scored before and after.",
        unit="rows",
        ge=0,
        le=100_000,
    )
    max_new_tokens: int = option(200, "Longest generated answer.", unit="tokens", ge=1, le=100_000)
    best: str = option("loss", "Metric that decides which checkpoint is best.", advanced=True)
    early_stopping: int | None = option(
        None, "Stop after this many evaluations without a better one.", unit="evaluations", ge=1
    )


class OutputSection(Section):
    """Where the run lives, and what it keeps."""

    folder: str = option("runs", "Folder that holds all runs.", min_length=1)
    name: str = option(
        "auto", "Name of the run; auto makes one from task, model and time.", min_length=1, max_length=100
    )
    save_every: int | float | Auto | None = option(
        "auto",
        "Checkpoint every so many steps (a share below 1 means of the whole run).",
        "auto saves often enough that at most save_minutes of work can be lost.",
    )
    save_minutes: float = option(
        10.0, "At most this much work can be lost.", unit="minutes", gt=0, advanced=True
    )
    keep: int = option(2, "Checkpoints kept beside the best.", ge=1, le=1000)


class HardwareSection(Section):
    """Which devices, and what they may cost."""

    devices: int | Literal["auto", "cpu"] = option(
        "auto", "auto takes a GPU where there is one; cpu, or a number of GPUs.", ge=1
    )
    budget: float | None = option(None, "Stop, resumably, before the run costs more.", unit="currency", gt=0)
    price_per_hour: float | None = option(None, "What the machine costs.", unit="currency/hour", ge=0)


class RunConfig(Section):
    """One run. Everything that starts a run makes one of these, and nothing else starts a run."""

    task: Annotated[str, _known(TASKS, "task")] = option("sft", "What is learnt.", choices=TASKS)
    model: ModelSection = Field(default_factory=ModelSection, description="The model to start from.")
    data: DataSection = Field(default_factory=DataSection, description="What is learnt from.")
    method: MethodSection = Field(default_factory=MethodSection, description="Which weights are trained.")
    training: TrainingSection = Field(default_factory=TrainingSection, description="How they are trained.")
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection, description="How it is judged.")
    output: OutputSection = Field(default_factory=OutputSection, description="Where the run lives.")
    hardware: HardwareSection = Field(default_factory=HardwareSection, description="Devices and money.")

    @property
    def task_kind(self) -> TaskKind:
        """What planning has to know of the task."""
        return TASKS[self.task]

    @property
    def packs(self) -> bool:
        """Whether rows may lie side by side: asked for or left open, and no virtual tokens between them."""
        return self.data.packing is not False and not self.method.prompt_length

    @model_validator(mode="after")
    def _no_contradictions(self) -> RunConfig:
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _contradictions(config: RunConfig) -> list[str]:
    """Values that are valid alone and cannot be together; each as `field: sentence`."""
    model, method, training = config.model, config.method, config.training
    found = _method_contradictions(method, training)
    if model.quantization != "none" and method.kind not in QUANTISABLE:
        found.append(
            f"model.quantization: {model.quantization} weights cannot be trained with method.kind "
            f"{method.kind}; use lora, or quantization none"
        )
    if model.architecture is not None and method.kind in ADAPTERS:
        found.append(
            f"method.kind: {method.kind} adapts a trained model, but model.architecture starts from random "
            "weights; use full"
        )
    if model.architecture is not None and model.quantization != "none":
        found.append("model.quantization: random weights of model.architecture cannot be quantised; use none")
    if model.tokenizer == "train" and model.architecture is None:
        found.append("model.tokenizer: a new tokenizer needs a new model; set model.architecture")
    if isinstance(training.micro_batch, int) and training.micro_batch > training.batch_size:
        found.append(
            f"training.micro_batch: {training.micro_batch} is more than training.batch_size "
            f"{training.batch_size}"
        )
    if method.kind == "freeze" and method.layers is None:
        found.append("method.layers: freeze needs the number of top layers to train, such as 2")
    validation = config.data.validation
    if isinstance(validation, float | int) and not 0 <= validation < 1:
        found.append(f"data.validation: {validation} is not a share from 0 up to, but without, 1")
    if config.evaluation.early_stopping and not validation:
        found.append("evaluation.early_stopping: there is nothing to judge by; set data.validation")
    for field, value in (
        ("evaluation.every", config.evaluation.every),
        ("output.save_every", config.output.save_every),
    ):
        if isinstance(value, int | float) and value <= 0:
            found.append(f"{field}: {value} is not above 0")
    if config.hardware.budget and config.hardware.price_per_hour is None:
        found.append("hardware.price_per_hour: a budget needs the price of an hour")
    return found


def _method_contradictions(method: MethodSection, training: TrainingSection) -> list[str]:
    """Fields that ask for something the method does not do."""
    found = []
    if method.kind in PROMPTS:
        trains = f"{method.kind} trains virtual tokens, and no part of the model"
        if method.targets != "all-linear":
            found.append(f"method.targets: {trains}; leave it at all-linear, or use lora")
        if method.layers is not None:
            found.append(f"method.layers: {trains}; leave it empty, or use lora")
    if method.train_embeddings and method.kind in ADAPTERS and method.kind not in RANKED:
        found.append(f"method.train_embeddings: {method.kind} leaves them as they are; use lora, or false")
    if method.encoder_size is not None and method.kind not in ("p_tuning", "prefix_tuning"):
        found.append(
            f"method.encoder_size: {method.kind} has no such network; leave it empty, or use p_tuning"
        )
    if method.initial_text is not None:
        if method.kind not in ("prompt_tuning", "prefix_tuning"):
            found.append(
                f"method.initial_text: {method.kind} cannot begin as words; leave it empty, or use "
                "prompt_tuning"
            )
        elif method.encoder_size is not None:
            found.append(
                "method.initial_text: a network makes the virtual tokens, which then cannot begin as words; "
                "leave it or method.encoder_size empty"
            )
    if method.kind == "prefix_tuning" and training.gradient_checkpointing is True:
        found.append(
            "training.gradient_checkpointing: computing activations again would leave the prefix out; "
            "use false, or prompt_tuning"
        )
    return found
