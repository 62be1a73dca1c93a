"""Ways to judge a result: held-out rows, metrics, scored answers, and the user's own prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.config.metrics import METRICS, Metric
from tui_tuner.locales import N_, _
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.text import format_rough_seconds
from tui_tuner.verdicts.gain import compute_t_quantile

HELD_OUT, PROMPTS = "held-out", "prompts"
EVALUATIONS = 11  # in a run: about ten, and one before the first step
FORWARD = 1 / 3  # of the work of a training row: the backward pass takes twice the forward one
SCORED_ROWS = 64  # whose answers are generated and scored
ANSWER_TOKENS = 60  # in an answer, if they were not counted
DISAGREE = 0.3  # share of rows that two models answer differently, if it was not measured
# Explanations of metrics for somebody who has never trained a model
PLAIN: dict[str, str] = {
    "accuracy": N_("How many of 100 predictions on held-out rows are right."),
    "f1": N_("Balances finding everything against false alarms: 100 is perfect, 0 is all wrong."),
    "f1_macro": N_("Counts rare classes as much as frequent ones: 100 is perfect."),
    "mcc": N_("1 is perfect, 0 is as good as guessing: fair even if one class is frequent."),
    "pearson": N_("Whether its numbers rise and fall with the true ones: 1 is perfect, 0 is guessing."),
    "exact_match": N_("How many of 100 answers match the expected answer exactly."),
    "rouge1": N_("How many words answer and expected answer share: 100 is all of them."),
    "rouge2": N_("How many pairs of neighbouring words both share: 100 is all of them."),
    "rougeL": N_("How many of the expected answer's words appear in the same order: 100 is all of them."),
    "bleu": N_("How much of the answers' wording the expected answers have too: 100 is all of it."),
    "chrf": N_("How many short runs of characters answers and expected answers share: 100 is all of them."),
    "perplexity": N_(
        "Between how many words it is undecided at each position: lower is better, 1 is certain."
    ),
    "precision": N_("How many of 100 that it finds are right."),
    "recall": N_("How many of 100 that exist it finds."),
    "stopped": N_("How many of 100 answers it ends by itself before the limit."),
    "attribute_coverage": N_("How many of the attributes in the prompt its answer mentions."),
}


@dataclass(frozen=True)
class JudgeChoice:
    """A way to judge.

    Args:
        answer: The value for `Answers.judge`; `prompts` stands for a list of the user's own prompts.
        words: Its label. means: What it shows, in plain words.
        costs: The time it takes, and other effects, in words.
        values: Config fields by their dotted names.
        seconds: Time it adds to a run; None if unknown.
    """

    answer: str
    words: str
    means: str
    costs: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


def list_judge_choices(
    task: str,
    data: DataFacts | None = None,
    *,
    epochs: float = 1.0,
    seconds: float | None = None,
    token_seconds: float | None = None,
    prompts: Sequence[str] = (),
) -> tuple[JudgeChoice, ...]:
    """List the ways to judge a task, the usual one first.

    Args:
        data: Counts of the rows, including held-out ones.
        epochs: Passes over the rows. seconds: Training time.
        token_seconds: Seconds to generate a token (`estimate_token_seconds`).
        prompts: The user's own prompts so far.
    """
    from tui_tuner.tasks import find_task

    kind, found = TASKS[task], find_task(task)
    held = data.validation_rows if data is not None else 0
    time = estimate_evaluation_seconds(data, epochs, seconds)
    choices = [
        JudgeChoice(
            HELD_OUT, _("Held-out rows"), _describe_held_out(kind, held), _describe_time(time), {}, time
        )
    ]
    best = kind.best
    names = [one for one in found.metrics if one.name not in found.kept and one.name != "loss"]
    for metric in sorted(names, key=lambda one: one.name != best):
        choices.append(_judge_by_metric(metric, metric.name == best))
    if kind.writes:
        generated = estimate_generation_seconds(min(SCORED_ROWS, held or SCORED_ROWS), data, token_seconds)
        known = {choice.answer for choice in choices}
        choices += [
            _judge_by_answers(name, held, generated)
            # A task whose own metrics include one of these has offered it already
            for name in dict.fromkeys(("exact_match", "rougeL", *found.answer_metrics, "f1", "stopped"))
            if name not in known
        ]
    if "evaluation.prompts" in kind.reads or kind.writes:
        choices.append(_judge_by_prompts(prompts, data, token_seconds if kind.writes else 0.0))
    return tuple(choices)


def _judge_by_metric(metric: Metric, usual: bool) -> JudgeChoice:
    means = explain_metric(metric)
    if usual:
        means = _("{means} The usual metric for this task.", means=means)
    costs = _(
        "Measured along with the held-out rows at no extra cost. It decides which checkpoint is kept as "
        "the best."
    )
    return JudgeChoice(metric.name, _(metric.label), means, costs, {"evaluation.best": metric.name}, 0.0)


def _judge_by_answers(name: str, held: int, seconds: float | None) -> JudgeChoice:
    rows = min(SCORED_ROWS, held) if held else SCORED_ROWS
    said = _("{rows} held-out rows are answered before and after, and the answers are scored.", rows=rows)
    values = {"evaluation.metrics": [name], "evaluation.metric_rows": rows}
    costs = f"{said} {_describe_time(seconds)}".strip()
    return JudgeChoice(name, _(METRICS[name].label), explain_metric(METRICS[name]), costs, values, seconds)


def _judge_by_prompts(
    prompts: Sequence[str], data: DataFacts | None, token_seconds: float | None
) -> JudgeChoice:
    seconds = None
    if token_seconds is not None:
        seconds = 2 * max(1, len(prompts)) * token_seconds * estimate_answer_tokens(data)
    # Without prompts yet, choosing this opens a field to type them in; an empty list would set nothing
    values = {"evaluation.prompts": list(prompts)} if prompts else {}
    means = _("You read its answers from before and after yourself. There is no score.")
    return JudgeChoice(PROMPTS, _("Your own prompts"), means, _describe_time(seconds), values, seconds)


def explain_metric(metric: Metric) -> str:
    """Explain a metric to somebody who has never trained a model."""
    return _(PLAIN.get(metric.name) or metric.help or metric.label)


def _describe_time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 1:
        return _("Takes less than a second.")
    return _("Takes about {time}.", time=format_rough_seconds(seconds))


def _describe_held_out(kind: TaskKind, held: int) -> str:
    """Explain held-out rows, and how small a change this many of them can show."""
    usual = _("Rows that are never trained on are measured before, during and after training.")
    # One row has no spread, so nothing can be said about chance
    if held < 2:
        return usual
    if kind.decides == "text":
        points = 100 * compute_interval_half_width(held, compute_class_spread())
        told = _(
            "With {rows:,} of them, a gain of {points:.0f} in 100 or more is beyond chance.",
            rows=held,
            points=points,
        )
    else:
        told = _(
            "With {rows:,} of them, a gain of at least {width:.2f} standard deviations is beyond chance.",
            rows=held,
            width=compute_interval_half_width(held),
        )
    return f"{usual} {told}"


# ---- how many rows ----------------------------------------------------------------------------------------


def compute_interval_half_width(rows: int, spread: float = 1.0, confidence: float = 0.95) -> float:
    """Return half the confidence interval of a mean paired difference over so many rows: t · s / √n.

    Each row is measured before and after, so what makes rows easy or hard cancels out: `spread` is the
    standard deviation of the differences alone (Student, "The probable error of a mean", 1908; for
    evaluations of language models: Miller, "Adding Error Bars to Evals", arXiv 2411.00640, on paired
    differences).
    Infinite for fewer than two rows.
    """
    if rows < 2:
        return math.inf
    return compute_t_quantile(0.5 + confidence / 2, rows - 1) * spread / math.sqrt(rows)


def count_needed_rows(
    difference: float, spread: float = 1.0, confidence: float = 0.95, power: float = 0.8
) -> int:
    """Return the rows needed to find a difference with probability `power`: ((z + z') · s / d)².

    Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2, for paired samples. With
    the interval alone (`power` 0.5), a true difference is found every second time.
    """
    if difference <= 0:
        raise ValueError("a difference must be above 0")
    normal = NormalDist()
    # Two-sided for the confidence, one-sided for the power
    z = normal.inv_cdf(0.5 + confidence / 2) + normal.inv_cdf(power)
    rows = max(2, math.ceil((z * spread / difference) ** 2))
    while power <= 0.5 and compute_interval_half_width(rows, spread, confidence) > difference:
        # The t distribution is wider than the normal one where there are few rows
        rows += 1
    return rows


def compute_class_spread(disagree: float = DISAGREE, gain: float = 0.0) -> float:
    """Return the standard deviation of paired differences of right and wrong: √(share that differs - gain²).

    Rows that both get right, or both wrong, count nothing (McNemar, 1947).

    Args:
        disagree: Share of the rows that one of the two gets right, and the other does not.
    """
    return math.sqrt(max(0.0, disagree - gain * gain))


# ---- time --------------------------------------------------------------------------------------------------


def estimate_evaluation_seconds(
    data: DataFacts | None, epochs: float, training: float | None
) -> float | None:
    """Estimate the time that evaluations add to a run from its training time: forward passes only."""
    if training is None or data is None or not data.rows:
        return None
    # Time per training row, times the rows evaluated, times the share of a step that the forward pass takes
    return training * EVALUATIONS * FORWARD * data.validation_rows / (data.rows * max(epochs, 1e-9))


def estimate_generation_seconds(
    rows: int, data: DataFacts | None, token_seconds: float | None
) -> float | None:
    """Estimate the time to answer so many rows, before and after training."""
    return None if token_seconds is None else 2 * rows * estimate_answer_tokens(data) * token_seconds


def estimate_answer_tokens(data: DataFacts | None) -> float:
    """Return the mean tokens of an answer: those that are trained on, if they were counted."""
    # Trained tokens are those of the answers, so their mean is what generating one takes
    if data is not None and data.supervised and data.rows:
        return data.supervised / data.rows
    return ANSWER_TOKENS


def estimate_token_seconds(parameters: int, bandwidth: float, width: float = 2.0) -> float | None:
    """Estimate the seconds for one generated token: each weight is read once, at half the memory bandwidth.

    Args:
        bandwidth: GB/s of the card; 0 if unknown.
        width: Bytes of a weight.
    """
    return parameters * width / (bandwidth * 0.5e9) if bandwidth > 0 else None
