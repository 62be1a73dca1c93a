"""The registry of metrics, with a label and a direction for each.

They are computed in `objectives` (on held-out rows) and `evaluation` (on generated answers). A task may have
further metrics: it lists them in `Task.metrics`, and the run writes them with their direction into its
journal, where readers find it.
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
        higher_is_better: Its direction, which early stopping, `best` and the list of runs use.
        hundred: Whether it is usually reported times 100 (F1, exact match, BLEU). The journal holds 0 to 1.
    """

    name: str
    label: str
    help: str = ""
    higher_is_better: bool = True
    hundred: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", N_("Loss"), N_("Mean loss over all labels of the held-out rows."), False),
        Metric("perplexity", N_("Perplexity"), N_("The exponential of the loss."), False),
        Metric(
            "bits_per_character",
            N_("Bits per character"),
            N_(
                "The loss for each character of the held-out text: it compares across vocabularies, which "
                "loss and perplexity do not."
            ),
            False,
        ),
        Metric(
            "accuracy",
            N_("Accuracy"),
            N_(
                "Share of labels predicted correctly; with several labels per row, share of rows with "
                "all correct."
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
            N_("The same share for the reference answers of the data set."),
        ),
        Metric("stopped", N_("Stopped by itself"), N_("Share of the answers that end with a stop token.")),
        Metric(
            "f1_macro",
            N_("Macro F1"),
            N_("Mean of the F1 of all classes, in which rare classes count as much as frequent ones."),
            hundred=True,
        ),
        Metric("mcc", N_("Matthews correlation"), N_("1 is perfect, 0 is no better than guessing.")),
        Metric(
            "pearson",
            N_("Pearson correlation"),
            N_("Correlation of predicted and true numbers; 1 is perfect."),
        ),
        Metric(
            "precision",
            N_("Precision"),
            N_("Share of the predictions that are correct; for classes, the mean over them."),
            hundred=True,
        ),
        Metric(
            "recall",
            N_("Recall"),
            N_("Share of the true items that were found; for classes, the mean over them."),
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
            Metric(
                name, label, N_("Counts only entities whose tags follow the tagging scheme."), hundred=True
            )
            for name, label in (
                ("f1_strict", N_("F1, strict")),
                ("precision_strict", N_("Precision, strict")),
                ("recall_strict", N_("Recall, strict")),
            )
        ),
        Metric(
            "rouge1",
            N_("ROUGE-1"),
            N_("Words that answer and reference have in common (F1)."),
            hundred=True,
        ),
        Metric(
            "rouge2",
            N_("ROUGE-2"),
            N_("Pairs of neighbouring words that answer and reference have in common (F1)."),
            hundred=True,
        ),
        Metric(
            "rougeL",
            N_("ROUGE-L"),
            N_("Longest common subsequence of words of answer and reference (F1)."),
            hundred=True,
        ),
        Metric(
            "bleu",
            N_("BLEU"),
            N_(
                "Runs of one to four words of the answers that the references have too, over all rows "
                "together, as sacrebleu computes it."
            ),
            hundred=True,
        ),
        Metric(
            "chrf",
            N_("chrF"),
            N_(
                "Runs of one to six characters that answers and references have in common, over all rows "
                "together, as sacrebleu computes it."
            ),
            hundred=True,
        ),
    )
}


# Names of version 0.1, in configs and journals. Words of its rouge_l included letters with accents, at which
# those of rouge-score end; without such letters both are the same number.
ALIASES = {"token_f1": "f1", "rouge_l": "rougeL"}


def find_current_metric_name(name: str) -> str:
    """Return the current name of a metric that may have a name of version 0.1."""
    return ALIASES.get(name, name)


Value = TypeVar("Value")


def rename_metrics(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """Return metrics under their current names, for journals of version 0.1."""
    return {find_current_metric_name(name): value for name, value in metrics.items()}


def format_hundredfold_metric(name: str, value: object) -> str:
    """Format a metric that is reported times 100, `88.52` for an F1 of 0.8852; empty for other metrics."""
    known = METRICS.get(find_current_metric_name(name))
    if known is None or not known.hundred or isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{100 * value:.2f}" if math.isfinite(value) else f"{value}"


def is_higher_metric_better(name: str, own: bool | None = None) -> bool:
    """Return the direction of a metric.

    Args:
        own: The direction that its run declares, if any. An unknown metric counts as higher is better.
    """
    if own is not None:
        return own
    known = METRICS.get(find_current_metric_name(name))
    return known.higher_is_better if known is not None else True
