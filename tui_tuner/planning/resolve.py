"""What each `auto` becomes on this machine, with a sentence of why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui_tuner.compute import numeric
from tui_tuner.config.options import get_value
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import Checkpointing
from tui_tuner.config.values import with_values
from tui_tuner.errors import HardwareError
from tui_tuner.locales import _, _n
from tui_tuner.models.device import Device
from tui_tuner.planning.compiling import choose_compile
from tui_tuner.planning.data_facts import DataFacts, steps_of
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.learning_rate import usual_rate
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
class Resolved:
    """A config that training can run as it is, and the reasons for what was chosen."""

    config: ResolvedConfig
    reasons: list[Resolution] = field(default_factory=list)

    def why(self, path: str) -> str:
        """The sentence for a field; empty if the user had set it."""
        return next((reason.why for reason in self.reasons if reason.field == path), "")


def resolve(
    config: RunConfig,
    *,
    hardware: Hardware,
    model_facts: ModelFacts | None = None,
    data_facts: DataFacts | None = None,
    fitted: ResolvedConfig | None = None,
    said: Mapping[str, str] | None = None,
) -> Resolved:
    """Replace every `auto` that training needs a value for. What the user set is never changed.

    Left as they are: `data.format`, `data.problem`, `data.workers`, `evaluation.metrics`,
    `evaluation.null_threshold`, `output.name`, `training.loss` (their rooms decide them).

    Args:
        fitted: Micro-batch, checkpointing and optimizer are taken from here; by rules of thumb without it.
            `fit.settle` makes it, so that the run fits into memory.
        said: Why these were chosen, by field; an empty sentence leaves it to the rule.

    Raises:
        HardwareError: GPUs were asked for that are not here.
    """
    work = _Work(config, hardware, model_facts, data_facts, fitted)
    for path, rule in _RULES:
        if get_value(work.config, path) == "auto":
            value, why = rule(work)
            work.choose(path, value, (said or {}).get(path) or why)
        elif path == "hardware.devices":
            check_devices(work.config, hardware)
    return Resolved(ResolvedConfig.of(work.config), work.reasons)


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

    def choose(self, path: str, value: Any, why: str) -> None:
        self.config = with_values(self.config, {path: value})
        self.reasons.append(Resolution(path, value, why))

    @property
    def device(self) -> Device:
        """What trains."""
        return self.hardware.device_for(self.config.hardware.devices)

    @property
    def devices(self) -> int:
        count = self.config.hardware.devices
        return count if isinstance(count, int) else 1

    @property
    def small(self) -> bool:
        return self.model is not None and self.model.parameters < SMALL_MODEL

    def steps(self) -> int | None:
        """Optimizer steps of the run, where the rows are counted."""
        training = self.config.training
        if self.data is None or not self.data.rows:
            return training.max_steps
        return steps_of(self.data.rows, training.batch_size, training.epochs, training.max_steps)


def check_devices(config: RunConfig, hardware: Hardware) -> None:
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


def _devices(work: _Work) -> tuple[Any, str]:
    if work.hardware.usable_gpus:
        return 1, _("One GPU: {name}.", name=work.hardware.usable_gpus[0].name)
    return "cpu", " ".join((_("No usable GPU was found."), *work.hardware.notes))


def _dtype(work: _Work) -> tuple[str, str]:
    return numeric.weight_dtype(work.device, work.config, work.small)


def _attention(work: _Work) -> tuple[str, str]:
    softcap = work.model is not None and bool(work.model.family.softcap)
    return numeric.attention(softcap, work.model.model_type if work.model else "")


def _packing(work: _Work) -> tuple[bool, str]:
    kind = work.model.model_type if work.model else ""
    if kind in RECURRENT_ALSO or any(kind.startswith(name) for name in RECURRENT):
        return False, _(
            "{kind} carries a state along the sequence, so rows side by side would mix.", kind=kind
        )
    if work.model is not None and work.model.family.counts_places:
        return False, _(
            "Attention of {kind} counts how far apart tokens are in a row, so each gets a row of its own.",
            kind=one_line(kind, 60),
        )
    if work.config.method.prompt_length:
        return False, _("Virtual tokens stand before each row, so every sequence gets a row of its own.")
    return True, _("Rows lie side by side without padding and do not see each other.")


def _optimizer(work: _Work) -> tuple[str, str]:
    if work.fitted and work.fitted.optimizer != "adamw":
        return work.fitted.optimizer, _("Its state takes a quarter of the memory, which the GPU needs.")
    return "adamw", _("The optimizer these learning rates are made for.")


def _checkpointing(work: _Work) -> tuple[Checkpointing, str]:
    if work.fitted and work.fitted.gradient_checkpointing:
        degree = work.fitted.gradient_checkpointing
        if work.device.kind == "cuda":
            return degree, _("Without it the activations do not fit into the GPU's memory.")
        return degree, _("Without it the activations do not fit into the machine's memory.")
    if work.config.method.kind == "prefix_tuning":
        return False, _("Computing activations again would leave the prefix out.")
    return False, _("A step would take about 1.4 times as long; memory does not ask for it.")


def _autocast(work: _Work) -> tuple[bool, str]:
    return numeric.autocast(work.device, work.config, work.small)


def _micro_batch(work: _Work) -> tuple[int, str]:
    training = work.config.training
    if work.fitted:
        micro = work.fitted.micro_batch
        tokens = micro * work.config.data.max_length
        return micro, _("The fastest that fits: {tokens} tokens at once.", tokens=tokens)
    budget = GPU_TOKENS if work.device.kind == "cuda" else CPU_TOKENS
    share = max(1, training.batch_size // work.devices)
    most = max(1, min(share, budget // work.config.data.max_length))
    micro = max(divisor for divisor in range(1, most + 1) if share % divisor == 0)
    tokens = micro * work.config.data.max_length
    return micro, _(
        "{micro} x {max_length} = {tokens} tokens fill the device at once.",
        micro=micro,
        max_length=work.config.data.max_length,
        tokens=tokens,
    )


def _learning_rate(work: _Work) -> tuple[float, str]:
    found = usual_rate(work.config, work.model)
    return found.rate, _(
        "Customary for {kind}: {source}.", kind=work.config.method.kind, source=_(found.source)
    )


def _every(work: _Work) -> tuple[int | float | None, str]:
    if not work.config.data.validation:
        return None, _("Nothing is held out to evaluate on.")
    steps = work.steps()
    if steps is None:
        return 1 / CHECKS_PER_RUN, _("{count} times in the run.", count=CHECKS_PER_RUN)
    return max(1, round(steps / CHECKS_PER_RUN)), _(
        "About {count} times in {steps} steps.", count=CHECKS_PER_RUN, steps=steps
    )


def _best(work: _Work) -> tuple[str, str]:
    return work.config.task_kind.best, _("What this task is judged by.")


def _save_every(work: _Work) -> tuple[int | float, str]:
    minutes = work.config.output.save_minutes
    every = work.config.evaluation.every
    if isinstance(every, int | float):
        return every, _(
            "At each evaluation, so the best one is kept, and at least every {minutes:g} minutes.",
            minutes=minutes,
        )
    return 1 / CHECKS_PER_RUN, _(
        "{count} times in the run, and at least every {minutes:g} minutes.",
        count=CHECKS_PER_RUN,
        minutes=minutes,
    )


def _compile(work: _Work) -> tuple[bool, str]:
    return choose_compile(work.device, work.steps())


_RULES = (
    ("hardware.devices", _devices),
    ("model.dtype", _dtype),
    ("model.attention", _attention),
    ("data.packing", _packing),
    ("training.autocast", _autocast),
    ("training.optimizer", _optimizer),
    ("training.gradient_checkpointing", _checkpointing),
    ("training.micro_batch", _micro_batch),
    ("training.compile", _compile),
    ("training.learning_rate", _learning_rate),
    ("evaluation.every", _every),
    ("evaluation.best", _best),
    ("output.save_every", _save_every),
)
