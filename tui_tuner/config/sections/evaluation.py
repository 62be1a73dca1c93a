"""The section `evaluation`: when and how a run is evaluated."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from tui_tuner.config.metrics import find_current_metric_name
from tui_tuner.config.sections.field_options import Auto, Section, declare_option
from tui_tuner.locales import N_


class EvaluationSection(Section):
    """How the run is evaluated before, during and after training."""

    every: int | float | Auto | None = declare_option(
        "auto",
        N_(
            "Evaluate every this many steps (below 1: a share of the run); leave empty to evaluate only "
            "at the end."
        ),
        gt=0,
        le=10**9,
    )
    samples: int = declare_option(
        4,
        N_("Held-out rows that the model answers before, during and after."),
        N_("The quickest way to see what the model has learned."),
        unit=N_("rows"),
        ge=0,
        le=1000,
    )
    prompts: list[str] | None = declare_option(
        None, N_("Prompts of your own to answer, in addition to held-out rows."), advanced=True
    )
    metrics: list[str] | Auto = declare_option("auto", N_("Metrics for generated answers."), advanced=True)
    metric_rows: int = declare_option(
        0,
        N_("Held-out rows whose answers are generated and scored before and after."),
        unit=N_("rows"),
        ge=0,
        le=100_000,
    )
    max_new_tokens: int = declare_option(
        200, N_("Longest generated answer."), unit=N_("tokens"), ge=1, le=100_000
    )
    best: str = declare_option(
        "auto",
        N_("Metric that decides which checkpoint is best."),
        N_(
            "auto chooses by task: the loss for generated text, F1 for tags and extracted answers. With a "
            "metric of generated answers, such as rougeL, evaluation.metric_rows answers are generated at "
            "each evaluation."
        ),
        advanced=True,
    )
    null_threshold: float | Auto = declare_option(
        "auto",
        N_("How much higher no answer at all must score to be chosen."),
        N_(
            "Some questions have no answer in their text. auto finds the value with the best F1 on the "
            "held-out rows."
        ),
        ge=-1e6,
        le=1e6,
        advanced=True,
    )
    early_stopping: int | None = declare_option(
        None,
        N_("Stop after this many evaluations without improvement."),
        unit=N_("evaluations"),
        ge=1,
        le=1_000_000,
    )

    @field_validator("metrics", "best", mode="after")
    @classmethod
    def _names_of_today(cls, value: Any) -> Any:
        """Replace names of version 0.1 by the current ones."""
        return (
            find_current_metric_name(value)
            if isinstance(value, str)
            else [find_current_metric_name(name) for name in value]
        )
