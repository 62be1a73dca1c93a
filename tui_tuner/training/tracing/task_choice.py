"""Choose what is traced of a task: the model's class, the objective, columns without values."""

from __future__ import annotations

from typing import Any

from tui_tuner.compute.encoders import unwrap_model
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.architectures.heads import SPAN, TEXT, TOKEN
from tui_tuner.objectives.class_objective import ClassObjective
from tui_tuner.objectives.objective import EvaluationResult, Objective
from tui_tuner.objectives.tag_objective import TagObjective
from tui_tuner.tasks import Task, find_task
from tui_tuner.tasks.answering.objective import SpanObjective


def find_traced_task(request: dict[str, Any]) -> Task:
    """Return a task whose step is the one that a request describes.

    It knows the model's class and PEFT's name for it.

    Args:
        request: `decides`, `hides` and `sources`, as for `step.trace_step`.
    """
    wanted = (request["decides"], bool(request.get("hides")), bool(request.get("sources")))
    return next(
        find_task(name)
        for name, kind in TASKS.items()
        if (kind.decides, kind.hides, kind.encoder_decoder) == wanted
    )


def make_traced_objective(request: dict[str, Any], model: Any) -> Objective:
    """Return the objective of a step, prepared as in a run."""
    config, decides = RunConfig(), request["decides"]
    if decides == TOKEN:
        return TagObjective(config, lambda *_unused: EvaluationResult({}))
    if decides == SPAN:
        return SpanObjective(config)
    if decides != TEXT:
        return find_traced_task(request).make_objective(config)
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
