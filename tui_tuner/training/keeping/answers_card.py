"""Describe how the answers that a run generated were scored, for the cards of its final models."""

from __future__ import annotations

import re
from collections.abc import Iterable

import yaml

from tui_tuner.config.deciding import label_metric
from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation
from tui_tuner.runs.pace import format_metric_figure
from tui_tuner.runs.view import RunView
from tui_tuner.text import one_line
from tui_tuner.training.keeping.model_card import escape_markdown, format_inline_code, list_hub_metrics

BEGIN, END = "<!-- answers -->", "<!-- /answers -->"
_HEAD = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)


def format_answers_section(view: RunView) -> str:
    """Format the scores of generated answers before and after training; empty if none were scored."""
    scored = find_scored_answers(view)
    if not scored:
        return ""
    last = scored[-1]
    names = list(dict.fromkeys(name for point in scored for name in point.metrics))
    heads = [
        _("before") if point.stage == "before" else _("step {step}", step=point.step) for point in scored
    ]
    lines = [BEGIN, f"## {_('Generated answers')}", ""]
    lines += ["| | " + " | ".join(heads) + " |", "|-|" + "-:|" * len(heads)]
    for name in names:
        figures = [
            format_metric_figure(name, point.metrics[name]) if name in point.metrics else ""
            for point in scored
        ]
        label = f"{escape_markdown(label_metric(name, view.metrics))} ({format_inline_code(name)})"
        lines.append(f"| {label} | " + " | ".join(figures) + " |")
    lines += ["", _("Answers to {rows:,} held-out rows were generated and scored.", rows=last.rows or 0)]
    for name, signature in (last.signatures or {}).items():
        lines.append(
            _(
                "{metric} is sacrebleu's: {signature}.",
                metric=escape_markdown(label_metric(name, view.metrics)),
                # Not in a table, so its vertical bars may stay
                signature=f"`{one_line(signature, 120).replace('`', '')}`",
            )
        )
    return "\n".join([*lines, END])


def find_scored_answers(view: RunView) -> list[Evaluation]:
    """Return the evaluations of generated answers before and after training, as far as there are any."""
    found = {point.stage: point for point in view.evaluations if point.rows and point.metrics}
    return [found[stage] for stage in ("before", "after") if stage in found]


def add_hub_metrics(card: str, names: Iterable[str]) -> str:
    """Return a card whose head lists further metrics, by their names on the hub."""
    head = _HEAD.match(card)
    values = yaml.safe_load(head[1]) if head else None
    if head is None or not isinstance(values, dict):
        return card
    known = values.get("metrics")
    listed = known if isinstance(known, list) else []
    metrics = list(dict.fromkeys([*listed, *list_hub_metrics(names)]))
    if metrics == listed:
        return card
    values["metrics"] = metrics
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
    return f"---\n{text}---\n{card[head.end() :]}"
