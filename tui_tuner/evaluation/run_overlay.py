"""Prepare runs to be compared: their curves by step, token or time, and their differences."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.deciding import label_metric, name_metric_in_text
from tui_tuner.config.notices import mask_notify_addresses
from tui_tuner.errors import TunerError
from tui_tuner.locales import N_, _
from tui_tuner.runs.history import read_run_view
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView
from tui_tuner.text import format_seconds, one_line

MOST_POINTS = 600  # of a curve; more steps are averaged in equal groups
BY = {"step": N_("step"), "tokens": N_("trained tokens"), "seconds": N_("seconds of training")}
_HIGHEST = 1e30  # larger values would leave no room for others on a scale
_NOT_COMPARED = ("output.name", "output.folder")


@dataclass(frozen=True)
class Axis:
    """The position of every step of a run by one measure."""

    steps: list[int]
    places: list[float]

    def place_of(self, step: int) -> float:
        """Return the position of a step, or of the last one before it."""
        found = bisect.bisect_right(self.steps, step)
        # Evaluations may come before the first step, which is place 0.
        return self.places[found - 1] if found else 0.0


@dataclass(frozen=True)
class RunOverlay:
    """The data of a run that is drawn and compared.

    Args:
        curves: By step, tokens and seconds: the points (place, mean training loss) of equal groups of steps.
        held_out: {metric: {measure: points}} of evaluations on held-out rows.
        verdict: Name of the newest one; empty if there is none.
        results: {label: value as text}, in the order in which they are shown.
        settings: {field: value as text}.
    """

    name: str
    state: str
    deciding: str
    curves: Mapping[str, list[tuple[float, float]]]
    held_out: Mapping[str, Mapping[str, list[tuple[float, float]]]]
    results: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    verdict: str = ""


def read_overlay(folder: RunFolder) -> RunOverlay:
    """Read the whole journal and the config of a run. Damaged parts are left out."""
    view = read_run_view(folder)
    axes = _make_axes(view)
    names = dict.fromkeys(name for point in view.evaluations for name in point.metrics)
    # By every measure at once: switching the axis must not read the journals again.
    held_out = {name: {by: _measured_points(view, name, axis) for by, axis in axes.items()} for name in names}
    return RunOverlay(
        folder.name,
        folder.find_state(),
        view.deciding_metric,
        {by: _make_curve(view, axis) for by, axis in axes.items()},
        {name: points for name, points in held_out.items() if points["step"]},
        _list_results(view, folder.find_state()),
        _list_settings(folder),
        view.verdict_name,
    )


def _make_axes(view: RunView) -> dict[str, Axis]:
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


def _make_curve(view: RunView, axis: Axis) -> list[tuple[float, float]]:
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


def _measured_points(view: RunView, name: str, axis: Axis) -> list[tuple[float, float]]:
    found = ((point.step, point.metrics.get(name)) for point in view.evaluations)
    return [
        (axis.place_of(step), value) for step, value in found if value is not None and abs(value) < _HIGHEST
    ]


def _list_results(view: RunView, state: str) -> dict[str, str]:
    """Return state, progress, time, speed and the last value of every metric."""
    seconds = sum(point.seconds for point in view.steps if math.isfinite(point.seconds))
    tokens = sum(point.supervised_tokens for point in view.steps)
    found = {
        _("state"): _(state),
        _("steps"): f"{view.step:,}/{view.total_steps:,}" if view.total_steps else f"{view.step:,}",
        _("trained tokens"): f"{tokens:,}" if tokens else "–",
        _("time of the steps"): format_seconds(seconds) if view.steps else "–",
        _("trained tok/s"): f"{tokens / seconds:,.0f}" if tokens and seconds else "–",
        _("training loss"): format_metric_figure("loss", view.steps[-1].loss) if view.steps else "–",
    }
    last: dict[str, str] = {}
    for point in view.evaluations:
        for name, value in point.metrics.items():
            if value is not None:
                last[name] = format_metric_figure(name, value)
    best = view.best_step()
    for name in sorted(last, key=lambda name: name != view.deciding_metric):
        found[_("held-out {metric}", metric=name_metric_in_text(name))] = last[name]
    if best is not None:
        values = [point.metrics.get(view.deciding_metric) for point in view.evaluations if point.step == best]
        value = next((value for value in values if value is not None), None)
        label = _("best {metric}", metric=label_metric(view.deciding_metric, view.metrics))
        found[label] = _(
            "{value} at {step:,}", value=format_metric_figure(view.deciding_metric, value), step=best
        )
    return found


def _list_settings(folder: RunFolder) -> dict[str, str]:
    """Return every field of the config with its value."""
    try:
        # Addresses of notifications contain tokens, and a comparison is often shared.
        values = mask_notify_addresses(folder.load_config().model_dump(mode="json"))
    except TunerError:
        return {}
    return dict(_flatten_values(values))


def _flatten_values(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        where = f"{before}{name}"
        if isinstance(value, Mapping) and value:
            found += _flatten_values(value, f"{where}.")
        elif where not in _NOT_COMPARED:
            found.append((where, one_line("null" if value is None else value, 200)))
    return found


def find_run_differences(runs: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Return (label, value of each run) of everything that differs between them."""
    names = dict.fromkeys(name for values in runs for name in values)
    rows = [(name, [values.get(name, "–") for values in runs]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]
