"""Does it run on this GPU, and what would make it?

What the user set is a hard constraint. What is `auto` is enumerated with the memory ledger; the choice is the
one that changes the result least and, among those, runs fastest. Every lever is shown with what it saves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.compute.numeric import check_numbers
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import ADAPTERS, RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.calibration import calibrated
from tui_tuner.planning.changes import Change, apply, groups_of, possible_changes
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.estimate import Estimate, devices_of, from_ledger, resolve_for, setup_for
from tui_tuner.planning.gpus import CARDS, Card, card_here
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.memory.ledger import Simulated, ledger
from tui_tuner.planning.memory.stack import Stack, installed
from tui_tuner.planning.resolve import Resolved, resolve
from tui_tuner.text import listed

CHECKPOINT_COST = 1.41  # a step with recomputation against one without, measured
FOUR_BIT_COST = 1.25  # dequantising on the way, measured
BUSY_TOKENS = 512  # tokens in a forward pass at which half of a GPU's time is lost to launching work
MOST_TOKENS = 16384  # tokens in a forward pass beyond which nothing is gained
COUNTS = (1, 2, 4, 8)  # GPUs of a kind that one rents
MOST_CHANGES = 4  # at once, to make a misfit fit


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
    config: ResolvedConfig
    levers: tuple[Lever, ...]
    smallest: tuple[Change, ...]

    @property
    def spare(self) -> float:
        """GiB left on the card beside the prediction and its margin; negative if it does not fit."""
        return self.card.usable - self.estimate.upper

    def sentence(self) -> str:
        """The verdict in words."""
        name = _(self.card.name)
        if self.fits:
            return _("Fits {card}: {spare:.1f} GiB to spare.", card=name, spare=self.spare)
        missing = _(
            "Does not fit {card}: {missing:.1f} GiB too much in the phase {phase}.",
            card=name,
            missing=-self.spare,
            phase=_(self.estimate.phase),
        )
        if not self.smallest:
            way = _("No settings here make it fit: take a larger card or a smaller model.")
        else:
            way = _("It would with {changes}.", changes=listed(change.label for change in self.smallest))
        return f"{missing} {way}"


@dataclass(frozen=True)
class Candidate:
    """A GPU of the table, or `count` of them, with the settings that the run would have there."""

    card: Card
    count: int
    fits: bool
    estimate: Estimate
    config: ResolvedConfig


def fit(
    config: RunConfig,
    card: Card,
    *,
    facts: ModelFacts | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
    hardware: Hardware | None = None,
) -> Fit:
    """Choose what is `auto` so that the run fits the card, and say what would help where it does not.

    Args:
        hardware: The machine with the card; without it, one that has nothing else to choose by.

    Raises:
        ModelError, HubError: the model's shapes cannot be had.
    """
    search = _Search(facts or load_facts(config.model), stack or installed(), data)
    base = search.base(config, card)
    if hardware is not None:
        base = resolve(config, hardware=hardware, model_facts=search.facts, data_facts=data).config
    chosen = search.choose(config, base, card)
    now = search.measure(chosen, card)
    fits = now.upper <= card.usable
    smallest = () if fits else search.smallest(chosen, card)
    return Fit(card, fits, now, chosen, tuple(search.levers(chosen, now, card)), smallest)


def settle(
    config: RunConfig,
    *,
    hardware: Hardware,
    model_facts: ModelFacts | None = None,
    data_facts: DataFacts | None = None,
) -> Resolved:
    """`resolve` for this machine, with micro-batch, checkpointing and optimizer such that memory suffices.

    Raises:
        HardwareError: GPUs were asked for that are not here.
        ConfigError: this device does not compute in the numbers that were asked for.
    """
    found = _settled(config, hardware, model_facts, data_facts)
    check_numbers(hardware.device_for(found.config.hardware.devices), found.config)
    return found


def _settled(
    config: RunConfig, hardware: Hardware, model_facts: ModelFacts | None, data_facts: DataFacts | None
) -> Resolved:
    base = resolve(config, hardware=hardware, model_facts=model_facts, data_facts=data_facts)
    training = config.training
    if model_facts is None or "auto" not in (
        training.micro_batch,
        training.gradient_checkpointing,
        training.optimizer,
    ):
        return base
    card = calibrated(card_here(base.config, hardware))
    chosen = _Search(model_facts, installed(), data_facts).choose(config, base.config, card)
    return resolve(config, hardware=hardware, model_facts=model_facts, data_facts=data_facts, fitted=chosen)


def which_cards(
    config: RunConfig,
    *,
    facts: ModelFacts | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
) -> Iterator[Candidate]:
    """Every card of the table, alone and several of it, smallest cards first.

    Of several, each holds a copy of the model: they save time and no memory. A card that is too small is
    given alone only, and so is every card if the config names the number of devices.
    """
    search = _Search(facts or load_facts(config.model), stack or installed(), data)
    named = isinstance(config.hardware.devices, int)
    for card in sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops)):
        for count in (devices_of(config),) if named else COUNTS:
            asked = with_values(config, {"hardware.devices": count})
            if count > 1 and not named and config.training.batch_size % count:
                break
            chosen = search.choose(asked, search.base(asked, card), card)
            found = search.measure(chosen, card)
            fits = found.upper <= card.usable
            yield Candidate(card, count, fits, found, chosen)
            if not fits:
                break


@dataclass
class _Search:
    """Questions about one model on one software stack; what was simulated is kept from one to the next."""

    facts: ModelFacts
    stack: Stack
    data: DataFacts | None = None
    seen: Simulated = field(default_factory=dict)

    def base(self, config: RunConfig, card: Card) -> ResolvedConfig:
        """The config with every `auto` resolved by rules, as on that card."""
        return resolve_for(config, self.facts, card, self.stack, self.data).config

    def measure(self, config: ResolvedConfig, card: Card) -> Estimate:
        """The estimate of a resolved config."""
        setup = setup_for(config, self.facts, self.stack, card, self.data)
        return from_ledger(ledger(setup, self.seen), setup, card, devices=devices_of(config))

    def choose(self, asked: RunConfig, base: ResolvedConfig, card: Card) -> ResolvedConfig:
        """`base` with what is open in `asked` chosen: the fastest settings that fit, or else the smallest.

        A plain optimizer comes before a fast step, as it changes the result least.
        """
        options = list(_choices(asked, base, card))
        least = min(option["micro_batch"] for option in options)
        found: dict[tuple[Any, Any], tuple[float, ResolvedConfig]] = {}

        def wants(option: dict[str, Any]) -> tuple[float, ResolvedConfig]:
            made = with_values(base, {f"training.{name}": value for name, value in option.items()})
            return self.measure(made, card).upper, made

        for option in sorted(options, key=lambda option: _rank(option, base)):
            line = (option["gradient_checkpointing"], option["optimizer"])
            if line not in found:  # a smaller micro-batch never wants more
                found[line] = wants({**option, "micro_batch": least})
            if found[line][0] > card.usable:
                continue
            upper, made = wants(option)
            if upper <= card.usable:
                return made
        return min(found.values(), key=lambda one: one[0])[1]

    def levers(self, config: ResolvedConfig, now: Estimate, card: Card) -> Iterator[Lever]:
        """What each possible change alone would save and cost."""
        before = _time_of(config)
        for change in possible_changes(config, card):
            changed = apply(config, (change,))
            found = self.measure(changed, card)
            fits = found.upper <= card.usable
            yield Lever(change, now.device - found.device, _time_of(changed) / before, fits, found.phase)

    def smallest(self, config: ResolvedConfig, card: Card) -> tuple[Change, ...]:
        """The fewest and mildest changes that make it fit; empty if none do."""
        changes = possible_changes(config, card)
        if config.method.kind not in ADAPTERS and config.model.architecture is None and not card.cpu:
            changes.append(Change("model.quantization", "nf4", _("4-bit weights (QLoRA)"), 2))
        if config.data.max_length > 512:
            quarter = config.data.max_length // 4
            changes.append(
                Change("data.max_length", quarter, _("sequences of {length} tokens", length=quarter), 3)
            )
        for count in range(1, MOST_CHANGES + 1):
            for group in sorted(
                groups_of(config, changes, count), key=lambda group: sum(c.quality for c in group)
            ):
                if self.measure(apply(config, group), card).upper <= card.usable:
                    return group
        return ()


def _choices(asked: RunConfig, base: ResolvedConfig, card: Card) -> Iterator[dict[str, Any]]:
    """Every combination of the training settings that the user left open."""
    training = asked.training
    share = max(1, training.batch_size // devices_of(base))
    most = max(1, MOST_TOKENS // base.data.max_length)
    optimizers = ["adamw", "adamw_8bit", "paged_adamw_8bit"]
    if card.cpu:  # beyond the rule of thumb nothing is gained there, and 8-bit states want a GPU
        most, optimizers = min(most, base.training.micro_batch), ["adamw"]
    micros = [n for n in range(1, min(share, most) + 1) if share % n == 0]
    fixed = training.micro_batch
    checkpointing, optimizer = training.gradient_checkpointing, training.optimizer
    ways = [False] if base.method.kind == "prefix_tuning" else [False, True]
    for micro, again, kind in itertools.product(
        [fixed] if isinstance(fixed, int) else micros,
        ways if checkpointing == "auto" else [checkpointing],
        optimizers if optimizer == "auto" else [optimizer],
    ):
        yield {"micro_batch": micro, "gradient_checkpointing": again, "optimizer": kind}


def _rank(option: dict[str, Any], base: ResolvedConfig) -> tuple[int, float]:
    """Mildest change first, then the fastest."""
    tokens = option["micro_batch"] * base.data.max_length
    return int(option["optimizer"] != "adamw"), _time(tokens, option["gradient_checkpointing"])


def _time(tokens: int, checkpointing: bool, quantised: bool = False) -> float:
    """Time of a token relative to a busy GPU without recomputation."""
    time = 1 + BUSY_TOKENS / tokens
    return time * (CHECKPOINT_COST if checkpointing else 1) * (FOUR_BIT_COST if quantised else 1)


def _time_of(config: ResolvedConfig) -> float:
    """The same of a resolved config."""
    tokens = config.training.micro_batch * config.data.max_length
    return _time(
        tokens, config.training.gradient_checkpointing is not False, config.model.quantization != "none"
    )
