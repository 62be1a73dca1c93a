"""How a run is judged."""

from __future__ import annotations

from typing import Any

from pydantic import field_validator

from tui_tuner.config.metrics import canonical
from tui_tuner.config.sections.base import Auto, Section, option
from tui_tuner.locales import N_


class EvaluationSection(Section):
    """How the run is judged while it trains, and before and after."""

    every: int | float | Auto | None = option(
        "auto",
        N_(
            "Evaluate every so many steps (a share below 1 means of the whole run); empty is only at the end."
        ),
        gt=0,
        le=10**9,
    )
    samples: int = option(
        4,
        N_("Held-out rows that the model answers before, during and after."),
        N_("The quickest way to see what was learnt."),
        unit=N_("rows"),
        ge=0,
        le=1000,
    )
    prompts: list[str] | None = option(
        None, N_("Prompts of your own to answer, beside held-out rows."), advanced=True
    )
    metrics: list[str] | Auto = option("auto", N_("Metrics of generated answers."), advanced=True)
    metric_rows: int = option(
        0,
        N_("Held-out rows whose answers are generated and scored before and after."),
        unit=N_("rows"),
        ge=0,
        le=100_000,
    )
    max_new_tokens: int = option(200, N_("Longest generated answer."), unit=N_("tokens"), ge=1, le=100_000)
    best: str = option(
        "auto",
        N_("Metric that decides which checkpoint is best."),
        N_("auto takes the task's own: the loss where text is written, F1 for tags and answers."),
        advanced=True,
    )
    null_threshold: float | Auto = option(
        "auto",
        N_("By how much no answer must score higher to be taken."),
        N_(
            "Some questions have no answer in their text. auto looks for the value with the best F1 on the "
            "held-out rows."
        ),
        ge=-1e6,
        le=1e6,
        advanced=True,
    )
    early_stopping: int | None = option(
        None,
        N_("Stop after this many evaluations without a better one."),
        unit=N_("evaluations"),
        ge=1,
        le=1_000_000,
    )

    @field_validator("metrics", "best", mode="after")
    @classmethod
    def _names_of_today(cls, value: Any) -> Any:
        """Names of version 0.1 are those that took their place."""
        return canonical(value) if isinstance(value, str) else [canonical(name) for name in value]
