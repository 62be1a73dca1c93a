"""Computes what the plan screen and the settings' summary line show, in a worker thread and without torch."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.applying import make_field_getter
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.launch.beforehand import check_carried
from tui_tuner.locales import _
from tui_tuner.methods.saved.starting_adapter import follow_adapter
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.models.growing.grown_facts import settle_new_tokens
from tui_tuner.planning.calibration import calibrate_card
from tui_tuner.planning.comparing.method_rows import Figures, MethodRow, compare_methods
from tui_tuner.planning.duration import estimate_duration
from tui_tuner.planning.estimate import Estimate, count_step_devices, make_imaginary_machine
from tui_tuner.planning.fit import Candidate, rank_cards
from tui_tuner.planning.gpus import CARDS, Card, find_local_card, parse_gpu_cards
from tui_tuner.planning.hardware import Hardware, detect_hardware
from tui_tuner.planning.heads.parameters import Parameters, count_run_parameters
from tui_tuner.planning.plan import Plan, plan_run
from tui_tuner.planning.resolve import resolve_config
from tui_tuner.planning.row_counting import RowCount, count_rows_exactly, count_rows_quickly
from tui_tuner.planning.throughput import find_measured_throughput, list_recent_runs, match_throughput
from tui_tuner.runs.events import EventBody, Phase
from tui_tuner.tasks import find_task
from tui_tuner.text import format_share_percentage
from tui_tuner.ui.form_values import build_draft_config, set_draft_value

QUICK, PATIENT = 0.1, 1.5  # seconds for counting rows: while the user types, and on the plan screen

_lock = threading.Lock()
_facts: dict[str, ModelFacts] = {}
_counts: dict[str, RowCount] = {}


@dataclass(frozen=True)
class PlanPreview:
    """A plan with the config and the row counts it is based on."""

    config: RunConfig
    plan: Plan
    counted: RowCount

    @property
    def card(self) -> Card:
        """The device that the run is planned for: a GPU, or this machine's RAM."""
        return self.plan.fit.card

    @property
    def estimate(self) -> Estimate:
        """The estimated memory on that device."""
        return self.plan.fit.estimate

    @property
    def resolved_config(self) -> ResolvedConfig:
        """The config with every `auto` resolved for the card."""
        return self.plan.fit.config


