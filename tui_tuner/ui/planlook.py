"""What the plan screen and the settings' summary line show; worked out in a worker thread, without torch."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.applying import methods_of
from tui_tuner.config.kinds import QUANTISABLE
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.calibration import calibrated
from tui_tuner.planning.counting import Counted, count, count_exactly
from tui_tuner.planning.duration import duration_of
from tui_tuner.planning.estimate import Estimate, devices_of, machine
from tui_tuner.planning.fit import Candidate, which_cards
from tui_tuner.planning.gpus import CARDS, Card, card_here, counted_card
from tui_tuner.planning.hardware import Hardware, detect
from tui_tuner.planning.plan import Plan, plan
from tui_tuner.planning.throughput import measured
from tui_tuner.runs.events import Body, Phase
from tui_tuner.tasks import find_task
from tui_tuner.ui.form import at, config_of, put
from tui_tuner.ui.words import share_words

FEW_LAYERS = 2  # that freezing trains where nobody has said how many
QUICK, PATIENT = 0.1, 1.5  # seconds of counting rows: while one types, and on the plan screen

_lock = threading.Lock()
_facts: dict[str, ModelFacts] = {}
_counts: dict[str, Counted] = {}


@dataclass(frozen=True)
class Look:
    """A plan with what it rests on."""

    config: RunConfig
    plan: Plan
    counted: Counted

    @property
    def card(self) -> Card:
        """What the run is planned for: a GPU, or this machine's RAM."""
        return self.plan.fit.card

    @property
    def estimate(self) -> Estimate:
        """Memory on that card."""
        return self.plan.fit.estimate

    @property
    def used(self) -> ResolvedConfig:
        """The config with every `auto` resolved for the card."""
        return self.plan.fit.config


def look(
    draft: dict[str, Any],
    card: str = "",
    root: Path | None = None,
    *,
    network: bool = True,
    exact: bool = False,
    facts: ModelFacts | None = None,
    said: Callable[[Phase], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Look:
    """Plan the run of a draft.

    Args:
        card: A GPU's name or size; empty for this machine's own.
        root: Folder of past runs, for their speed.
        network: Whether the hub may be asked for the model's shapes, and rows may be counted at leisure.
        exact: Tokenise all data (seconds to minutes; imports transformers).
        facts: Shapes of the draft's model, where they are known; looked up otherwise.
        said: Told how far the tokenising is.
        stop: Whether to give that up.

    Raises:
        TunerError: the draft is invalid, or the model, the card or (with `exact`) the data cannot be had.
    """
    config = config_of(draft)
    facts = facts or _facts_of(config, network)
    counted = _counted(config, network, exact, said, stop)
    hardware, chosen, config = _device(config, card)
    speed = None if card else measured(config, not chosen.cpu, root)
    planned = plan(config, hardware=hardware, card=chosen, facts=facts, data=counted.facts, speed=speed)
    return Look(config, planned, counted)


def method_costs(draft: dict[str, Any], card: str, stop: Callable[[], bool]) -> dict[str, str]:
    """What each method that can train the draft's task would take of memory, and how much it would train.

    Asks no hub: nothing where the model's shapes are not known here. A method without a plan is left out.
    """
    found: dict[str, str] = {}
    for kind in methods_of(str(at(draft, "task"))):
        if stop():
            break
        values = copy.deepcopy(draft)
        put(values, "method.kind", kind)
        if kind == "freeze" and at(draft, "method.layers") is None:
            put(values, "method.layers", FEW_LAYERS)
        if kind not in QUANTISABLE:
            put(values, "model.quantization", "none")
        try:
            seen = look(values, card, network=False)
        except (TunerError, OSError):
            continue
        parameters = seen.plan.parameters
        found[kind] = _(
            "{gib:.1f} GiB, {share} of the weights trained",
            gib=seen.estimate.device,
            share=share_words(parameters.share),
        )
    return found


def cards(
    draft: dict[str, Any], said: Callable[[Candidate, float | None], None], stop: Callable[[], bool]
) -> None:
    """Say of each known GPU how the run would go there, and for how many seconds; smallest first.

    Raises:
        TunerError: the draft is invalid, or the model cannot be had.
    """
    config = config_of(draft)
    facts, data = _facts_of(config, True), _counted(config, False, False).facts
    for found in which_cards(config, facts=facts, data=data):
        if stop():
            return
        if found.count == max(1, devices_of(config)):
            duration = duration_of(found.config, facts, data, card=found.card) if data and data.rows else None
            said(found, duration.seconds if duration else None)


def known_cards() -> list[Card]:
    """The table of GPUs, smallest first."""
    return sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops))


def _device(config: RunConfig, card: str) -> tuple[Hardware, Card, RunConfig]:
    """The machine as planning sees it, what to fit into, and the config with that many devices."""
    if card:
        chosen, config = counted_card(card, config)
        return machine(chosen), chosen, config
    hardware = detect()
    return hardware, calibrated(card_here(config, hardware)), config


def _facts_of(config: RunConfig, network: bool) -> ModelFacts:
    """The model's shapes; those from the hub are asked for once."""
    if config.model.name == "demo" or Path(config.model.name).expanduser().is_dir():
        return load_facts(config.model, network=network)
    key = config.model.model_dump_json()
    with _lock:
        known = _facts.get(key)
    if known is None:
        known = load_facts(config.model, network=network)
        with _lock:
            _facts[key] = known
    return known


class _Phases:
    """Passes on how far something is."""

    def __init__(self, said: Callable[[Phase], None]) -> None:
        self._said = said

    def emit(self, body: Body) -> None:
        if isinstance(body, Phase):
            self._said(body)


def _counted(
    config: RunConfig,
    patient: bool,
    exact: bool,
    said: Callable[[Phase], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Counted:
    """Counts of the rows, kept while neither settings nor files change; exact ones are preferred."""
    key = _data_key(config)
    with _lock:
        known = _counts.get(key)
    if known is not None and (known.exact or not exact) and not (patient and known.facts is None):
        return known
    if exact:
        found = count_exactly(config, find_task(config.task), _Phases(said) if said else None, stop)
    else:
        found = count(config, PATIENT if patient else QUICK, PATIENT if patient else 0.0)
    with _lock:
        _counts[key] = found
    return found


def _data_key(config: RunConfig) -> str:
    paths = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    stamps = []
    for item in paths:
        try:
            status = os.stat(Path(item if isinstance(item, str) else item.path).expanduser())
        except OSError:
            continue
        stamps.append((status.st_mtime_ns, status.st_size))
    data = config.data.model_dump_json()
    return f"{config.task} {config.model.name} {config.model.tokenizer} {data} {stamps}"
