"""Names of what is measured: one registry, with a label and a direction for each.

What measures them lives in `objectives` (on held-out rows) and `evaluation` (on generated answers). A task
may bring metrics of its own: it lists them in `Task.metrics`, a run writes them into its journal, and whoever
reads the journal finds their direction there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tui_tuner.locales import N_


@dataclass(frozen=True)
class Metric:
    """A number by which a model is judged.

    Args:
        higher_is_better: Its direction: what early stopping, `best` and the list of runs go by.
        hundred: Its field shows it times 100 (F1, exact match, BLEU). The journal holds 0 to 1.
    """

    name: str
    label: str
    help: str = ""
    higher_is_better: bool = True
    hundred: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", N_("Loss"), N_("Mean of the loss over all labels of the held-out rows."), False),
        Metric("perplexity", N_("Perplexity"), N_("The exponential of the loss."), False),
        Metric(
            "accuracy",
            N_("Accuracy"),
            N_(
                "Share of the labels that are predicted right; of several at once, of the rows where all are."
            ),
        ),
        Metric(
            "attribute_coverage",
            N_("Attributes mentioned"),
            N_("Share of the attributes listed in the prompts that the answers mention."),
        ),
        Metric(
            "reference_coverage",
            N_("Attributes mentioned by the references"),
            N_("The same share for the data set's own answers."),
        ),
        Metric("stopped", N_("Stopped by itself"), N_("Share of the answers that end by a stop token.")),
        Metric(
            "f1_macro",
            N_("Macro F1"),
            N_("F1 of each class, and their mean: a rare class counts as much."),
            hundred=True,
        ),
        Metric("mcc", N_("Matthews correlation"), N_("1 is perfect, 0 as good as guessing.")),
        Metric("pearson", N_("Pearson correlation"), N_("Of predicted and true numbers: 1 is perfect.")),
        Metric(
            "precision",
            N_("Precision"),
            N_("Share of what was found that is right; of classes, the mean over them."),
            hundred=True,
        ),
        Metric(
            "recall",
            N_("Recall"),
            N_("Share of what is there that was found; of classes, the mean over them."),
            hundred=True,
        ),
        Metric("f1", N_("F1"), N_("Harmonic mean of precision and recall."), hundred=True),
        Metric(
            "exact_match",
            N_("Exact match"),
            N_("Share of the answers equal to the reference."),
            hundred=True,
        ),
        *(
            Metric(name, label, N_("Only entities that follow the rules of their tags count."), hundred=True)
            for name, label in (
                ("f1_strict", N_("F1, strict")),
                ("precision_strict", N_("Precision, strict")),
                ("recall_strict", N_("Recall, strict")),
            )
        ),
        Metric("rouge_l", N_("ROUGE-L"), N_("Longest common subsequence of answer and reference (F1).")),
    )
}


ALIASES = {"token_f1": "f1"}  # names of version 0.1, in configs and journals


def canonical(name: str) -> str:
    """The name of a metric today."""
    return ALIASES.get(name, name)


Value = TypeVar("Value")


def renamed(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """What was measured under the names of today; a journal of version 0.1 has some of its own."""
    return {canonical(name): value for name, value in metrics.items()}


def hundredfold(name: str, value: object) -> str:
    """A metric as its field shows it, `88.52` for an F1 of 0.8852; empty where it is shown as it is."""
    known = METRICS.get(canonical(name))
    if known is None or not known.hundred or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{100 * value:.2f}" if math.isfinite(value) else f"{value}"


def higher_is_better(name: str, own: bool | None = None) -> bool:
    """The direction of a metric.

    Args:
        own: What its run says about it, if anything. A name that nobody knows is taken for a score.
    """
    if own is not None:
        return own
    known = METRICS.get(canonical(name))
    return known.higher_is_better if known is not None else True
