"""What is traced of a task whose head decides: the model's class, its objective, columns without values."""

from __future__ import annotations

from typing import Any

from tui_tuner.compute.encoders import plain_model
from tui_tuner.config.kinds import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.architectures.heads import SPAN, TEXT, TOKEN
from tui_tuner.objectives.base import Judged, Objective
from tui_tuner.objectives.causal import CausalObjective
from tui_tuner.objectives.classes import ClassObjective
from tui_tuner.objectives.tags import TagObjective
from tui_tuner.tasks import Task, find_task
from tui_tuner.tasks.answering.objective import SpanObjective


def task_that_decides(decides: str) -> Task:
    """A task with this `TaskKind.decides`: it knows the model's class and PEFT's name for it."""
    return next(find_task(name) for name, kind in TASKS.items() if kind.decides == decides)


def make_objective(decides: str, model: Any) -> Objective:
    """The objective of a step, as a run prepares it."""
    config = RunConfig()
    if decides == TOKEN:
        return TagObjective(config, lambda *_unused: Judged({}))
    if decides == SPAN:
        return SpanObjective(config)
    if decides != TEXT:
        return CausalObjective(config)
    found = ClassObjective(config, lambda *_unused: Judged({}))
    found.problem = "single"
    base = plain_model(model)
    kind = type(base).__name__
    # which states a head reads is found by trying, for which there is no data here
    found.pooled = "last" if hasattr(base, "score") else "all" if kind.startswith("ModernBert") else "first"
    return found


def columns_of(decides: str, examples: int) -> dict[str, Any]:
    """What the objective reads of each example."""
    import torch

    names = {TEXT: ("target",), SPAN: ("start", "end", "null")}.get(decides, ())
    return {name: torch.zeros(examples, dtype=torch.long) for name in names}
