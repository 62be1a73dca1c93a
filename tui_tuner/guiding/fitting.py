"""Whether a model can be trained for a task on a machine, in which time, and what would make it fit."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.advice import words_of
from tui_tuner.config.kinds import TaskKind, is_tiny
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.tiny import values_to_take
from tui_tuner.config.values import set_path, validated
from tui_tuner.errors import ModelError, TunerError
from tui_tuner.guiding.candidates import Candidate
from tui_tuner.guiding.machine import Machine, processor_speed
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts, facts_from_config, load_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.plan import Plan, plan
from tui_tuner.text import listed, one_line

FITS, CHANGED, UNKNOWN, MISFIT, UNSUITED = "fits", "changed", "unknown", "misfit", "unsuited"
STATES = (FITS, CHANGED, UNKNOWN, MISFIT, UNSUITED)  # in the order of a ranking
ASSUMED = DataFacts(1000, tokens=200_000)  # where no rows were counted, models are compared by these
SMALL = 50_000_000  # parameters below which every weight is trained: there is memory for it on any machine
REACHED = (0.1, 0.25, 0.5)  # of a processor's speed at large products: least, likely, most
OVERHEAD = 0.03  # seconds of a step and a layer on a processor beside its products
_MOST_KEPT = 1024
_lock = threading.Lock()
_kept: dict[str, Fitted] = {}


@dataclass(frozen=True)
class Fitted:
    """The answer for one model.

    Args:
        state: One of `STATES`; `changed` fits with `values` that were not asked for.
        needs: GiB that have to be free. there: GiB that the machine has.
        why: What stands in the way, or what had to change, as words.
        values: Fields by their dotted names: the method, and what makes it fit.
        seconds: Least, likely and most, of `ASSUMED` rows where none were counted; None where nobody can
            tell.
        encoder: Whether it reads both ways.
    """

    state: str
    needs: float = 0.0
    there: float = 0.0
    why: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: tuple[float, float, float] | None = None
    parameters: int | None = None
    encoder: bool = False
    basis: str = ""


def fit_model(
    candidate: Candidate, kind: TaskKind, machine: Machine, data: DataFacts | None, values: Mapping[str, Any]
) -> Fitted:
    """Plan a run with a model; a twentieth of a second, and at once the second time.

    Args:
        values: Fields that are decided already, by their dotted names.
    """
    seen = [
        candidate.key,
        str(candidate.folder),
        candidate.config,
        kind.name,
        repr(machine.card),
        machine.devices,
    ]
    key = json.dumps([seen, machine.asked, repr(data), dict(values)], sort_keys=True, default=str)
    with _lock:
        if key in _kept:
            return _kept[key]
    found = _fit(candidate, kind, machine, data, values)
    with _lock:
        while len(_kept) >= _MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = found
    return found


def usual_method(kind: TaskKind, facts: ModelFacts) -> str:
    """Every weight of encoders (arXiv 1810.04805) and of small models; LoRA where weights are many."""
    return "full" if facts.encoder or facts.parameters < SMALL else "lora"


def plan_model(
    candidate: Candidate, kind: TaskKind, machine: Machine, data: DataFacts | None, values: Mapping[str, Any]
) -> tuple[Plan, RunConfig, dict[str, Any]]:
    """The plan of a run with a model, its config, and the fields chosen for it.

    Raises:
        TunerError: its config cannot be used, or it does not suit the task.
    """
    facts = _facts_of(candidate, kind)
    chosen = _chosen(candidate, kind, facts, machine, data, values)
    config = _config_of(kind, candidate, {**_length(facts, data), **machine.values, **values, **chosen})
    planned = plan(
        config, hardware=machine.hardware, card=machine.card, facts=facts, data=data or ASSUMED, network=False
    )
    return planned, config, chosen


def _fit(
    candidate: Candidate, kind: TaskKind, machine: Machine, data: DataFacts | None, values: Mapping[str, Any]
) -> Fitted:
    if candidate.missing and candidate.config is None and candidate.folder is None:
        return Fitted(UNKNOWN, why=_("It is here in part: {missing}.", missing=candidate.missing))
    try:
        facts = _facts_of(candidate, kind)
        if facts.encoder and kind.writes:
            why = _("It reads both ways and cannot write, which this task needs.")
            return Fitted(UNSUITED, why=why, parameters=facts.parameters, encoder=True)
        planned, config, chosen = plan_model(candidate, kind, machine, data, values)
    except ModelError as error:
        return Fitted(UNSUITED, why=words_of(error))
    except TunerError as error:
        return Fitted(UNSUITED if error.field == "model.name" else UNKNOWN, why=words_of(error))
    except OSError as error:
        return Fitted(UNKNOWN, why=one_line(error))
    return _fitted(planned, config, chosen, machine, data)


def _fitted(
    planned: Plan,
    config: RunConfig,
    chosen: dict[str, Any],
    machine: Machine,
    data: DataFacts | None,
) -> Fitted:
    found, facts = planned.fit, planned.facts
    about: dict[str, Any] = {
        "parameters": facts.parameters,
        "encoder": facts.encoder,
        "there": found.card.usable,
    }
    if found.fits:
        seconds, basis = time_of(planned, machine)
        return Fitted(FITS, found.estimate.upper, values=chosen, seconds=seconds, basis=basis, **about)
    if not found.smallest:
        return Fitted(MISFIT, found.estimate.upper, why=found.sentence(), values=chosen, **about)
    changes = {change.path: change.value for change in found.smallest}
    changed = _config_with(config, changes)
    if changed is None:
        return Fitted(MISFIT, found.estimate.upper, why=found.sentence(), values=chosen, **about)
    again = plan(
        changed,
        hardware=machine.hardware,
        card=machine.card,
        facts=facts,
        data=data or ASSUMED,
        network=False,
    )
    words = listed(change.label for change in found.smallest)
    seconds, basis = time_of(again, machine)
    state = CHANGED if again.fit.fits else MISFIT
    upper = again.fit.estimate.upper if again.fit.fits else found.estimate.upper
    return Fitted(
        state, upper, why=words, values={**chosen, **changes}, seconds=seconds, basis=basis, **about
    )


def time_of(planned: Plan, machine: Machine) -> tuple[tuple[float, float, float] | None, str]:
    """Seconds of a planned run (least, likely, most) and what they rest on; None where nobody can tell.

    On a processor that no run of this kind was timed on, by its arithmetic and the speed of a product of
    matrices, tried for a moment.
    """
    duration = planned.duration
    if duration is None:
        return None, ""
    if duration.seconds is not None:
        low, high = duration.low or duration.seconds, duration.high or duration.seconds
        return (low, duration.seconds, high), duration.basis
    speed = processor_speed() if machine.card.cpu else 0.0
    if not speed:
        return None, duration.basis
    work = duration.work
    beside = work.steps * planned.facts.layers * OVERHEAD
    high, middle, low = (work.flops / (share * speed) + beside for share in REACHED)
    basis = _(
        "about {share:.0%} of the {speed:.0f} GFLOP/s that this processor reached in a short trial",
        share=REACHED[1],
        speed=speed / 1e9,
    )
    return (low, middle, high), basis


def _facts_of(candidate: Candidate, kind: TaskKind) -> ModelFacts:
    if candidate.config is not None:
        where = f"{one_line(candidate.name)}/config.json"
        return facts_from_config(candidate.config, candidate.name, where)
    name = str(candidate.folder) if candidate.folder is not None else candidate.name
    config = _config_of(kind, candidate, {"model.name": name})
    return load_facts(config.model, network=False)


def _config_of(kind: TaskKind, candidate: Candidate, values: Mapping[str, Any]) -> RunConfig:
    plain: dict[str, Any] = {"task": kind.name}
    set_path(plain, "model.name", candidate.name)
    if candidate.source:
        set_path(plain, "model.hub", candidate.source)
    for path, value in values.items():
        if path not in ("task", "data.path"):  # which rows there are is known from their counts
            set_path(plain, path, value)
    return validated(RunConfig, plain)


def _config_with(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig | None:
    from tui_tuner.config.values import with_values

    try:
        return with_values(config, changes)
    except TunerError:
        return None


def _length(facts: ModelFacts, data: DataFacts | None) -> dict[str, Any]:
    """The longest sequence: no longer than the rows and the model's positions."""
    usual = int(RunConfig().data.max_length)
    if data is not None and data.longest:
        usual = max(64, min(usual, -(-data.longest // 64) * 64))
    positions = facts.max_positions
    return {"data.max_length": min(usual, positions) if positions and facts.positions_end else usual}


def _chosen(
    candidate: Candidate,
    kind: TaskKind,
    facts: ModelFacts,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """Fields that go with this model and nobody has decided."""
    method = str(values.get("method.kind") or usual_method(kind, facts))
    if method in kind.without:
        method = "lora"
    found: dict[str, Any] = {} if "method.kind" in values else {"method.kind": method}
    if is_tiny(candidate.name):
        asked = {"task": kind.name, "model": {"name": candidate.name}, "method": {"kind": method}}
        found |= {path: value for path, value in values_to_take(asked).items() if path not in values}
    return found
