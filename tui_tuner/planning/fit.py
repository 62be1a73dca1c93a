"""Does it run on this GPU, and what would make it?

What the user set is a hard constraint. What is `auto` is enumerated with the memory ledger; the choice is the
one that changes the result least and, among those, runs fastest. Every lever is shown with what it saves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.config.schema import ADAPTERS, RunConfig
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.estimate import Estimate, from_ledger, resolve_for, setup_for
from tui_tuner.planning.gpus import CARDS, Card
from tui_tuner.planning.memory.ledger import ledger
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import Stack, installed
from tui_tuner.planning.resolve import DataFacts

CHECKPOINT_COST = 1.41  # a step with recomputation against one without, measured
FOUR_BIT_COST = 1.25  # dequantising on the way, measured
BUSY_TOKENS = 512  # tokens in a forward pass at which half of a GPU's time is lost to launching work
MOST_TOKENS = 16384  # tokens in a forward pass beyond which nothing is gained


@dataclass(frozen=True)
class Change:
    """One setting: `{path: value}` in a config, with what it is called and what it costs."""

    path: str
    value: Any
    label: str
    quality: int  # 0: the same result; 1: nearly; 2: another method or other data


@dataclass(frozen=True)
class Lever:
    """A change, what it saves at the peak in GiB, the step time relative to now, and whether it fits then."""

    change: Change
    saves: float
    time: float
    fits: bool
    phase: str


@dataclass(frozen=True)
class Fit:
    """The answer for one card. `config` has every choice made; `smallest` is what makes a misfit fit."""

    card: Card
    fits: bool
    estimate: Estimate
    config: RunConfig
    levers: tuple[Lever, ...]
    smallest: tuple[Change, ...]

    @property
    def spare(self) -> float:
        """GiB left on the card beside the prediction and its margin; negative if it does not fit."""
        return self.card.usable - self.estimate.upper

    def sentence(self) -> str:
        """The verdict in words."""
        if self.fits:
            return f"Fits {self.card.name}: {self.spare:.1f} GiB to spare."
        phase, name = self.estimate.phase, self.card.name
        missing = f"Does not fit {name}: {-self.spare:.1f} GiB too much in the phase {phase}."
        if not self.smallest:
            return f"{missing} No settings here make it fit: take a larger card or a smaller model."
        return f"{missing} It would with {' and '.join(change.label for change in self.smallest)}."


def fit(
    config: RunConfig,
    card: Card,
    *,
    facts: ModelFacts | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
) -> Fit:
    """Choose what is `auto` so that the run fits the card, and say what would help where it does not.

    Raises:
        ModelError, HubError: the model's shapes cannot be had.
    """
    facts, stack = facts or load_facts(config.model), stack or installed()
    chosen = choose(config, facts, card, stack, data)
    now = _measure(chosen, facts, card, stack, data)
    fits = now.upper <= card.usable
    smallest = () if fits else _smallest(chosen, facts, card, stack, data)
    levers = tuple(_levers(chosen, now, facts, card, stack, data))
    return Fit(card, fits, now, chosen, levers, smallest)


def choose(
    config: RunConfig, facts: ModelFacts, card: Card, stack: Stack, data: DataFacts | None = None
) -> RunConfig:
    """The config with `auto` resolved for the card: fastest of the settings that fit, or the smallest one."""
    base = resolve_for(config, facts, card, stack, data).config
    best: tuple[tuple[bool, int, float, float], RunConfig] | None = None
    setup = setup_for(base, facts, stack, card, data)
    for micro, checkpointing, optimizer in _choices(config, base):
        training = {"micro_batch": micro, "gradient_checkpointing": checkpointing, "optimizer": optimizer}
        changed = replace(
            setup,
            batch=micro,
            checkpointing=checkpointing,
            optimizer=optimizer,
            foreach=stack.foreach and optimizer == "adamw",
            accumulate=base.training.batch_size // _devices(base) > micro,
        )
        found = from_ledger(ledger(changed), changed, card)
        fits = found.upper <= card.usable
        rank = (
            not fits,
            int(optimizer != "adamw") if fits else 0,
            0.0 if fits else found.upper,
            _time(changed),
        )
        if best is None or rank < best[0]:
            best = (rank, base.model_copy(update={"training": base.training.model_copy(update=training)}))
    assert best is not None
    return best[1]


def _devices(config: RunConfig) -> int:
    return config.hardware.devices if isinstance(config.hardware.devices, int) else 1


def _choices(asked: RunConfig, base: RunConfig) -> Iterator[tuple[int, bool, str]]:
    """Every combination of what the user left to us."""
    training = asked.training
    share = max(1, training.batch_size // _devices(base))
    most = max(1, MOST_TOKENS // base.data.max_length)
    micros = [n for n in range(1, share + 1) if share % n == 0 and n <= most] or [1]
    fixed = training.micro_batch
    checkpointing, optimizer = training.gradient_checkpointing, training.optimizer
    yield from itertools.product(
        [fixed] if isinstance(fixed, int) else micros,
        [False, True] if checkpointing == "auto" else [checkpointing],
        ["adamw", "adamw_8bit", "paged_adamw_8bit"] if optimizer == "auto" else [optimizer],
    )


def _time(setup: Setup) -> float:
    """Time of a token relative to a busy GPU without recomputation."""
    time = 1 + BUSY_TOKENS / setup.tokens
    if setup.checkpointing:
        time *= CHECKPOINT_COST
    if setup.quantization != "none":
        time *= FOUR_BIT_COST
    return time


def _measure(
    config: RunConfig, facts: ModelFacts, card: Card, stack: Stack, data: DataFacts | None
) -> Estimate:
    setup = setup_for(config, facts, stack, card, data)
    return from_ledger(ledger(setup), setup, card)


def possible_changes(config: RunConfig) -> list[Change]:
    """Single changes that can save memory from here, those that change least first."""
    training, model, method = config.training, config.model, config.method
    found = []
    if training.loss == "full_logits":
        found.append(Change("training.loss", "auto", "logits of trained tokens only", 0))
    if model.attention == "eager":
        found.append(Change("model.attention", "sdpa", "fused attention", 0))
    if not config.data.packing:
        found.append(Change("data.packing", True, "packing", 0))
    if isinstance(training.micro_batch, int) and training.micro_batch > 1:
        half = max(n for n in range(1, training.micro_batch) if training.micro_batch % n == 0)
        found.append(Change("training.micro_batch", half, f"micro-batch {half}", 0))
        if half > 1:
            found.append(Change("training.micro_batch", 1, "micro-batch 1", 0))
    if not training.gradient_checkpointing:
        found.append(Change("training.gradient_checkpointing", True, "gradient checkpointing", 0))
    if training.optimizer == "adamw":
        found.append(Change("training.optimizer", "adamw_8bit", "8-bit AdamW", 1))
        found.append(Change("training.optimizer", "paged_adamw_8bit", "paged 8-bit AdamW", 1))
    if model.dtype == "float32":
        found.append(Change("model.dtype", "bfloat16", "bfloat16 weights", 1))
    if method.kind in ADAPTERS and model.quantization == "none":
        found.append(Change("model.quantization", "nf4", "4-bit weights (QLoRA)", 1))
    if method.kind in ADAPTERS and method.rank > 8:
        found.append(Change("method.rank", 8, "rank 8", 1))
    if config.data.max_length > 256:
        half = config.data.max_length // 2
        found.append(Change("data.max_length", half, f"sequences of {half} tokens", 2))
    if method.kind not in ADAPTERS and model.architecture is None:
        found.append(Change("method.kind", "lora", "LoRA", 2))
    return found


def apply(config: RunConfig, changes: tuple[Change, ...]) -> RunConfig:
    """The config with these changes. Unchecked: meant for what `possible_changes` gives."""
    for change in changes:
        section, _, name = change.path.partition(".")
        part = getattr(config, section).model_copy(update={name: change.value})
        config = config.model_copy(update={section: part})
    return config


def _levers(
    config: RunConfig,
    now: Estimate,
    facts: ModelFacts,
    card: Card,
    stack: Stack,
    data: DataFacts | None,
) -> Iterator[Lever]:
    before = _time(setup_for(config, facts, stack, card, data))
    for change in possible_changes(config):
        changed = apply(config, (change,))
        found = _measure(changed, facts, card, stack, data)
        time = _time(setup_for(changed, facts, stack, card, data)) / before
        yield Lever(change, now.device - found.device, time, found.upper <= card.usable, found.phase)


def _smallest(
    config: RunConfig, facts: ModelFacts, card: Card, stack: Stack, data: DataFacts | None
) -> tuple[Change, ...]:
    """The fewest and mildest changes that make it fit; empty if none do."""
    changes = possible_changes(config)
    if config.method.kind not in ADAPTERS and config.model.architecture is None:
        changes.append(Change("model.quantization", "nf4", "4-bit weights (QLoRA)", 2))
    for count in range(1, 5):
        combinations = [
            group
            for group in itertools.combinations(changes, count)
            if len({change.path for change in group}) == count and _legal(config, group)
        ]
        combinations.sort(key=lambda group: sum(change.quality for change in group))
        for group in combinations:
            if _measure(apply(config, group), facts, card, stack, data).upper <= card.usable:
                return group
    return ()


def _legal(config: RunConfig, group: tuple[Change, ...]) -> bool:
    """4-bit weights need an adapter."""
    paths = {change.path: change.value for change in group}
    kind = paths.get("method.kind", config.method.kind)
    return "model.quantization" not in paths or kind in ADAPTERS


def which_cards(
    config: RunConfig,
    *,
    facts: ModelFacts | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
) -> list[tuple[Card, bool, Estimate]]:
    """Every card of the table, whether the run fits it, and its estimate there; smallest cards first."""
    facts, stack = facts or load_facts(config.model), stack or installed()
    found = []
    for card in sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops)):
        chosen = choose(config, facts, card, stack, data)
        measured = _measure(chosen, facts, card, stack, data)
        found.append((card, measured.upper <= card.usable, measured))
    return found
