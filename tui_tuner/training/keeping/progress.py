"""Counters of a run that outlive its process, and the facts it began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.compute.forward import MicroSize
from tui_tuner.training.keeping.checkpoints import read_checkpoint_json

STATE = "run_state.json"


@dataclass
class Progress:
    """The state that a checkpoint keeps in addition to weights and optimizer.

    Args:
        best: Best value of `evaluation.best`, and the step it was found at.
        worse: Evaluations since then, none of which was better.
        seconds: Time spent training, in all processes of the run.
        early: Early stopping has ended the run.
        owed: The evaluation of this step was interrupted, and must be repeated.
        owed_answers: Only the answers it shows were interrupted; its figures are complete.
        rows: Fingerprint of the training rows by their lengths alone; only in runs of version 0.1.
        micro: Sequences and tokens of the micro-batch.
        evaluated: The same for evaluation, if memory ran out in one.
        random: Training draws random numbers, such as those of dropout.
        path: How the loss is computed: packing, compact, segments; a fourth true means filled rows.
        identity: Digests of rows, template and tokenizer (`training.row_preparation`).
        moment: The time at which chats are rendered, in ISO 8601.
        asked: The config as requested, in plain values.
        config: The same with a value for each `auto`.
        measured: `{step: {metric: value}}` on held-out rows: before training, if measured, and last.
        watched: State of `watching.curve_watch`.
        told: Codes of warnings that are not repeated.
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
        """Keep the newest figures, and those from before training."""
        self.measured = {name: kept for name, kept in self.measured.items() if name == "0"}
        self.measured[str(step)] = dict(metrics)

    @property
    def newest_metrics(self) -> Mapping[str, float | None]:
        """Return the metrics measured last; empty before the first evaluation."""
        return self.measured[max(self.measured, key=int)] if self.measured else {}


# Fields of the run rather than of one of its steps: a rollback leaves them as they are.
OF_THE_RUN = ("identity", "moment", "asked", "config", "evaluated", "random", "told")


def read_progress(folder: Path) -> Progress:
    """Read the counters in a checkpoint."""
    return Progress(**read_checkpoint_json(folder / STATE))


def choose_micro_size(progress: Progress, wanted: MicroSize) -> MicroSize:
    """Return the micro-batch the run ended with if that was smaller, as after memory ran out."""
    return _pick_smaller(progress.micro, wanted)


def choose_evaluation_size(progress: Progress, wanted: MicroSize) -> MicroSize:
    """Return how many held-out rows to compute at once: fewer than in training if memory ran out there."""
    return _pick_smaller(progress.evaluated, wanted)


def _pick_smaller(known: list[int], wanted: MicroSize) -> MicroSize:
    if len(known) == 2 and known[1] < wanted.tokens:
        return MicroSize(*known)
    return wanted
