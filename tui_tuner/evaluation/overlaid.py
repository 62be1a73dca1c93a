"""Runs to be laid over one another: their curves by step, token or time, and what differs between them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.deciding import label_of, metric_word
from tui_tuner.config.notices import without_addresses
from tui_tuner.errors import TunerError
from tui_tuner.locales import N_, _
from tui_tuner.runs.history import view_of
from tui_tuner.runs.pace import metric_figure
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView
from tui_tuner.text import human_seconds, one_line

MOST_POINTS = 600  # of a curve; more steps are put together in equal groups
BY = {"step": N_("step"), "tokens": N_("trained tokens"), "seconds": N_("seconds of training")}
_HIGHEST = 1e30  # a value beyond it has no place on a scale
_NOT_COMPARED = ("output.name", "output.folder")


@dataclass(frozen=True)
class Axis:
    """Where every step of a run lies by one measure."""

    steps: list[int]
    places: list[float]

    def at(self, step: int) -> float:
        """The place of a step, or of the last one before it."""
        found = bisect.bisect_right(self.steps, step)
        return self.places[found - 1] if found else 0.0


@dataclass(frozen=True)
class Overlaid:
    """What of a run is drawn and compared.

    Args:
        curves: By step, tokens and seconds: the points (place, mean training loss) of equal groups of steps.
        held_out: {metric: {measure: points}}, of evaluations on held-out rows.
        verdict: The newest one, by its name; empty where the run gave none.
        results: {what: value in words}, in the order in which they are shown.
        settings: {field: value in words}.
    """

    name: str
    state: str
    deciding: str
    curves: Mapping[str, list[tuple[float, float]]]
    held_out: Mapping[str, Mapping[str, list[tuple[float, float]]]]
    results: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""


def overlay(folder: RunFolder) -> Overlaid:
    """Read a run whole: its journal, and its config. What is damaged is left out."""
    view = view_of(folder)
    axes = _axes(view)
    names = dict.fromkeys(name for point in view.evaluations for name in point.metrics)
    held_out = {name: {by: _measured(view, name, axis) for by, axis in axes.items()} for name in names}
    return Overlaid(
        folder.name,
        folder.state(),
        view.deciding,
        {by: _curve(view, axis) for by, axis in axes.items()},
        {name: points for name, points in held_out.items() if points["step"]},
        _results(view, folder.state()),
        _settings(folder),
        view.verdict_name,
    )


def _axes(view: RunView) -> dict[str, Axis]:
    steps = [point.step for point in view.steps]
    tokens = seconds = 0.0
    by_tokens, by_seconds = [], []
    for point in view.steps:
        tokens += point.supervised_tokens
        seconds += point.seconds if math.isfinite(point.seconds) else 0.0
        by_tokens.append(tokens)
        by_seconds.append(seconds)
    places = {"step": [float(step) for step in steps], "tokens": by_tokens, "seconds": by_seconds}
    return {by: Axis(steps, places[by]) for by in BY}


def _curve(view: RunView, axis: Axis) -> list[tuple[float, float]]:
    size = max(1, math.ceil(len(view.steps) / MOST_POINTS))
    points = []
    for start in range(0, len(view.steps), size):
        group = [
            (place, point.loss)
            for place, point in zip(axis.places[start:], view.steps[start : start + size], strict=False)
            if point.loss is not None and abs(point.loss) < _HIGHEST
        ]
        if group:
            places, losses = zip(*group, strict=True)
            points.append((sum(places) / len(group), sum(losses) / len(group)))
    return points


def _measured(view: RunView, name: str, axis: Axis) -> list[tuple[float, float]]:
    found = ((point.step, point.metrics.get(name)) for point in view.evaluations)
    return [(axis.at(step), value) for step, value in found if value is not None and abs(value) < _HIGHEST]


def _results(view: RunView, state: str) -> dict[str, str]:
    """State, how far it came, how long, how fast, and every metric as it was measured last."""
    seconds = sum(point.seconds for point in view.steps if math.isfinite(point.seconds))
    tokens = sum(point.supervised_tokens for point in view.steps)
    found = {
        _("state"): _(state),
        _("steps"): f"{view.step:,}/{view.total_steps:,}" if view.total_steps else f"{view.step:,}",
        _("trained tokens"): f"{tokens:,}" if tokens else "–",
        _("time of the steps"): human_seconds(seconds) if view.steps else "–",
        _("trained tok/s"): f"{tokens / seconds:,.0f}" if tokens and seconds else "–",
        _("training loss"): metric_figure("loss", view.steps[-1].loss) if view.steps else "–",
    }
    last: dict[str, str] = {}
    for point in view.evaluations:
        for name, value in point.metrics.items():
            if value is not None:
                last[name] = metric_figure(name, value)
    best = view.best_step()
    for name in sorted(last, key=lambda name: name != view.deciding):
        found[_("held-out {metric}", metric=metric_word(name))] = last[name]
    if best is not None:
        values = [point.metrics.get(view.deciding) for point in view.evaluations if point.step == best]
        value = next((value for value in values if value is not None), None)
        label = _("best {metric}", metric=label_of(view.deciding, view.metrics))
        found[label] = _("{value} at {step:,}", value=metric_figure(view.deciding, value), step=best)
    return found


def _settings(folder: RunFolder) -> dict[str, str]:
    """Every field of the config with its value."""
    try:
        values = without_addresses(folder.config().model_dump(mode="json"))
    except TunerError:
        return {}
    return dict(_flat(values))


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        where = f"{before}{name}"
        if isinstance(value, Mapping) and value:
            found += _flat(value, f"{where}.")
        elif where not in _NOT_COMPARED:
            found.append((where, one_line("null" if value is None else value, 200)))
    return found


def differences(runs: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """(what, the value of each run) of everything that is not the same in all of them."""
    names = dict.fromkeys(name for values in runs for name in values)
    rows = [(name, [values.get(name, "–") for values in runs]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
