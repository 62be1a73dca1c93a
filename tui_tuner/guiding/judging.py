"""The question of how one judges: held-out rows and how many, figures, answers, prompts of one's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from tui_tuner.config.kinds import TASKS, TaskKind
from tui_tuner.config.metrics import METRICS, Metric
from tui_tuner.locales import N_, _
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.text import rough_seconds
from tui_tuner.verdicts.gain import quantile_of_t

HELD_OUT, PROMPTS = "held-out", "prompts"
EVALUATIONS = 11  # of a run: about ten, and one before the first step
FORWARD = 1 / 3  # of the work of a training row: the backward pass takes twice the forward one
SCORED_ROWS = 64  # whose answers are generated and scored
ANSWER_TOKENS = 60  # of an answer, where nobody has counted
DISAGREE = 0.3  # of the rows that two models answer differently, where nobody has counted
# What the figures of the registry mean to somebody who has never trained a model
PLAIN: dict[str, str] = {
    "accuracy": N_("Of 100 predictions on held-out rows, how many are right."),
    "f1": N_("Finds what is there without finding what is not: 100 is perfect, 0 is all wrong."),
    "f1_macro": N_("The same care for rare classes as for frequent ones: 100 is perfect."),
    "mcc": N_("1 is perfect, 0 is as good as guessing: fair where one class is frequent."),
    "pearson": N_("Whether its numbers rise and fall with the true ones: 1 is perfect, 0 is guessing."),
    "exact_match": N_("Of 100 answers, how many are the expected one to the letter."),
    "rouge_l": N_("How much of the expected answer's words come in the same order: 1 is all."),
    "perplexity": N_("Among how many words it hesitates at each place: lower is better, 1 is sure."),
    "precision": N_("Of 100 that it finds, how many are right."),
    "recall": N_("Of 100 that are there, how many it finds."),
    "stopped": N_("Of 100 answers, how many it ends by itself in time."),
    "attribute_coverage": N_("How many of the attributes in the prompt its answer mentions."),
}


@dataclass(frozen=True)
class JudgeChoice:
    """A way to judge.

    Args:
        answer: What `Answers.judge` takes; for prompts of one's own, a list of them takes its place.
        words: What it is called. means: What it tells, in plain words.
        costs: What it takes in time, and what else, in words.
        values: Fields of the config, by their dotted names.
        seconds: That it adds to a run; None where nobody can tell.
    """

    answer: str
    words: str
    means: str
    costs: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


def judge_choices(
    task: str,
    data: DataFacts | None = None,
    *,
    epochs: float = 1.0,
    seconds: float | None = None,
    token_seconds: float | None = None,
    prompts: Sequence[str] = (),
) -> tuple[JudgeChoice, ...]:
    """How a task can be judged, the usual way first.

    Args:
        data: Counts of the rows, with those held out.
        epochs: Passes over the rows. seconds: That training takes.
        token_seconds: That a generated token takes (`seconds_a_token`).
        prompts: Those of one's own so far.
    """
    from tui_tuner.tasks import find_task

    kind, found = TASKS[task], find_task(task)
    held = data.validation_rows if data is not None else 0
    time = evaluation_seconds(data, epochs, seconds)
    choices = [
        JudgeChoice(HELD_OUT, _("Held-out rows"), _held_out_words(kind, held), _time_words(time), {}, time)
    ]
    best = kind.best
    names = [one for one in found.metrics if one.name not in found.kept and one.name != "loss"]
    for metric in sorted(names, key=lambda one: one.name != best):
        choices.append(_of_metric(metric, metric.name == best))
    if kind.writes:
        generated = generation_seconds(min(SCORED_ROWS, held or SCORED_ROWS), data, token_seconds)
        known = {choice.answer for choice in choices}
        choices += [
            _of_answers(name, held, generated)
            for name in ("exact_match", "rouge_l", "f1", "stopped")
            if name not in known
        ]
    if "evaluation.prompts" in kind.reads or kind.writes:
        choices.append(_of_prompts(prompts, data, token_seconds if kind.writes else 0.0))
    return tuple(choices)


def _of_metric(metric: Metric, usual: bool) -> JudgeChoice:
    means = plain_words(metric)
    if usual:
        means = _("{means} What this task is usually judged by.", means=means)
    costs = _(
        "Measured with the held-out rows: nothing more. It decides which checkpoint is kept as the best."
    )
    return JudgeChoice(metric.name, _(metric.label), means, costs, {"evaluation.best": metric.name}, 0.0)


def _of_answers(name: str, held: int, seconds: float | None) -> JudgeChoice:
    rows = min(SCORED_ROWS, held) if held else SCORED_ROWS
    said = _("{rows} held-out rows are answered before and after, and the answers are scored.", rows=rows)
    values = {"evaluation.metrics": [name], "evaluation.metric_rows": rows}
    costs = f"{said} {_time_words(seconds)}".strip()
    return JudgeChoice(name, _(METRICS[name].label), plain_words(METRICS[name]), costs, values, seconds)


def _of_prompts(prompts: Sequence[str], data: DataFacts | None, token_seconds: float | None) -> JudgeChoice:
    seconds = None
    if token_seconds is not None:
        seconds = 2 * max(1, len(prompts)) * token_seconds * answer_tokens(data)
    values = {"evaluation.prompts": list(prompts)} if prompts else {}
    means = _("You read with your own eyes what it makes of them, before and after. No figure comes of it.")
    return JudgeChoice(PROMPTS, _("Prompts of your own"), means, _time_words(seconds), values, seconds)


def plain_words(metric: Metric) -> str:
    """What a figure means to somebody who has never trained a model."""
    return _(PLAIN.get(metric.name) or metric.help or metric.label)


def _time_words(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 1:
        return _("Takes less than a second.")
    return _("Takes about {time}.", time=rough_seconds(seconds))


def _held_out_words(kind: TaskKind, held: int) -> str:
    """What held-out rows tell, and how small a change so many of them show."""
    usual = _("Rows that are never trained on are measured before, while and after it learns.")
    if held < 2:
        return usual
    if kind.decides == "text":
        points = 100 * half_width(held, class_spread())
        told = _(
            "With {rows:,} of them, a gain of {points:.0f} in 100 or more is no chance.",
            rows=held,
            points=points,
        )
    else:
        told = _(
            "With {rows:,} of them, a gain of {width:.2f} of what rows differ by, or more, is no chance.",
            rows=held,
            width=half_width(held),
        )
    return f"{usual} {told}"


# ---- how many rows ----------------------------------------------------------------------------------------


def half_width(rows: int, spread: float = 1.0, confidence: float = 0.95) -> float:
    """Half of the interval of a mean paired difference over so many rows: t · s / √n.

    Each row is measured before and after, so what makes rows easy or hard cancels out: `spread` is the
    standard deviation of the differences alone (Student, "The probable error of a mean", 1908; for
    evaluations of language models: Miller, "Adding Error Bars to Evals", arXiv 2411.00640, on paired
    differences).
    Infinite for fewer than two rows.
    """
    if rows < 2:
        return math.inf
    return quantile_of_t(0.5 + confidence / 2, rows - 1) * spread / math.sqrt(rows)


def rows_needed(difference: float, spread: float = 1.0, confidence: float = 0.95, power: float = 0.8) -> int:
    """Rows by which a difference is found in so many of all cases (`power`): ((z + z') · s / d)².

    Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2, for paired samples. With
    the interval alone (`power` 0.5), a true difference is found every second time.
    """
    if difference <= 0:
        raise ValueError("a difference has to be above 0")
    normal = NormalDist()
    z = normal.inv_cdf(0.5 + confidence / 2) + normal.inv_cdf(power)
    rows = max(2, math.ceil((z * spread / difference) ** 2))
    while power <= 0.5 and half_width(rows, spread, confidence) > difference:
        rows += 1  # t is wider than the normal distribution where rows are few
    return rows


def class_spread(disagree: float = DISAGREE, gain: float = 0.0) -> float:
    """The spread of the paired difference of right and wrong: √(share that differs - gain²).

    Rows that both get right, or both wrong, count nothing (McNemar, 1947).

    Args:
        disagree: Share of the rows that one of the two gets right, and the other does not.
    """
    return math.sqrt(max(0.0, disagree - gain * gain))


# ---- what it takes ----------------------------------------------------------------------------------------


def evaluation_seconds(data: DataFacts | None, epochs: float, training: float | None) -> float | None:
    """What measuring the held-out rows adds to a run, from what its training takes: forward passes alone."""
    if training is None or data is None or not data.rows:
        return None
    return training * EVALUATIONS * FORWARD * data.validation_rows / (data.rows * max(epochs, 1e-9))


def generation_seconds(rows: int, data: DataFacts | None, token_seconds: float | None) -> float | None:
    """What answering so many rows takes, before and after."""
    return None if token_seconds is None else 2 * rows * answer_tokens(data) * token_seconds


def answer_tokens(data: DataFacts | None) -> float:
    """Tokens of an answer: the mean of those that are trained, where they were counted."""
    if data is not None and data.supervised and data.rows:
        return data.supervised / data.rows
    return ANSWER_TOKENS


def seconds_a_token(parameters: int, bandwidth: float, width: float = 2.0) -> float | None:
    """What one generated token takes: each weight is read once, at half of the memory's speed.

    Args:
        bandwidth: GB/s of the card; 0 where nobody knows.
        width: Bytes of a weight.
    """
    return parameters * width / (bandwidth * 0.5e9) if bandwidth > 0 else None
