"""Does it run on this GPU, and what would make it?

What the user set is a hard constraint. What is `auto` is enumerated with the memory ledger; the choice is the
one that changes the result least and, among those, runs fastest by the model of a step's time (`speed`).
Every lever is shown with what it saves and costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tui_tuner.compute.numeric import check_numbers
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import ADAPTERS, RunConfig
from tui_tuner.config.sections.training import Checkpointing
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
from tui_tuner.planning.speed.choice import Choice, Option, open_options, ranked, relative_time
from tui_tuner.planning.speed.kept import rated
from tui_tuner.planning.speed.rates import Rates
from tui_tuner.planning.speed.step import Clock
from tui_tuner.text import listed

COUNTS = (1, 2, 4, 8)  # GPUs of a kind that one rents
MOST_CHANGES = 4  # at once, to make a misfit fit
# Degree of checkpointing, optimizer, and whether gradients of several passes are added up: a step in one pass
# holds those of no other pass, so it may want less than one in many
_Line = tuple[Checkpointing, str, bool]


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
    """The answer for one card. `config` has every choice made, `reasons` says why, by field; `smallest` is
    what makes a misfit fit."""

    card: Card
    fits: bool
    estimate: Estimate
    config: ResolvedConfig
    levers: tuple[Lever, ...]
    smallest: tuple[Change, ...]
    reasons: dict[str, str] = field(default_factory=dict)

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
    levers: bool = True,
) -> Fit:
    """Choose what is `auto` so that the run fits the card, and say what would help where it does not.

    Args:
        hardware: The machine with the card; without it, one that has nothing else to choose by.
        levers: Whether to find out what each change alone would save, which takes as long as the rest.

    Raises:
        ModelError, HubError: the model's shapes cannot be had.
    """
    search = _Search(facts or load_facts(config.model), stack or installed(), data)
    base = search.base(config, card)
    if hardware is not None:
        base = resolve(config, hardware=hardware, model_facts=search.facts, data_facts=data).config
    choice = search.choose(config, base, card, look_on=True)
    chosen = choice.config
    now = search.measure(chosen, card)
    fits = now.upper <= card.usable
    smallest = () if fits else search.smallest(chosen, card)
    found = tuple(search.levers(chosen, now, card)) if levers else ()
    return Fit(card, fits, now, chosen, found, smallest, choice.reasons())


def settle(
    config: RunConfig,
    *,
    hardware: Hardware,
    model_facts: ModelFacts | None = None,
    data_facts: DataFacts | None = None,
    rates: Rates | None = None,
) -> Resolved:
    """`resolve` for this machine, with micro-batch, checkpointing and optimizer such that memory suffices.

    Args:
        rates: Of the GPU, as measured; those that are kept of it otherwise, or its data sheet's.

    Raises:
        HardwareError: GPUs were asked for that are not here.
        ConfigError: this device does not compute in the numbers that were asked for.
    """
    found = _settled(config, hardware, model_facts, data_facts, rates)
    check_numbers(hardware.device_for(found.config.hardware.devices), found.config)
    return found


def left_open(config: RunConfig) -> bool:
    """Whether anything is to be chosen by memory and time."""
    training = config.training
    return "auto" in (training.micro_batch, training.gradient_checkpointing, training.optimizer)


def _settled(
    config: RunConfig,
    hardware: Hardware,
    model_facts: ModelFacts | None,
    data_facts: DataFacts | None,
    rates: Rates | None,
) -> Resolved:
    base = resolve(config, hardware=hardware, model_facts=model_facts, data_facts=data_facts)
    if model_facts is None or not left_open(config):
        return base
    card = rated(calibrated(card_here(base.config, hardware)))
    if rates is not None and not card.cpu:
        card = replace(card, rates=rates)
    choice = _Search(model_facts, installed(), data_facts).choose(config, base.config, card, look_on=True)
    return resolve(
        config,
        hardware=hardware,
        model_facts=model_facts,
        data_facts=data_facts,
        fitted=choice.config,
        said=choice.reasons(),
    )


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
            chosen = search.choose(asked, search.base(asked, card), card).config
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

    def clock(self, config: ResolvedConfig, card: Card) -> Clock | None:
        """The time of its step on a GPU; None on a processor, where a rule of thumb decides."""
        if card.cpu:
            return None
        return Clock(config, setup_for(config, self.facts, self.stack, card, self.data), card, self.data)

    def choose(self, asked: RunConfig, base: ResolvedConfig, card: Card, look_on: bool = False) -> Choice:
        """`base` with what is open in `asked` chosen: the fastest settings that fit, or else the smallest.

        A plain optimizer comes before a fast step, as it changes the result least.

        Args:
            look_on: Find out what the next best would have been, too.
        """
        clock = self.clock(base, card)
        options = ranked(list(open_options(asked, base, card)), base, clock)
        seen: dict[_Line, tuple[float, ResolvedConfig]] = {}
        fitting = self._fitting(options, base, card, seen)
        first = next(fitting, None)
        if first is None:
            return Choice(min(seen.values(), key=lambda one: one[0])[1])
        option, made = first
        if not look_on or clock is None:
            return Choice(made, option)
        second = next((one for one, _made in fitting), None)
        kept = [one for one in options if one.degree is False and one.optimizer == option.optimizer]
        keeping = next((one for one, _made in self._fitting(kept, base, card, seen)), None)
        again = clock.step(option.micro_batch, True).seconds / max(option.seconds or 0.0, 1e-9)
        return Choice(made, option, second, keeping, again)

    def _fitting(
        self,
        options: list[Option],
        base: ResolvedConfig,
        card: Card,
        seen: dict[_Line, tuple[float, ResolvedConfig]],
    ) -> Iterator[tuple[Option, ResolvedConfig]]:
        """Those that fit, in their order. `seen` keeps what the smallest of each kind wants."""
        share = base.training.batch_size / devices_of(base)

        def line_of(option: Option) -> _Line:
            return option.degree, option.optimizer, option.micro_batch < share

        least: dict[_Line, int] = {}
        for option in options:
            micro = least.get(line_of(option), option.micro_batch)
            least[line_of(option)] = min(micro, option.micro_batch)

        def wants(option: Option) -> tuple[float, ResolvedConfig]:
            made = with_values(base, option.values())
            return self.measure(made, card).upper, made

        for option in options:
            line = line_of(option)
            if line not in seen:  # of those that add up gradients, a smaller micro-batch never wants more
                seen[line] = wants(replace(option, micro_batch=least[line]))
            if seen[line][0] > card.usable:
                continue
            upper, made = wants(option)
            if upper <= card.usable:
                yield option, made

    def levers(self, config: ResolvedConfig, now: Estimate, card: Card) -> Iterator[Lever]:
        """What each possible change alone would save and cost."""
        before = self.time_of(config, card)
        for change in possible_changes(config, card):
            changed = apply(config, (change,))
            found = self.measure(changed, card)
            fits = found.upper <= card.usable
            time = self.time_of(changed, card) / before
            yield Lever(change, now.device - found.device, time, fits, found.phase)

    def time_of(self, config: ResolvedConfig, card: Card) -> float:
        """Time of a token, to be compared with that of other settings."""
        training = config.training
        clock = self.clock(config, card)
        if clock is None:
            tokens = training.micro_batch * config.data.max_length
            return relative_time(tokens, training.gradient_checkpointing, config.model.quantization != "none")
        found = clock.step(training.micro_batch, training.gradient_checkpointing)
        return found.seconds / clock.work(training.micro_batch).total

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
