"""Whether a model can be trained for a task on a machine, in which time, and what would make it fit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.advice import words_of
from tui_tuner.config.kinds import QUANTISABLE, TaskKind, is_tiny
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.tiny import values_to_take
from tui_tuner.config.values import set_path, validated, with_values
from tui_tuner.errors import ModelError, TunerError
from tui_tuner.guiding.machine import Machine, processor_speed
from tui_tuner.guiding.models.candidates import FOLDER, Candidate
from tui_tuner.locales import _
from tui_tuner.models.device import GIB
from tui_tuner.models.facts import ModelFacts, facts_from_config, load_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.fit import Fit
from tui_tuner.planning.plan import Plan, plan
from tui_tuner.text import listed, one_line

if TYPE_CHECKING:
    from tui_tuner.planning.throughput import Speed

FITS, CHANGED, UNKNOWN, MISFIT, UNSUITED = "fits", "changed", "unknown", "misfit", "unsuited"
STATES = (FITS, CHANGED, UNKNOWN, MISFIT, UNSUITED)  # in the order of a ranking
ASSUMED = DataFacts(1000, tokens=200_000)  # where no rows were counted, models are compared by these
SMALL_ENCODER = 500_000_000  # parameters, up to which every weight of an encoder is trained
MUCH_TEXT = 10_000_000  # tokens; of so much, training every weight learns more than LoRA
# Of a processor's speed at large products, training reaches this share, and a step takes so many seconds a
# layer beside its products; each for the least time, the likely and the most
REACHED = (0.8, 0.4, 0.2)
OVERHEAD = (0.01, 0.03, 0.06)
BEGIN = 10.0  # seconds until the first step
MEASURED_AND_LOADED = 0.15  # of training: evaluations, samples and checkpoints
LEAST_BYTES, LEAST_BYTES_HERE = 0.5, 2.0  # of a weight, on a GPU and on a processor
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
        basis: What the time rests on.
        weights: `needs` is what the weights alone take, in as few bits as there are: no plan was made.
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
    weights: bool = False


def fit_model(
    candidate: Candidate,
    kind: TaskKind,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
    runs: Path | None = None,
) -> Fitted:
    """Plan a run with a model; a twentieth of a second, and at once the second time.

    Args:
        values: Fields that are decided already, by their dotted names.
        runs: The folder of runs, for the speed of those with this model on this machine.
    """
    seen = [
        candidate.key,
        str(candidate.folder),
        candidate.config,
        kind.name,
        repr(machine.card),
        machine.devices,
        _changed([candidate.folder / "config.json"] if candidate.folder is not None else []),
        _changed(runs.glob("*/events.jsonl") if runs is not None and machine.here and candidate.here else []),
    ]
    key = json.dumps([seen, machine.asked, repr(data), dict(values)], sort_keys=True, default=str)
    with _lock:
        if key in _kept:
            return _kept[key]
    found = _fit(candidate, kind, machine, data, values, runs)
    with _lock:
        while len(_kept) >= _MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = found
    return found


def usual_method(kind: TaskKind, facts: ModelFacts, data: DataFacts | None = None) -> str:
    """Every weight of encoders (arXiv 1810.04805), and for much text (arXiv 2405.09673); else LoRA."""
    whole = kind.decides and facts.encoder and facts.parameters <= SMALL_ENCODER
    much = kind.plain_text and data is not None and (data.tokens or 0) >= MUCH_TEXT
    return "full" if whole or much else "lora"


def plan_model(
    candidate: Candidate,
    kind: TaskKind,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
    runs: Path | None = None,
) -> tuple[Plan, RunConfig, dict[str, Any]]:
    """The plan of a run with a model, its config, and the fields chosen for it.

    Raises:
        TunerError: its config cannot be used, or it does not suit the task.
    """
    facts = _facts_of(candidate, kind)
    chosen = _chosen(candidate, kind, facts, machine, data, values)
    config = _config_of(kind, candidate, {**_length(facts, data), **machine.values, **values, **chosen})
    planned = plan(
        config,
        hardware=machine.hardware,
        card=machine.card,
        facts=facts,
        data=data or ASSUMED,
        speed=_speed(config, candidate, machine, runs),
        network=False,
        levers=False,
    )
    return planned, config, chosen


def _speed(config: RunConfig, candidate: Candidate, machine: Machine, runs: Path | None) -> Speed | None:
    """What a run with this model has reached here; of models that were never here there is none."""
    if not machine.here or not candidate.here or runs is None or not runs.is_dir():
        return None
    from tui_tuner.planning.throughput import measured

    return measured(config, not machine.card.cpu, runs)


def _changed(paths: Iterable[Path]) -> int:
    """When one of these files was written last; 0 for none."""
    last = 0
    for path in paths:
        with suppress(OSError):
            last = max(last, path.stat().st_mtime_ns)
    return last


def _fit(
    candidate: Candidate,
    kind: TaskKind,
    machine: Machine,
    data: DataFacts | None,
    values: Mapping[str, Any],
    runs: Path | None = None,
) -> Fitted:
    if candidate.missing and candidate.origin == FOLDER:
        return Fitted(UNSUITED, why=_("Its folder is not whole: {missing}.", missing=candidate.missing))
    if candidate.missing and candidate.config is None and candidate.folder is None:
        return Fitted(UNKNOWN, why=_("It is here in part: {missing}.", missing=candidate.missing))
    try:
        facts = _facts_of(candidate, kind)
        if facts.encoder and kind.writes:
            why = _("It reads both ways and cannot write, which this task needs.")
            return Fitted(UNSUITED, why=why, parameters=facts.parameters, encoder=True)
        least = facts.parameters * (LEAST_BYTES_HERE if machine.card.cpu else LEAST_BYTES) / GIB
        if least > machine.card.usable:
            return Fitted(
                MISFIT,
                least,
                machine.card.usable,
                parameters=facts.parameters,
                encoder=facts.encoder,
                weights=True,
            )
        planned, config, chosen = plan_model(candidate, kind, machine, data, values, runs)
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
        return Fitted(
            FITS, found.estimate.upper, values=chosen, seconds=whole_time(seconds), basis=basis, **about
        )
    for changes, words in _ways(found, config, chosen, machine):
        again = _planned(config, changes, machine, planned.facts, data)
        if again is not None and again.fit.fits:
            seconds, basis = time_of(again, machine)
            needs = again.fit.estimate.upper
            return Fitted(
                CHANGED,
                needs,
                why=words,
                values={**chosen, **changes},
                seconds=whole_time(seconds),
                basis=basis,
                **about,
            )
    return Fitted(MISFIT, found.estimate.upper, why=found.sentence(), values=chosen, **about)


def _ways(
    found: Fit, config: RunConfig, chosen: Mapping[str, Any], machine: Machine
) -> Iterator[tuple[dict[str, Any], str]]:
    """What may make a misfit fit, the mildest first: adapters, weights in 4 bits, and what planning finds."""
    method = {"method.kind": "lora"} if chosen.get("method.kind") == "full" else {}
    allowed = "lora" not in config.task_kind.without
    if method and allowed:
        yield method, _("LoRA")
    narrow = not machine.card.cpu and config.model.quantization == "none" and allowed
    if narrow and (method or config.method.kind in QUANTISABLE):
        yield {**method, "model.quantization": "nf4"}, _("4-bit weights (QLoRA)")
    if found.smallest:
        changes = {change.path: change.value for change in found.smallest}
        yield changes, listed(change.label for change in found.smallest)


def _planned(
    config: RunConfig, changes: Mapping[str, Any], machine: Machine, facts: ModelFacts, data: DataFacts | None
) -> Plan | None:
    """The plan with other values; None where they contradict the rest."""
    try:
        return plan(
            with_values(config, changes),
            hardware=machine.hardware,
            card=machine.card,
            facts=facts,
            data=data or ASSUMED,
            network=False,
            levers=False,
        )
    except TunerError:
        return None


def time_of(planned: Plan, machine: Machine) -> tuple[tuple[float, float, float] | None, str]:
    """Seconds of a planned training (least, likely, most) and what they rest on; None where nobody can tell.

    On a processor that no run of this kind was timed on, by its arithmetic and the speed of a product of
    matrices, tried for a moment.
    """
    duration = planned.duration
    if duration is None:
        return None, ""
    if duration.seconds is not None:
        low, high = duration.low or duration.seconds, duration.high or duration.seconds
        return (low, duration.seconds, high), duration.basis
    speed = processor_speed() if machine.card.cpu and machine.here else 0.0
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


def whole_time(seconds: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """Seconds of a run, from those of its training: with what is loaded before and measured meanwhile."""
    if seconds is None:
        return None
    low, likely, high = (BEGIN + one * (1 + MEASURED_AND_LOADED) for one in seconds)
    return low, likely, high


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
    usual = "full" if is_tiny(candidate.name) else usual_method(kind, facts, data)
    if usual in kind.without:
        usual = "full" if usual == "lora" else "lora"
    method = str(values.get("method.kind") or usual)
    found: dict[str, Any] = {} if "method.kind" in values else {"method.kind": method}
    if is_tiny(candidate.name):
        asked = {"task": kind.name, "model": {"name": candidate.name}, "method": {"kind": method}}
        found |= {path: value for path, value in values_to_take(asked).items() if path not in values}
    return found
