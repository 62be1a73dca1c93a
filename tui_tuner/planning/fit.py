"""The fit of a run to a GPU: whether it fits, and which changes would make it fit.

What the user set is a hard constraint. What is `auto` is enumerated with the memory ledger; the choice is the
one that changes the result least and, among those, runs fastest by the model of a step's time (`speed`).
Every lever is shown with what it saves and costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tui_tuner.compute.numeric import check_numeric_dtypes
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import Checkpointing
from tui_tuner.config.values import edit_values
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.calibration import calibrate_card
from tui_tuner.planning.changes import Change, apply_saving_changes, group_saving_changes, list_saving_changes
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.estimate import (
    Estimate,
    count_step_devices,
    make_estimate,
    make_memory_setup,
    resolve_for_card,
)
from tui_tuner.planning.gpus import CARDS, Card, find_local_card
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.memory.ledger import Simulated, make_ledger
from tui_tuner.planning.memory.stack import Stack, find_installed_stack
from tui_tuner.planning.resolve import ResolvedRun, resolve_config
from tui_tuner.planning.speed.rate_store import add_rates_to_card
from tui_tuner.planning.speed.settings_choice import (
    Choice,
    Option,
    compute_relative_time,
    list_open_options,
    rank_open_options,
)
from tui_tuner.planning.speed.speed_rates import Rates
from tui_tuner.planning.speed.step_time import Clock
from tui_tuner.text import join_sentence_items

COUNTS = (1, 2, 4, 8)  # GPUs of a kind, as offered for rent
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
    """The answer for one card. `config` has every choice made, `reasons` explains them, by field; `smallest`
    is the smallest group of changes that makes a misfit fit."""

    card: Card
    fits: bool
    estimate: Estimate
    config: ResolvedConfig
    levers: tuple[Lever, ...]
    smallest: tuple[Change, ...]
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def spare_gib(self) -> float:
        """Return the GiB left on the card beyond the prediction and its margin; negative if too small."""
        return self.card.usable - self.estimate.safe_limit

    def describe_fit(self) -> str:
        """Describe whether it fits, and what would help, for a screen."""
        name = _(self.card.name)
        if self.fits:
            return _("Fits {card}: {spare:.1f} GiB to spare.", card=name, spare=self.spare_gib)
        missing = _(
            "Does not fit {card}: {missing:.1f} GiB too much in the phase {phase}.",
            card=name,
            missing=-self.spare_gib,
            phase=_(self.estimate.phase),
        )
        if not self.smallest:
            way = _("No settings make it fit: use a larger GPU or a smaller model.")
        else:
            way = _(
                "It would fit with {changes}.",
                changes=join_sentence_items(change.label for change in self.smallest),
            )
        return f"{missing} {way}"


@dataclass(frozen=True)
class Candidate:
    """A GPU of the table, or `count` of them, with the settings that the run would have there."""

    card: Card
    count: int
    fits: bool
    estimate: Estimate
    config: ResolvedConfig


def fit_run(
    config: RunConfig,
    card: Card,
    *,
    facts: ModelFacts | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
    hardware: Hardware | None = None,
    levers: bool = True,
) -> Fit:
    """Choose what is `auto` so that the run fits the card; if it cannot, find what would help.

    Args:
        hardware: The machine with the card; without it, one that has nothing else to choose by.
        levers: Whether to find out what each change alone would save, which takes as long as the rest.

    Raises:
        ModelError, HubError: the model's shapes cannot be had.
    """
    search = _Search(facts or load_facts(config.model), stack or find_installed_stack(), data)
    base = search.resolve_base(config, card)
    if hardware is not None:
        base = resolve_config(config, hardware=hardware, model_facts=search.facts, data_facts=data).config
    choice = search.choose_settings(config, base, card, look_on=True)
    chosen = choice.config
    now = search.measure_memory(chosen, card)
    fits = now.safe_limit <= card.usable
    # Combinations of changes are only of use where the run does not fit
    smallest = () if fits else search.find_smallest(chosen, card)
    found = tuple(search.list_levers(chosen, now, card)) if levers else ()
    return Fit(card, fits, now, chosen, found, smallest, choice.list_reasons())


def fit_config_to_machine(
    config: RunConfig,
    *,
    hardware: Hardware,
    model_facts: ModelFacts | None = None,
    data_facts: DataFacts | None = None,
    rates: Rates | None = None,
) -> ResolvedRun:
    """Resolve a config for this machine, with micro-batch, checkpointing and optimizer chosen so that it fits
    into memory.

    Args:
        rates: The GPU's measured rates; by default those saved for it, or those of its data sheet.

    Raises:
        HardwareError: GPUs were asked for that are not here.
        ConfigError: this device does not support the number format that was asked for.
    """
    found = _apply_fit(config, hardware, model_facts, data_facts, rates)
    check_numeric_dtypes(hardware.device_for(found.config.hardware.devices), found.config)
    return found


def has_open_settings(config: RunConfig) -> bool:
    """Return whether any setting is left to be chosen by memory and time."""
    training = config.training
    return "auto" in (training.micro_batch, training.gradient_checkpointing, training.optimizer)


def _apply_fit(
    config: RunConfig,
    hardware: Hardware,
    model_facts: ModelFacts | None,
    data_facts: DataFacts | None,
    rates: Rates | None,
) -> ResolvedRun:
    base = resolve_config(config, hardware=hardware, model_facts=model_facts, data_facts=data_facts)
    if model_facts is None or not has_open_settings(config):
        return base
    card = add_rates_to_card(calibrate_card(find_local_card(base.config, hardware)))
    # Rates measured in this very run are newer than the ones on disk
    if rates is not None and not card.cpu:
        card = replace(card, rates=rates)
    choice = _Search(model_facts, find_installed_stack(), data_facts).choose_settings(
        config, base.config, card, look_on=True
    )
    return resolve_config(
        config,
        hardware=hardware,
        model_facts=model_facts,
        data_facts=data_facts,
        fitted=choice.config,
        said=choice.list_reasons(),
    )


def rank_cards(
    config: RunConfig,
    *,
    facts: ModelFacts | None = None,
    stack: Stack | None = None,
    data: DataFacts | None = None,
) -> Iterator[Candidate]:
    """Return every card of the table, alone and in groups, smallest cards first.

    Of several, each holds a copy of the model: they save time and no memory. A card that is too small is
    given alone only, and so is every card if the config names the number of devices.
    """
    search = _Search(facts or load_facts(config.model), stack or find_installed_stack(), data)
    # A number of devices that the user set is not varied
    named = isinstance(config.hardware.devices, int)
    for card in sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops)):
        for count in (count_step_devices(config),) if named else COUNTS:
            asked = edit_values(config, {"hardware.devices": count})
            # Devices share a step equally, so only divisors of the batch are offered
            if count > 1 and not named and config.training.batch_size % count:
                break
            chosen = search.choose_settings(asked, search.resolve_base(asked, card), card).config
            found = search.measure_memory(chosen, card)
            fits = found.safe_limit <= card.usable
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

    def resolve_base(self, config: RunConfig, card: Card) -> ResolvedConfig:
        """Return the config with every `auto` resolved by rules, as on that card."""
        return resolve_for_card(config, self.facts, card, self.stack, self.data).config

    def measure_memory(self, config: ResolvedConfig, card: Card) -> Estimate:
        """Estimate a resolved config, reusing earlier simulations."""
        setup = make_memory_setup(config, self.facts, self.stack, card, self.data)
        return make_estimate(make_ledger(setup, self.seen), setup, card, devices=count_step_devices(config))

    def make_clock(self, config: ResolvedConfig, card: Card) -> Clock | None:
        """Return the step-time model for a GPU; None on a processor, where a rule of thumb decides."""
        if card.cpu:
            return None
        return Clock(
            config, make_memory_setup(config, self.facts, self.stack, card, self.data), card, self.data
        )

    def choose_settings(
        self, asked: RunConfig, base: ResolvedConfig, card: Card, look_on: bool = False
    ) -> Choice:
        """Choose what is open in `asked`: the fastest settings that fit, or else the smallest.

        A plain optimizer comes before a fast step, as it changes the result least.

        Args:
            look_on: Find out what the next best would have been, too.
        """
        clock = self.make_clock(base, card)
        options = rank_open_options(list(list_open_options(asked, base, card)), base, clock)
        seen: dict[_Line, tuple[float, ResolvedConfig]] = {}
        fitting = self._keep_fitting(options, base, card, seen)
        first = next(fitting, None)
        if first is None:
            # Nothing fits: show the settings that come closest, with which advice is computed
            return Choice(min(seen.values(), key=lambda one: one[0])[1])
        option, made = first
        if not look_on or clock is None:
            return Choice(made, option)
        second = next((one for one, _made in fitting), None)
        # To explain checkpointing, compare with the fastest option that does without it
        kept = [one for one in options if one.degree is False and one.optimizer == option.optimizer]
        keeping = next((one for one, _made in self._keep_fitting(kept, base, card, seen)), None)
        again = clock.predict_step(option.micro_batch, True).seconds / max(option.seconds or 0.0, 1e-9)
        return Choice(made, option, second, keeping, again)

    def _keep_fitting(
        self,
        options: list[Option],
        base: ResolvedConfig,
        card: Card,
        seen: dict[_Line, tuple[float, ResolvedConfig]],
    ) -> Iterator[tuple[Option, ResolvedConfig]]:
        """Yield the options that fit, in their order. `seen` keeps what the smallest of each kind needs."""
        share = base.training.batch_size / count_step_devices(base)

        def line_of(option: Option) -> _Line:
            return option.degree, option.optimizer, option.micro_batch < share

        # Options differ in hundreds of micro-batches; if the smallest of a line does not fit, no other does
        least: dict[_Line, int] = {}
        for option in options:
            micro = least.get(line_of(option), option.micro_batch)
            least[line_of(option)] = min(micro, option.micro_batch)

        def wants(option: Option) -> tuple[float, ResolvedConfig]:
            made = edit_values(base, option.list_values())
            return self.measure_memory(made, card).safe_limit, made

        for option in options:
            line = line_of(option)
            if line not in seen:  # of those that add up gradients, a smaller micro-batch never wants more
                seen[line] = wants(replace(option, micro_batch=least[line]))
            if seen[line][0] > card.usable:
                continue
            upper, made = wants(option)
            if upper <= card.usable:
                yield option, made

    def list_levers(self, config: ResolvedConfig, now: Estimate, card: Card) -> Iterator[Lever]:
        """Yield what each possible change alone would save and cost."""
        before = self.time_of(config, card)
        for change in list_saving_changes(config, card):
            changed = apply_saving_changes(config, (change,))
            found = self.measure_memory(changed, card)
            fits = found.safe_limit <= card.usable
            time = self.time_of(changed, card) / before
            yield Lever(change, now.device - found.device, time, fits, found.phase)

    def time_of(self, config: ResolvedConfig, card: Card) -> float:
        """Return the time of a token, comparable only with that of other settings."""
        training = config.training
        clock = self.make_clock(config, card)
        if clock is None:
            tokens = training.micro_batch * config.data.max_length
            return compute_relative_time(
                tokens, training.gradient_checkpointing, config.model.quantization != "none"
            )
        found = clock.predict_step(training.micro_batch, training.gradient_checkpointing)
        return found.seconds / clock.count_work(training.micro_batch).total_tokens

    def find_smallest(self, config: ResolvedConfig, card: Card) -> tuple[Change, ...]:
        """Return the fewest and mildest changes that make it fit; empty if none do."""
        changes = list_saving_changes(config, card)
        if not config.method.has_trait(Trait.ADAPTER) and config.model.architecture is None and not card.cpu:
            # Offered although full fine-tuning cannot use it: groups pair it with the change to LoRA
            changes.append(Change("model.quantization", "nf4", _("4-bit weights (QLoRA)"), 2))
        if config.data.max_length > 512:
            quarter = config.data.max_length // 4
            limit = config.limit_sequences(quarter)
            changes.append(Change(*limit, _("sequences of {length} tokens", length=quarter), 3))
        for count in range(1, MOST_CHANGES + 1):
            # Mildest first: lower quality is only proposed where nothing milder fits
            for group in sorted(
                group_saving_changes(config, changes, count), key=lambda group: sum(c.quality for c in group)
            ):
                if self.measure_memory(apply_saving_changes(config, group), card).safe_limit <= card.usable:
                    return group
        return ()
