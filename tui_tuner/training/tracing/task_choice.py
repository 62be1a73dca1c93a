"""Choose what is traced of a task: the model's class, the objective, columns without values."""

from __future__ import annotations

from typing import Any

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.architectures.heads import SPAN, TEXT, TOKEN
from tui_tuner.objectives.causal import CausalObjective
from tui_tuner.objectives.class_objective import ClassObjective
from tui_tuner.objectives.objective import EvaluationResult, Objective
from tui_tuner.objectives.tag_objective import TagObjective
from tui_tuner.tasks import Task, find_task
from tui_tuner.tasks.answering.objective import SpanObjective


def find_deciding_task(decides: str) -> Task:
    """Return a task with this `TaskKind.decides`; it knows the model's class and PEFT's name for it."""
    return next(find_task(name) for name, kind in TASKS.items() if kind.decides == decides)


def make_traced_objective(decides: str, model: Any) -> Objective:
    """Return the objective of a step, prepared as in a run."""
    config = RunConfig()
    if decides == TOKEN:
        return TagObjective(config, lambda *_unused: EvaluationResult({}))
    if decides == SPAN:
        return SpanObjective(config)
    if decides != TEXT:
        return CausalObjective(config)
    found = ClassObjective(config, lambda *_unused: EvaluationResult({}))
    found.problem = "single"
    base = unwrap_model(model)
    kind = type(base).__name__
    # A run finds out by trying which states the head reads; without data, the model's class must do.
    found.pooled = "last" if hasattr(base, "score") else "all" if kind.startswith("ModernBert") else "first"
    return found


def list_objective_columns(decides: str, examples: int) -> dict[str, Any]:
    """Return the columns that the objective reads of each example."""
    import torch

    names = {TEXT: ("target",), SPAN: ("start", "end", "null")}.get(decides, ())
    return {name: torch.zeros(examples, dtype=torch.long) for name in names}