def plan_draft(
    draft: dict[str, Any],
    card: str = "",
    root: Path | None = None,
    *,
    network: bool = True,
    exact: bool = False,
    facts: ModelFacts | None = None,
    said: Callable[[Phase], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> PlanPreview:
    """Plan the run of a draft.

    Args:
        card: A GPU's name or size; empty for this machine's own.
        root: Folder of past runs, for their speed.
        network: Whether to ask the hub for the model's shapes, and to take more time to count rows.
        exact: Tokenise all data (seconds to minutes; imports transformers).
        facts: Shapes of the draft's model, if known; otherwise they are looked up.
        said: Called with the progress of tokenising.
        stop: Returns True to cancel tokenising.

    Raises:
        TunerError: the draft is invalid, or the model, the GPU or (with `exact`) the data cannot be read.
    """
    config = follow_adapter(build_draft_config(draft))
    facts = facts or _facts_of(config, network)
    counted = _count_rows(config, network, exact, said, stop)
    if counted.vocabulary is not None:  # the rows may have fewer words than were asked for
        facts = load_facts(settle_new_tokens(config.model, counted.vocabulary["tokens"]), network=network)
    hardware, chosen, config = _choose_device(config, card)
    # Speeds of past runs were measured here and say nothing about another GPU.
    speed = None if card else find_measured_throughput(config, not chosen.cpu, root)
    planned = plan_run(config, hardware=hardware, card=chosen, facts=facts, data=counted.facts, speed=speed)
    return PlanPreview(config, planned, counted)


def compare_draft(
    draft: dict[str, Any],
    card: str,
    said: Callable[[MethodRow, RowCount], None],
    stop: Callable[[], bool],
    root: Path | None = None,
    *,
    network: bool = True,
) -> None:
    """Report for each method what it would train, need and save with a draft's other values.

    Args:
        said: Called with each row as it is computed, and the row counts that it is based on.

    Raises:
        TunerError: the draft is invalid, or the model's shapes or the GPU are unknown.
    """
    config = follow_adapter(build_draft_config(draft))
    facts, counted = _facts_of(config, network), _count_rows(config, network, False)
    hardware, chosen, _config = _choose_device(config, card)
    # Speeds of past runs were measured here; read once, for all methods have the same folder.
    runs = [] if card else list(list_recent_runs(root or config.output.folder))

    def change_draft(values: dict[str, Any]) -> RunConfig:
        changed = copy.deepcopy(draft)
        for path, value in values.items():
            set_draft_value(changed, path, value)
        return build_draft_config(changed)

    def plan_method(changed: RunConfig) -> Figures:
        changed = follow_adapter(changed)
        if card:
            changed = parse_gpu_cards(card, changed)[1]
        speed = match_throughput(changed, not chosen.cpu, runs)
        plan = plan_run(
            changed,
            hardware=hardware,
            card=chosen,
            facts=facts,
            data=counted.facts,
            speed=speed,
            levers=False,
        )
        return Figures(plan.fit.estimate, plan.fit.fits, plan.parameters, plan.file_bytes, plan.duration)

    rows = compare_methods(
        make_field_getter(draft),
        facts.layers,
        change_draft,
        plan_method,
        lambda changed: check_carried(changed, facts),
    )
    for row in rows:
        if stop():
            return
        said(row, counted)


def list_method_costs(draft: dict[str, Any], card: str, stop: Callable[[], bool]) -> dict[str, str]:
    """Return memory use and share of trained weights for each method that can train the draft's task.

    Does not ask the hub: empty if the model's shapes are not known locally. Methods without a plan are
    omitted.
    """
    found: dict[str, str] = {}

    def keep_row(row: MethodRow, _counted: RowCount) -> None:
        if row.figures is not None:
            share = format_share_percentage(row.figures.parameters.trained_share)
            found[row.kind.name] = _(
                "{gib:.1f} GiB, {share} of the weights trained", gib=row.figures.estimate.device, share=share
            )

    try:
        compare_draft(draft, card, keep_row, stop, network=False)
    except (TunerError, OSError):
        return {}
    return found


def measure_method(draft: dict[str, Any], card: str) -> tuple[Parameters, int]:
    """Count what a draft's method trains in its model, and the bytes of the weights that are saved.

    It takes milliseconds: no memory is planned and no hub is asked.

    Raises:
        TunerError: the draft is invalid, or the model's shapes are not known on this machine.
    """
    config = follow_adapter(build_draft_config(draft))
    facts, data = _facts_of(config, False), _count_rows(config, False, False).facts
    hardware, _chosen, config = _choose_device(config, card)
    used = resolve_config(config, hardware=hardware, model_facts=facts, data_facts=data).config
    found = count_run_parameters(config, facts, data)
    return found, found.measure_file(used.model.dtype)


def report_card_fits(
    draft: dict[str, Any], said: Callable[[Candidate, float | None], None], stop: Callable[[], bool]
) -> None:
    """Report for each known GPU how the run would fit and how many seconds it would take, smallest first.

    Raises:
        TunerError: the draft is invalid, or the model's shapes cannot be read.
    """
    config = build_draft_config(draft)
    facts, data = _facts_of(config, True), _count_rows(config, False, False).facts
    for found in rank_cards(config, facts=facts, data=data):
        if stop():
            return
        # The search also tries more GPUs of a kind; the list shows the number that the draft asks for.
        if found.count == max(1, count_step_devices(config)):
            duration = (
                estimate_duration(found.config, facts, data, card=found.card) if data and data.rows else None
            )
            said(found, duration.seconds if duration else None)


def list_known_cards() -> list[Card]:
    """Return the table of GPUs, smallest first."""
    return sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops))


def _choose_device(config: RunConfig, card: str) -> tuple[Hardware, Card, RunConfig]:
    """Return the hardware, the card to fit the run into, and the config with that number of devices."""
    if card:
        chosen, config = parse_gpu_cards(card, config)
        return make_imaginary_machine(chosen), chosen, config
    hardware = detect_hardware()
    return hardware, calibrate_card(find_local_card(config, hardware)), config


def _facts_of(config: RunConfig, network: bool) -> ModelFacts:
    """Return the model's shapes; the hub is asked only once for each model."""
    # Local folders may change at any time and are quick to read, so they are not cached.
    if config.model.name == "demo" or Path(config.model.name).expanduser().is_dir():
        return load_facts(config.model, network=network)
    key = config.model.model_dump_json()
    with _lock:
        known = _facts.get(key)
    if known is None:
        # Outside of the lock: a slow hub must not hold up a plan of another model.
        known = load_facts(config.model, network=network)
        with _lock:
            _facts[key] = known
    return known


class _PhaseForwarder:
    """A journal that only forwards phases."""

    def __init__(self, said: Callable[[Phase], None]) -> None:
        self._said = said

    def emit(self, body: EventBody) -> None:
        if isinstance(body, Phase):
            self._said(body)


def _count_rows(
    config: RunConfig,
    patient: bool,
    exact: bool,
    said: Callable[[Phase], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> RowCount:
    """Count the rows, cached until settings or files change; exact counts are preferred."""
    key = _data_key(config)
    with _lock:
        known = _counts.get(key)
    # A cached count of a quick look may have run out of time; a patient caller tries again.
    if known is not None and (known.exact or not exact) and not (patient and known.facts is None):
        return known
    if exact:
        found = count_rows_exactly(
            config, find_task(config.task), _PhaseForwarder(said) if said else None, stop
        )
    else:
        found = count_rows_quickly(config, PATIENT if patient else QUICK, PATIENT if patient else 0.0)
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
