"""The choice between open settings, with the predicted cost of the alternatives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import DEGREES, EVERY_SECOND, OFFLOAD, Checkpointing
from tui_tuner.locales import _
from tui_tuner.planning.estimate import count_step_devices
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.speed.speed_rates import format_step_time
from tui_tuner.planning.speed.step_time import Clock

CHECKPOINT_COST = 1.41  # a step with recomputation against one without, measured on a processor
FOUR_BIT_COST = 1.25  # dequantising on the way, measured on a processor
BUSY_TOKENS = 512  # tokens in a forward pass at which a processor loses half of its time to starting work
MOST_TOKENS = 16384  # tokens in a forward pass beyond which nothing is gained
ALIKE = 0.02  # predicted times that differ by less are the same


@dataclass(frozen=True)
class Option:
    """One choice of the open settings. `seconds` is the predicted time of a step, if there is one."""

    micro_batch: int
    degree: Checkpointing
    optimizer: str
    seconds: float | None = None

    def list_values(self) -> dict[str, Any]:
        """Return the settings by the names of their fields."""
        return {
            "training.micro_batch": self.micro_batch,
            "training.gradient_checkpointing": self.degree,
            "training.optimizer": self.optimizer,
        }

    def describe_option(self) -> str:
        """Describe the settings, for a sentence that compares them with others."""
        said = {"micro": self.micro_batch, "optimizer": self.optimizer}
        if self.degree is False:
            return _("micro-batch {micro} without checkpointing and with {optimizer}", **said)
        if self.degree == EVERY_SECOND:
            return _("micro-batch {micro} with every second layer checkpointed and {optimizer}", **said)
        if self.degree == OFFLOAD:
            return _("micro-batch {micro} with checkpointing, offloading and {optimizer}", **said)
        return _("micro-batch {micro} with checkpointing and {optimizer}", **said)


@dataclass(frozen=True)
class Choice:
    """The chosen settings and their alternatives.

    Args:
        config: The config with the chosen settings.
        option: These settings; None if nothing fits.
        second: The next best option; None if it was not looked for, or nothing else fits.
        keeping: The fastest option that keeps all activations; None if none of these fits.
        again: Time of a step with all layers recomputed, relative to the chosen one.
    """

    config: ResolvedConfig
    option: Option | None = None
    second: Option | None = None
    keeping: Option | None = None
    again: float | None = None

    def list_reasons(self) -> dict[str, str]:
        """Return a sentence for each open field, by path; empty if no time was predicted."""
        option = self.option
        if option is None or option.seconds is None:
            return {}
        return {
            "training.micro_batch": self._why_micro(option, option.seconds),
            "training.gradient_checkpointing": self._why_degree(option, option.seconds),
        }

    def _why_micro(self, option: Option, seconds: float) -> str:
        said = {
            "tokens": option.micro_batch * self.config.data.max_length,
            "time": format_step_time(seconds),
        }
        if self.second is None or self.second.seconds is None:
            return _("The fastest that fits: {tokens} tokens at once, {time} per step predicted.", **said)
        return _(
            "The fastest that fits: {tokens} tokens at once, {time} per step predicted. The next best, "
            "{other}: {later}.",
            other=self.second.describe_option(),
            later=format_step_time(self.second.seconds),
            **said,
        )

    def _why_degree(self, option: Option, seconds: float) -> str:
        if option.degree is False:
            if not self.config.method.has_trait(Trait.CHECKPOINTABLE) or self.again is None:
                return ""
            return _(
                "{time} per step predicted; {later} with checkpointing, which the activations do not "
                "need to fit.",
                time=format_step_time(seconds),
                later=format_step_time(seconds * self.again),
            )
        if self.keeping is not None and self.keeping.seconds is not None:
            return _(
                "{time} per step predicted; {later} without checkpointing, as less fits into a pass.",
                time=format_step_time(seconds),
                later=format_step_time(self.keeping.seconds),
            )
        time = format_step_time(seconds)
        if option.degree == EVERY_SECOND:
            return _(
                "All activations do not fit into the GPU's memory, but half of them do: {time} per step "
                "predicted.",
                time=time,
            )
        if option.degree == OFFLOAD:
            return _(
                "Without offloading, the inputs of layers do not fit into the GPU's memory: {time} per "
                "step predicted.",
                time=time,
            )
        return _(
            "Without it, the activations do not fit into the GPU's memory: {time} per step predicted.",
            time=time,
        )


def list_open_options(asked: RunConfig, base: ResolvedConfig, card: Card) -> Iterator[Option]:
    """Yield every combination of the training settings that the user left open."""
    training = asked.training
    share = max(1, training.batch_size // count_step_devices(base))
    most = max(1, MOST_TOKENS // base.data.max_length)
    optimizers = ["adamw", "adamw_8bit", "paged_adamw_8bit"]
    degrees = list(DEGREES)
    if card.cpu:  # beyond the rule of thumb nothing is gained there, and 8-bit states want a GPU
        most, optimizers, degrees = min(most, base.training.micro_batch), ["adamw"], [False, True]
    if not base.method.has_trait(Trait.CHECKPOINTABLE):
        degrees = [False]
    # Divisors of the device's share, so that all passes of a step are alike
    micros = [n for n in range(1, min(share, most) + 1) if share % n == 0]
    # What the user set is the only option for that field
    fixed, degree, optimizer = training.micro_batch, training.gradient_checkpointing, training.optimizer
    for one in itertools.product(
        [fixed] if isinstance(fixed, int) else micros,
        degrees if degree == "auto" else [degree],
        optimizers if optimizer == "auto" else [optimizer],
    ):
        yield Option(*one)


def rank_open_options(options: list[Option], base: ResolvedConfig, clock: Clock | None) -> list[Option]:
    """Sort options, the mildest optimizer first, then the fastest: by the clock, or by a rule on processors.

    Among equally fast ones, less recomputation comes first, then larger micro-batches, which cut an unusually
    heavy batch into fewer passes.
    """
    if clock is None:
        return sorted(
            options,
            key=lambda one: (
                _rank_optimizer(one),
                compute_relative_time(_count_tokens(one, base), one.degree),
            ),
        )
    # The optimizer does not change a pass, so each pair is timed once
    pairs = dict.fromkeys((option.micro_batch, option.degree) for option in options)
    seconds = {pair: clock.predict_step(*pair).seconds for pair in pairs}
    timed = [replace(one, seconds=seconds[one.micro_batch, one.degree]) for one in options]

    def rank(one: Option) -> tuple[int, int, int, int]:
        # Times within a few percent count as equal: the model is no more accurate, and a choice must not flip
        # on noise
        slowness = round(math.log(max(one.seconds or 0.0, 1e-9)) / ALIKE)
        return _rank_optimizer(one), slowness, DEGREES.index(one.degree), -one.micro_batch

    return sorted(timed, key=rank)


def _rank_optimizer(option: Option) -> int:
    return int(option.optimizer != "adamw")


def _count_tokens(option: Option, base: ResolvedConfig) -> int:
    return option.micro_batch * base.data.max_length


def compute_relative_time(tokens: int, degree: Checkpointing, quantised: bool = False) -> float:
    """Return the time of a token relative to a busy processor without recomputation."""
    time = 1 + BUSY_TOKENS / tokens
    again = (
        1.0 if degree is False else (1 + CHECKPOINT_COST) / 2 if degree == EVERY_SECOND else CHECKPOINT_COST
    )
    return time * again * (FOUR_BIT_COST if quantised else 1)
