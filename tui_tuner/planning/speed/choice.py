"""Which of the settings that are open is taken, and what the others would have cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import DEGREES, EVERY_SECOND, OFFLOAD, Checkpointing
from tui_tuner.locales import _
from tui_tuner.planning.estimate import devices_of
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.speed.rates import step_words
from tui_tuner.planning.speed.step import Clock

CHECKPOINT_COST = 1.41  # a step with recomputation against one without, measured on a processor
FOUR_BIT_COST = 1.25  # dequantising on the way, measured on a processor
BUSY_TOKENS = 512  # tokens in a forward pass at which a processor loses half of its time to starting work
MOST_TOKENS = 16384  # tokens in a forward pass beyond which nothing is gained
ALIKE = 0.02  # predicted times that differ by less are the same


@dataclass(frozen=True)
class Option:
    """Settings that were open. `seconds` are those of a step, as predicted; None where nobody predicts."""

    micro_batch: int
    degree: Checkpointing
    optimizer: str
    seconds: float | None = None

    def values(self) -> dict[str, Any]:
        """By the names of their fields."""
        return {
            "training.micro_batch": self.micro_batch,
            "training.gradient_checkpointing": self.degree,
            "training.optimizer": self.optimizer,
        }

    def words(self) -> str:
        """What is set, for a sentence in which it stands beside another."""
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
    """What was chosen.

    Args:
        config: With the chosen settings.
        option: These settings; None where nothing fits.
        second: What would have been chosen without that one; None where nobody looked, or nothing else fits.
        keeping: The fastest that keeps all activations; None where that does not fit.
        again: Time of a step with all layers computed twice against the time of the chosen one.
    """

    config: ResolvedConfig
    option: Option | None = None
    second: Option | None = None
    keeping: Option | None = None
    again: float | None = None

    def reasons(self) -> dict[str, str]:
        """Sentences for the fields that were open, by their paths; none where no time was predicted."""
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
            "time": step_words(seconds),
        }
        if self.second is None or self.second.seconds is None:
            return _("The fastest that fits: {tokens} tokens at once, {time} a step predicted.", **said)
        return _(
            "The fastest that fits: {tokens} tokens at once, {time} a step predicted. "
            "The next best, {other}: {later}.",
            other=self.second.words(),
            later=step_words(self.second.seconds),
            **said,
        )

    def _why_degree(self, option: Option, seconds: float) -> str:
        if option.degree is False:
            if self.config.method.kind == "prefix_tuning" or self.again is None:
                return ""
            return _(
                "{time} a step predicted; with it {later}, and memory does not ask for it.",
                time=step_words(seconds),
                later=step_words(seconds * self.again),
            )
        if self.keeping is not None and self.keeping.seconds is not None:
            return _(
                "{time} a step predicted; without it {later}, as less fits into a pass.",
                time=step_words(seconds),
                later=step_words(self.keeping.seconds),
            )
        time = step_words(seconds)
        if option.degree == EVERY_SECOND:
            return _(
                "Without it the activations do not fit into the GPU's memory; half of them do: "
                "{time} a step predicted.",
                time=time,
            )
        if option.degree == OFFLOAD:
            return _(
                "Without it the inputs of layers do not fit into the GPU's memory: {time} a step predicted.",
                time=time,
            )
        return _(
            "Without it the activations do not fit into the GPU's memory: {time} a step predicted.", time=time
        )


def open_options(asked: RunConfig, base: ResolvedConfig, card: Card) -> Iterator[Option]:
    """Every combination of the training settings that the user left open."""
    training = asked.training
    share = max(1, training.batch_size // devices_of(base))
    most = max(1, MOST_TOKENS // base.data.max_length)
    optimizers = ["adamw", "adamw_8bit", "paged_adamw_8bit"]
    degrees = list(DEGREES)
    if card.cpu:  # beyond the rule of thumb nothing is gained there, and 8-bit states want a GPU
        most, optimizers, degrees = min(most, base.training.micro_batch), ["adamw"], [False, True]
    if base.method.kind == "prefix_tuning":
        degrees = [False]
    micros = [n for n in range(1, min(share, most) + 1) if share % n == 0]
    fixed, degree, optimizer = training.micro_batch, training.gradient_checkpointing, training.optimizer
    for one in itertools.product(
        [fixed] if isinstance(fixed, int) else micros,
        degrees if degree == "auto" else [degree],
        optimizers if optimizer == "auto" else [optimizer],
    ):
        yield Option(*one)


def ranked(options: list[Option], base: ResolvedConfig, clock: Clock | None) -> list[Option]:
    """The mildest optimizer first, then the fastest: by the clock, or by the rule for a processor.

    Of what is equally fast, that which computes least again comes first, and then larger micro-batches: a
    batch that is heavier than most is cut into fewer passes.
    """
    if clock is None:
        return sorted(options, key=lambda one: (_mild(one), relative_time(_tokens(one, base), one.degree)))
    pairs = dict.fromkeys((option.micro_batch, option.degree) for option in options)
    seconds = {pair: clock.step(*pair).seconds for pair in pairs}
    timed = [replace(one, seconds=seconds[one.micro_batch, one.degree]) for one in options]

    def rank(one: Option) -> tuple[int, int, int, int]:
        slowness = round(math.log(max(one.seconds or 0.0, 1e-9)) / ALIKE)
        return _mild(one), slowness, DEGREES.index(one.degree), -one.micro_batch

    return sorted(timed, key=rank)


def _mild(option: Option) -> int:
    return int(option.optimizer != "adamw")


def _tokens(option: Option, base: ResolvedConfig) -> int:
    return option.micro_batch * base.data.max_length


def relative_time(tokens: int, degree: Checkpointing, quantised: bool = False) -> float:
    """Time of a token on a processor relative to a busy one without recomputation."""
    time = 1 + BUSY_TOKENS / tokens
    again = (
        1.0 if degree is False else (1 + CHECKPOINT_COST) / 2 if degree == EVERY_SECOND else CHECKPOINT_COST
    )
    return time * again * (FOUR_BIT_COST if quantised else 1)
