"""The value of each `auto` on this machine, with a sentence that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui_tuner.compute import numeric
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.options import get_config_value
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import Checkpointing
from tui_tuner.config.values import edit_values
from tui_tuner.errors import HardwareError
from tui_tuner.locales import _, _n
from tui_tuner.models.device import Device
from tui_tuner.planning.compiling import choose_compile
from tui_tuner.planning.data_facts import DataFacts, count_optimizer_steps
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.learning_rate import find_model_rate
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.models.facts import ModelFacts

CPU_TOKENS = 4096  # tokens in one forward pass on CPU: matrix products no longer gain beyond
GPU_TOKENS = 8192  # the same on a GPU, where memory does not bind
SMALL_MODEL = 5_000_000  # parameters; below, memory does not matter and full precision is exact
CHECKS_PER_RUN = 10
RECURRENT = (
    "mamba",
    "rwkv",
    "jamba",
    "zamba",
    "bamba",
    "nemotron_h",
    "falcon_h1",
    "granitemoehybrid",
    "lfm2",
)
RECURRENT_ALSO = ("qwen3_next", "xlstm", "recurrent_gemma")


@dataclass(frozen=True)
class Resolution:
    """One field that was `auto`, what it became, and why."""

    field: str
    value: Any
    why: str


@dataclass(frozen=True)
class ResolvedRun:
    """A config that training can run as it is, and the reasons for what was chosen."""

    config: ResolvedConfig
    reasons: list[Resolution] = field(default_factory=list)

    def explain_field(self, path: str) -> str:
        """Return the sentence for a field; empty if the user had set it."""
        return next((reason.why for reason in self.reasons if reason.field == path), "")


def resolve_config(
    config: RunConfig,
    *,
    hardware: Hardware,
    model_facts: ModelFacts | None = None,
    data_facts: DataFacts | None = None,
    fitted: ResolvedConfig | None = None,
    said: Mapping[str, str] | None = None,
) -> ResolvedRun:
    """Replace every `auto` that training needs a value for. Values that the user set never change.

    Not resolved here: `data.format`, `data.problem`, `data.workers`, `evaluation.metrics`,
    `evaluation.null_threshold`, `output.name`, `training.loss` (decided where they are used).

    Args:
        fitted: Source of micro-batch, checkpointing and optimizer; rules of thumb choose them without it.
            `fit.fit_config_to_machine` makes it, so that the run fits into memory.
        said: The reasons for these, by field; an empty one is replaced by the rule's own.

    Raises:
        HardwareError: GPUs were asked for that are not here.
    """
    work = _Work(config, hardware, model_facts, data_facts, fitted)
    for path, rule in _RULES:
        if get_config_value(work.config, path) == "auto":
            value, why = rule(work)
            work.choose_values(path, value, (said or {}).get(path) or why)
        elif path == "hardware.devices":
            check_device_count(work.config, hardware)
    return ResolvedRun(ResolvedConfig.from_config(work.config), work.reasons)


class _Work:
    """The config so far. Rules run in order, so each may rely on those before it."""

    def __init__(
        self,
        config: RunConfig,
        hardware: Hardware,
        model: ModelFacts | None,
        data: DataFacts | None,
        fitted: ResolvedConfig | None,
    ) -> None:
        self.config = config
        self.hardware = hardware
        self.model = model
        self.data = data
        self.fitted = fitted.training if fitted else None
        self.reasons: list[Resolution] = []

    def choose_values(self, path: str, value: Any, why: str) -> None:
        self.config = edit_values(self.config, {path: value})
        self.reasons.append(Resolution(path, value, why))

    @property
    def run_device(self) -> Device:
        return self.hardware.device_for(self.config.hardware.devices)

    @property
    def device_count(self) -> int:
        count = self.config.hardware.devices
        return count if isinstance(count, int) else 1

    @property
    def is_small(self) -> bool:
        return self.model is not None and self.model.parameters < SMALL_MODEL

    def count_steps(self) -> int | None:
        """Count the optimizer steps of the run; without counted rows, `max_steps`, which may be None."""
        training = self.config.training
        if self.data is None or not self.data.rows:
            return training.max_steps
        return count_optimizer_steps(self.data.rows, training.batch_size, training.epochs, training.max_steps)


def check_device_count(config: RunConfig, hardware: Hardware) -> None:
    """Raise `HardwareError` if more GPUs are asked for than there are."""
    asked, here = config.hardware.devices, len(hardware.usable_gpus)
    if not isinstance(asked, int) or asked <= here:
        return
    found = _n("{count} usable GPU found", "{count} usable GPUs found", here, count=here)
    what = _n(
        "asks for {count} GPU, but {found}.",
        "asks for {count} GPUs, but {found}.",
        asked,
        count=asked,
        found=found,
    )
    raise HardwareError(
        " ".join((what, *hardware.notes)),
        where="hardware.devices",
        hint=_("Use {here}.", here=here) if here else _("Use cpu, or auto."),
    )


def _choose_devices(work: _Work) -> tuple[Any, str]:
    if work.hardware.usable_gpus:
        return 1, _("One GPU: {name}.", name=work.hardware.usable_gpus[0].name)
    return "cpu", " ".join((_("No usable GPU was found."), *work.hardware.notes))


def _choose_dtype(work: _Work) -> tuple[str, str]:
    return numeric.choose_weight_dtype(work.run_device, work.config, work.is_small)


def _choose_attention(work: _Work) -> tuple[str, str]:
    softcap = work.model is not None and bool(work.model.family.softcap)
    return numeric.choose_attention(softcap, work.model.model_type if work.model else "")


def _choose_packing(work: _Work) -> tuple[bool, str]:
    kind = work.model.model_type if work.model else ""
    # State-space and recurrent models ignore the attention mask between packed rows
    if kind in RECURRENT_ALSO or any(kind.startswith(name) for name in RECURRENT):
        return False, _("{kind} carries a state along the sequence, so packed rows would mix.", kind=kind)
    if work.config.task_kind.encoder_decoder:
        return False, _(
            "Sources of similar length share a pass, one in a row. Set it to true to put several into a row, "
            "if that proves exact."
        )
    if work.model is not None and work.model.family.counts_places:
        return False, _(
            "Attention of {kind} depends on how far apart tokens are in a row, so each sequence gets its "
            "own row.",
            kind=one_line(kind, 60),
        )
    if work.config.method.prompt_length:
        return False, _("Virtual tokens come before each row, so every sequence gets its own row.")
    return True, _("Rows are packed without padding and do not attend to each other.")


def _choose_optimizer(work: _Work) -> tuple[str, str]:
    # The search has looked at memory, the rules below have not
    if work.fitted and work.fitted.optimizer != "adamw":
        return work.fitted.optimizer, _("Its state takes a quarter of the memory, which the GPU needs.")
    return "adamw", _("The optimizer for which the usual learning rates are meant.")


def _choose_checkpointing(work: _Work) -> tuple[Checkpointing, str]:
    if work.fitted and work.fitted.gradient_checkpointing:
        degree = work.fitted.gradient_checkpointing
        if work.run_device.kind == "cuda":
            return degree, _("Without it the activations do not fit into the GPU's memory.")
        return degree, _("Without it the activations do not fit into the machine's memory.")
    method = work.config.method
    if method.has_trait(Trait.PREFIX):
        return False, _("Recomputed activations would lack the prefix.")
    if not method.has_trait(Trait.CHECKPOINTABLE):
        return False, _("With {kind}, activations cannot be recomputed.", kind=method.kind)
    return False, _("A step would take about 1.4 times as long, and the activations fit without it.")


def _choose_autocast(work: _Work) -> tuple[bool, str]:
    found, why = numeric.choose_autocast(work.run_device, work.config, work.is_small)
    narrow = work.run_device.kind == "cuda" and not work.run_device.has_bf16
    # Of T5's relatives, larger ones give infinite numbers in float16, whose largest is 65,504
    if found and narrow and work.model is not None and work.model.model_type in ("t5", "mt5", "umt5"):
        return False, _(
            "{kind} overflows in float16, and this GPU has no bfloat16.", kind=work.model.model_type
        )
    return found, why


def _choose_micro_batch(work: _Work) -> tuple[int, str]:
    training = work.config.training
    if work.fitted:
        micro = work.fitted.micro_batch
        tokens = micro * work.config.data.max_length
        return micro, _("The fastest that fits: {tokens} tokens at once.", tokens=tokens)
    # Without a model's shapes there is no ledger to ask, so a number of tokens takes its place
    budget = GPU_TOKENS if work.run_device.kind == "cuda" else CPU_TOKENS
    share = max(1, training.batch_size // work.device_count)
    # A micro-batch above the device's share of the batch would never be filled
    most = max(1, min(share, budget // work.config.data.max_length))
    # Only divisors, so that every pass of a step has the same size
    micro = max(divisor for divisor in range(1, most + 1) if share % divisor == 0)
    tokens = micro * work.config.data.max_length
    return micro, _(
        "{micro} x {max_length} = {tokens} tokens fill the device at once.",
        micro=micro,
        max_length=work.config.data.max_length,
        tokens=tokens,
    )


def _choose_learning_rate(work: _Work) -> tuple[float, str]:
    found = find_model_rate(work.config, work.model)
    return found.rate, _("Usual for {kind}: {source}.", kind=work.config.method.kind, source=_(found.source))


def _choose_every(work: _Work) -> tuple[int | float | None, str]:
    if not work.config.data.validation:
        return None, _("No rows are held out for evaluation.")
    steps = work.count_steps()
    # As a share of the run, since its number of steps is not known yet
    if steps is None:
        return 1 / CHECKS_PER_RUN, _("{count} times per run.", count=CHECKS_PER_RUN)
    return max(1, round(steps / CHECKS_PER_RUN)), _(
        "About {count} times in {steps} steps.", count=CHECKS_PER_RUN, steps=steps
    )


def _choose_best(work: _Work) -> tuple[str, str]:
    return work.config.task_kind.best, _("The usual metric for this task.")


def _choose_save_every(work: _Work) -> tuple[int | float, str]:
    minutes = work.config.output.save_minutes
    every = work.config.evaluation.every
    # The best checkpoint can only be kept if one is written at each evaluation
    if isinstance(every, int | float):
        return every, _(
            "At each evaluation, so the best one is kept, and at least every {minutes:g} minutes.",
            minutes=minutes,
        )
    return 1 / CHECKS_PER_RUN, _(
        "{count} times per run, and at least every {minutes:g} minutes.",
        count=CHECKS_PER_RUN,
        minutes=minutes,
    )


def _choose_compile(work: _Work) -> tuple[bool, str]:
    return choose_compile(work.run_device, work.count_steps())


_RULES = (
    ("hardware.devices", _choose_devices),
    ("model.dtype", _choose_dtype),
    ("model.attention", _choose_attention),
    ("data.packing", _choose_packing),
    ("training.autocast", _choose_autocast),
    ("training.optimizer", _choose_optimizer),
    ("training.gradient_checkpointing", _choose_checkpointing),
    ("training.micro_batch", _choose_micro_batch),
    ("training.compile", _choose_compile),
    ("training.learning_rate", _choose_learning_rate),
    ("evaluation.every", _choose_every),
    ("evaluation.best", _choose_best),
    ("output.save_every", _choose_save_every),
)
