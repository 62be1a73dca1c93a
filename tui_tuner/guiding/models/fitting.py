"""Plans a run with a model: whether it fits a machine, how long it takes, and what would make it fit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import DEFAULT_METHOD, METHODS, WHOLE_METHOD
from tui_tuner.config.kinds.tasks import TaskKind, is_tiny_model
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.tiny import find_missing_tiny_values
from tui_tuner.config.values import edit_values, set_config_path, validate_values
from tui_tuner.errors import ModelError, TunerError
from tui_tuner.guiding.machine import Machine, measure_processor_speed
from tui_tuner.guiding.models.candidates import FOLDER, Candidate
from tui_tuner.locales import _
from tui_tuner.models.device import GIB
from tui_tuner.models.facts import ModelFacts, load_facts, read_config_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.fit import Fit
from tui_tuner.planning.plan import Plan, plan_run
from tui_tuner.text import join_sentence_items, one_line

if TYPE_CHECKING:
    from tui_tuner.planning.throughput import Speed

FITS, CHANGED, UNKNOWN, MISFIT, UNSUITED = "fits", "changed", "unknown", "misfit", "unsuited"
STATES = (FITS, CHANGED, UNKNOWN, MISFIT, UNSUITED)  # in the order of a ranking
ASSUMED = DataFacts(1000, tokens=200_000)  # for comparing models if no rows were counted
SMALL_ENCODER = 500_000_000  # parameters; encoders up to this size are trained in full
MUCH_TEXT = 10_000_000  # tokens; from here on, full training learns more than LoRA
# The share of a processor's speed at large matrix products that training reaches, and the seconds per layer
# and
# step that come on top; each for the least, the likely and the most time
REACHED = (0.8, 0.4, 0.2)
OVERHEAD = (0.01, 0.03, 0.06)
BEGIN = 10.0  # seconds until the first step
MEASURED_AND_LOADED = 0.15  # of training: evaluations, samples and checkpoints
LEAST_BYTES, LEAST_BYTES_HERE = 0.5, 2.0  # per weight, on a GPU and on a processor
_MOST_KEPT = 1024
_lock = threading.Lock()
_kept: dict[str, ModelFit] = {}


@dataclass(frozen=True)
class ModelFit:
    """The result of planning a run with one model.

    Args:
        state: One of `STATES`; `changed` fits with changed `values`.
        needs: GiB that must be free. there: GiB that the machine has.
        why: What prevents training, or what had to change, in words.
        values: Fields by their dotted names: the method, and what makes it fit.
        seconds: Least, likely and most, for `ASSUMED` rows if none were counted; None if unknown.
        encoder: Whether it reads in both directions.
        rewriter: Whether an encoder reads and a decoder writes.
        basis: The source of the time estimate.
        weights: Whether `needs` is only the size of the weights in the fewest bits: no plan was made.
    """

    state: str
    needs: float = 0.0
    there: float = 0.0
    why: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: tuple[float, float, float] | None = None
    parameters: int | None = None
    encoder: bool = False
    rewriter: bool = False
    basis: str = ""
    weights: bool = False


def fit_model(
    candidate: Candidate,
    kind: TaskKind,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
    runs: Path | None = None,
) -> ModelFit:
    """Plan a run with a model; takes about 50 ms, and nothing the second time, as results are cached.

    Args:
        values: Fields that are decided already, by their dotted names.
        runs: The folder of runs, for speeds measured with this model on this machine.
    """
    seen = [
        candidate.candidate_key,
        str(candidate.folder),
        candidate.config,
        kind.name,
        repr(machine.card),
        machine.devices,
        # A model that was changed on disk, or a run that measured its speed since, needs a new plan
        _find_last_change([candidate.folder / "config.json"] if candidate.folder is not None else []),
        _find_last_change(
            runs.glob("*/events.jsonl") if runs is not None and machine.is_here and candidate.is_here else []
        ),
    ]
    # As text, since configs and values contain lists and mappings, which cannot be hashed
    key = json.dumps([seen, machine.asked, repr(data), dict(values)], sort_keys=True, default=str)
    with _lock:
        if key in _kept:
            return _kept[key]
    # Planned outside of the lock, so that threads can plan different models at the same time
    found = _fit_uncached(candidate, kind, machine, data, values, runs)
    with _lock:
        while len(_kept) >= _MOST_KEPT:
            # Dicts keep their order of insertion: the oldest goes first
            del _kept[next(iter(_kept))]
        _kept[key] = found
    return found


def find_usual_method(kind: TaskKind, facts: ModelFacts, data: DataFacts | None = None) -> str:
    """Return `full` for encoders (arXiv 1810.04805), small encoder-decoders (arXiv 1910.10683) and much text
    (arXiv 2405.09673), else `lora`.
    """
    small = facts.parameters <= SMALL_ENCODER
    rewrites = kind.encoder_decoder and facts.source is not None
    whole = small and (rewrites or (facts.encoder and not kind.writes))
    much = kind.plain_text and data is not None and (data.tokens or 0) >= MUCH_TEXT
    return WHOLE_METHOD if whole or much else DEFAULT_METHOD


def plan_model(
    candidate: Candidate,
    kind: TaskKind,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
    runs: Path | None = None,
) -> tuple[Plan, RunConfig, dict[str, Any]]:
    """Plan a run with a model; return (plan, config, fields chosen for it).

    Raises:
        TunerError: its config cannot be used, or it does not suit the task.
    """
    facts = _load_candidate_facts(candidate, kind)
    chosen = _choose_fields(candidate, kind, facts, machine, data, values)
    config = _build_candidate_config(
        kind, candidate, {**_limit_length(facts, data), **machine.field_values, **values, **chosen}
    )
    planned = plan_run(
        config,
        hardware=machine.hardware,
        card=machine.card,
        facts=facts,
        data=data or ASSUMED,
        speed=_find_measured_speed(config, candidate, machine, runs),
        network=False,
        levers=False,
    )
    return planned, config, chosen


def _find_measured_speed(
    config: RunConfig, candidate: Candidate, machine: Machine, runs: Path | None
) -> Speed | None:
    """Return the speed that runs with this model reached on this machine; None if there were none."""
    if not machine.is_here or not candidate.is_here or runs is None or not runs.is_dir():
        return None
    from tui_tuner.planning.throughput import find_measured_throughput

    return find_measured_throughput(config, not machine.card.cpu, runs)


def _find_last_change(paths: Iterable[Path]) -> int:
    """Return the latest modification time of the files in nanoseconds; 0 if there are none."""
    last = 0
    for path in paths:
        with suppress(OSError):
            last = max(last, path.stat().st_mtime_ns)
    return last


def _fit_uncached(
    candidate: Candidate,
    kind: TaskKind,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
    runs: Path | None = None,
) -> ModelFit:
    # A hub can complete its own download, but nothing can complete a folder
    if candidate.missing and candidate.origin == FOLDER:
        return ModelFit(UNSUITED, why=_("Its folder is incomplete: {missing}.", missing=candidate.missing))
    if candidate.missing and candidate.config is None and candidate.folder is None:
        return ModelFit(
            UNKNOWN, why=_("It is only partly on this machine: {missing}.", missing=candidate.missing)
        )
    try:
        facts = _load_candidate_facts(candidate, kind)
        if facts.encoder and kind.writes:
            why = _("It is an encoder and cannot write, which this task needs.")
            return ModelFit(UNSUITED, why=why, parameters=facts.parameters, encoder=True)
        rewrites = facts.source is not None
        unfit = explain_unfit_halves(kind, facts)
        if unfit:
            return ModelFit(UNSUITED, why=unfit, parameters=facts.parameters, rewriter=rewrites)
        least = facts.parameters * (LEAST_BYTES_HERE if machine.card.cpu else LEAST_BYTES) / GIB
        # Even the bare weights are too large, so planning would only cost time
        if least > machine.card.usable:
            return ModelFit(
                MISFIT,
                least,
                machine.card.usable,
                parameters=facts.parameters,
                encoder=facts.encoder,
                rewriter=rewrites,
                weights=True,
            )
        planned, config, chosen = plan_model(candidate, kind, machine, data, values, runs)
    except ModelError as error:
        return ModelFit(UNSUITED, why=format_error_words(error))
    except TunerError as error:
        # An error about the model itself is final; any other may be solved by another setting
        return ModelFit(UNSUITED if error.field == "model.name" else UNKNOWN, why=format_error_words(error))
    except OSError as error:
        return ModelFit(UNKNOWN, why=one_line(error))
    return _judge_plan(planned, config, chosen, machine, data)


def explain_unfit_halves(kind: TaskKind, facts: ModelFacts) -> str:
    """Explain why a task does not go with the halves that a model has; empty if it does."""
    if not facts.verified and facts.uncounted:
        return ""  # whether it has an encoder is not known for sure
    if kind.encoder_decoder and facts.source is None:
        return _("It has no encoder that reads a source, which this task needs.")
    if kind.writes and not kind.encoder_decoder and facts.source is not None:
        return _("An encoder reads and a decoder writes in it, which needs the task for such models.")
    if kind.hides and not facts.encoder:
        return _("It predicts the next token and cannot guess hidden ones.")
    return ""


def _judge_plan(
    planned: Plan,
    config: RunConfig,
    chosen: dict[str, Any],
    machine: Machine,
    data: DataFacts | None,
) -> ModelFit:
    found, facts = planned.fit, planned.facts
    about: dict[str, Any] = {
        "parameters": facts.parameters,
        "encoder": facts.encoder,
        "rewriter": facts.source is not None,
        "there": found.card.usable,
    }
    if found.fits:
        seconds, basis = estimate_training_time(planned, machine)
        return ModelFit(
            FITS,
            found.estimate.safe_limit,
            values=chosen,
            seconds=estimate_run_time(seconds),
            basis=basis,
            **about,
        )
    for changes, words in _list_changes(found, config, chosen, machine):
        again = _plan_with_changes(config, changes, machine, planned.facts, data)
        if again is not None and again.fit.fits:
            seconds, basis = estimate_training_time(again, machine)
            needs = again.fit.estimate.safe_limit
            return ModelFit(
                CHANGED,
                needs,
                why=words,
                values={**chosen, **changes},
                seconds=estimate_run_time(seconds),
                basis=basis,
                **about,
            )
    return ModelFit(MISFIT, found.estimate.safe_limit, why=found.describe_fit(), values=chosen, **about)


def _list_changes(
    found: Fit, config: RunConfig, chosen: Mapping[str, Any], machine: Machine
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield changes that may make a model fit, the mildest first: LoRA, 4-bit weights, and the plan's own."""
    kind = METHODS.get(str(chosen.get("method.kind")))
    method = {"method.kind": DEFAULT_METHOD} if kind and kind.has_trait(Trait.WHOLE_MODEL) else {}
    allowed = config.task_kind.takes_method(DEFAULT_METHOD)
    if method and allowed:
        yield method, _("LoRA")
    narrow = not machine.card.cpu and config.model.quantization == "none" and allowed
    if narrow and (method or config.method.has_trait(Trait.QUANTISABLE)):
        yield {**method, "model.quantization": "nf4"}, _("4-bit weights (QLoRA)")
    if found.smallest:
        changes = {change.path: change.value for change in found.smallest}
        yield changes, join_sentence_items(change.label for change in found.smallest)


