"""How a run is judged."""

from __future__ import annotations

from tui_tuner.config.sections.base import Auto, Section, option


class EvaluationSection(Section):
    """How the run is judged while it trains, and before and after."""

    every: int | float | Auto | None = option(
        "auto",
        "Evaluate every so many steps (a share below 1 means of the whole run); empty is only at the end.",
    )
    samples: int = option(
        4,
        "Held-out prompts answered before, during and after.",
        "The quickest way to see what was learnt.",
        unit="prompts",
        ge=0,
        le=1000,
    )
    prompts: list[str] | None = option(
        None, "Prompts of your own to answer, beside held-out rows.", advanced=True
    )
    metrics: list[str] | Auto = option("auto", "Metrics of generated answers.", advanced=True)
    metric_rows: int = option(
        0,
        "Held-out rows whose answers are generated and scored before and after.",
        unit="rows",
        ge=0,
        le=100_000,
    )
    max_new_tokens: int = option(200, "Longest generated answer.", unit="tokens", ge=1, le=100_000)
    best: str = option("loss", "Metric that decides which checkpoint is best.", advanced=True)
    early_stopping: int | None = option(
        None, "Stop after this many evaluations without a better one.", unit="evaluations", ge=1
    )
