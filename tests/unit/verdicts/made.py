"""Events of runs that never were: curves of a known shape, with noise in training and rows that differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tui_tuner.runs.events import Evaluation, EventBody, HeldOutRows, RunStarted, Step

Curve = Callable[[float], float]  # of the share of the learning rate used up


def cosine(steps: int) -> list[float]:
    """A rate that falls to 0."""
    return [1e-4 * (1 + math.cos(math.pi * step / steps)) for step in range(steps)]


def constant(steps: int) -> list[float]:
    return [2e-4] * steps


def make_run(
    training: Curve,
    held_out: Curve,
    steps: int = 120,
    evaluations: int = 10,
    noise: float = 0.05,
    rows: int = 60,
    single_rows: bool = True,
    scale: float = 1.0,
    rates: Callable[[int], list[float]] = cosine,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
) -> list[EventBody]:
    """The events of a run.

    Args:
        single_rows: Whether the losses of single held-out rows are told, and any before the first step.
        scale: What all losses are multiplied by.
    """
    random = np.random.default_rng(seed)
    rate = rates(steps)
    used = np.concatenate([[0.0], np.cumsum(rate) / np.sum(rate)])
    easy, eager = random.normal(0, 0.1, rows), np.exp(random.normal(0, 0.3, rows))
    start = held_out(0.0)
    events: list[EventBody] = [] if config is None else [RunStarted(config=config)]

    def evaluate(step: int) -> None:
        level = held_out(float(used[step]))
        losses = (
            start * (1 + easy) + eager / eager.mean() * (level - start) + random.normal(0, 0.01, rows) * level
        )
        losses = scale * (losses - losses.mean() + level)
        events.append(Evaluation(step, "validation", {"loss": float(losses.mean())}))
        if single_rows:
            events.append(HeldOutRows(step, losses.tolist(), [8] * rows))

    if single_rows:
        evaluate(0)
    for step in range(1, steps + 1):
        level = training(float(used[step - 1])) * (1 + random.normal(0, noise))
        events.append(Step(step, step / 40, float(level * scale), rate[step - 1]))
        if step % max(1, steps // evaluations) == 0 or step == steps:
            evaluate(step)
    return events


def falls(start: float, end: float, pace: float) -> Curve:
    """A curve that falls from a level to another; a pace of 6 is all but there in the end."""
    return lambda used: end + (start - end) * math.exp(-pace * used)
