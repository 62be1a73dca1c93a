"""Counters of a run that outlive its process, and what it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.compute.forward import MicroSize
from tui_tuner.training.keeping.checkpoints import read_json

STATE = "run_state.json"


@dataclass
class Progress:
    """What a checkpoint knows beside weights and optimizer.

    Args:
        best: Best value of `evaluation.best`, and the step it was found at.
        worse: Evaluations since then.
        seconds: Spent training, in all processes of the run.
        early: Early stopping has ended the run.
        owed: The evaluation of this step was interrupted, and has to be done again.
        owed_answers: What it shows was interrupted, after what it measures.
        rows: Fingerprint of the training rows by their lengths alone, of a run of version 0.1.
        micro: Sequences and tokens of the micro-batch.
        evaluated: The same of a forward pass over held-out rows, where memory ran out in one.
        random: Training draws random numbers, such as those of dropout.
        path: How the loss is computed: packing, compact, segments; true again where rows are filled up.
        identity: Digests of rows, template and tokenizer (`training.rows`).
        moment: The second that chats are rendered at, in ISO 8601.
        asked: The config as it was asked for, in plain values.
        config: The same without any `auto`.
        measured: `{step: {metric: value}}` on held-out rows, before training where it was measured, and last.
        watched: What `watching.curve` has seen of the losses.
        told: What was said of them, which is not said again: the codes of warnings.
    """

    best: float | None = None
    best_step: int | None = None
    worse: int = 0
    seconds: float = 0.0
    early: bool = False
    owed: bool = False
    owed_answers: bool = False
    rows: str = ""
    micro: list[int] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    random: bool = False
    path: list[bool] = field(default_factory=list)
    identity: dict[str, str] = field(default_factory=dict)
    moment: str = ""
    asked: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, dict[str, float | None]] = field(default_factory=dict)
    watched: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def note_measured(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Keep what was measured last, and what before training."""
        self.measured = {name: kept for name, kept in self.measured.items() if name == "0"}
        self.measured[str(step)] = dict(metrics)

    @property
    def newest(self) -> Mapping[str, float | None]:
        """What was measured last; empty before anything was."""
        return self.measured[max(self.measured, key=int)] if self.measured else {}


# What belongs to the run, and not to one of its steps
OF_THE_RUN = ("identity", "moment", "asked", "config", "evaluated", "random", "told")


def read_progress(folder: Path) -> Progress:
    """The counters in a checkpoint."""
    return Progress(**read_json(folder / STATE))


def micro_size(progress: Progress, wanted: MicroSize) -> MicroSize:
    """The micro-batch a run ended with, if memory had run out in it."""
    return _smaller(progress.micro, wanted)


def evaluation_size(progress: Progress, wanted: MicroSize) -> MicroSize:
    """How much of held-out rows is computed at once: less than in training, if memory had run out in it."""
    return _smaller(progress.evaluated, wanted)


def _smaller(known: list[int], wanted: MicroSize) -> MicroSize:
    if len(known) == 2 and known[1] < wanted.tokens:
        return MicroSize(*known)
    return wanted