def _plan_with_changes(
    config: RunConfig, changes: Mapping[str, Any], machine: Machine, facts: ModelFacts, data: DataFacts | None
) -> Plan | None:
    """Plan again with other values; None if they contradict the rest."""
    try:
        return plan_run(
            edit_values(config, changes),
            hardware=machine.hardware,
            card=machine.card,
            facts=facts,
            data=data or ASSUMED,
            network=False,
            levers=False,
        )
    except TunerError:
        return None


def estimate_training_time(planned: Plan, machine: Machine) -> tuple[tuple[float, float, float] | None, str]:
    """Estimate (least, likely, most) seconds of training, and name the source; None if unknown.

    Without a measured run, the time on a processor is estimated from the number of operations and the speed
    of a short matrix product.
    """
    duration = planned.duration
    if duration is None:
        return None, ""
    if duration.seconds is not None:
        low, high = duration.low or duration.seconds, duration.high or duration.seconds
        return (low, duration.seconds, high), duration.basis
    speed = measure_processor_speed() if machine.card.cpu and machine.is_here else 0.0
    if not speed:
        return None, duration.basis
    work = duration.work
    layers = work.steps * planned.facts.layers
    low, middle, high = (
        work.flops / (share * speed) + beside * layers
        for share, beside in zip(REACHED, OVERHEAD, strict=True)
    )
    basis = _(
        "about {share:.0%} of the {speed:.0f} GFLOP/s that this processor reached in a short trial",
        share=REACHED[1],
        speed=speed / 1e9,
    )
    return (low, middle, high), basis


def estimate_run_time(seconds: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """Estimate the seconds of a whole run from those of training, with loading and evaluations."""
    if seconds is None:
        return None
    low, likely, high = (BEGIN + one * (1 + MEASURED_AND_LOADED) for one in seconds)
    return low, likely, high


def _load_candidate_facts(candidate: Candidate, kind: TaskKind) -> ModelFacts:
    if candidate.config is not None:
        where = f"{one_line(candidate.name)}/config.json"
        return read_config_facts(candidate.config, candidate.name, where)
    name = str(candidate.folder) if candidate.folder is not None else candidate.name
    config = _build_candidate_config(kind, candidate, {"model.name": name})
    return load_facts(config.model, network=False)


def _build_candidate_config(kind: TaskKind, candidate: Candidate, values: Mapping[str, Any]) -> RunConfig:
    plain: dict[str, Any] = {"task": kind.name}
    set_config_path(plain, "model.name", candidate.name)
    if candidate.source:
        set_config_path(plain, "model.hub", candidate.source)
    for path, value in values.items():
        # The rows are known by their counts alone; the plan must not look for a file
        if path not in ("task", "data.path"):
            set_config_path(plain, path, value)
    return validate_values(RunConfig, plain)


def _limit_length(facts: ModelFacts, data: DataFacts | None) -> dict[str, Any]:
    """Limit `max_length` to the longest row and to the model's positions."""
    if facts.source is not None:
        return {}  # both sides have limits of their own, which the rows decide
    usual = int(RunConfig().data.max_length)
    if data is not None and data.longest:
        usual = max(64, min(usual, -(-data.longest // 64) * 64))
    positions = facts.max_positions
    return {"data.max_length": min(usual, positions) if positions and facts.positions_end else usual}


def _choose_fields(
    candidate: Candidate,
    kind: TaskKind,
    facts: ModelFacts,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """Choose the fields that go with this model and are not decided yet."""
    usual = WHOLE_METHOD if is_tiny_model(candidate.name) else find_usual_method(kind, facts, data)
    # A task may exclude one of the two methods
    usual = next((one for one in (usual, DEFAULT_METHOD, WHOLE_METHOD) if kind.takes_method(one)), usual)
    method = str(values.get("method.kind") or usual)
    found: dict[str, Any] = {} if "method.kind" in values else {"method.kind": method}
    if is_tiny_model(candidate.name):
        asked = {"task": kind.name, "model": {"name": candidate.name}, "method": {"kind": method}}
        found |= {
            path: value for path, value in find_missing_tiny_values(asked).items() if path not in values
        }
    return found
