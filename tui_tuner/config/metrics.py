"""Names of what is measured: one registry, with a label and a direction for each.

What measures them lives in `objectives` (on held-out rows) and `evaluation` (on generated answers). A task
may bring metrics of its own: it lists them in `Task.metrics`, a run writes them into its journal, and whoever
reads the journal finds their direction there.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.locales import N_


@dataclass(frozen=True)
class Metric:
    """A number by which a model is judged.

    Args:
        higher_is_better: Its direction: what early stopping, `best` and the list of runs go by.
    """

    name: str
    label: str
    help: str = ""
    higher_is_better: bool = True


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("loss", N_("Loss"), N_("Mean of the loss over all labels of the held-out rows."), False),
        Metric("perplexity", N_("Perplexity"), N_("The exponential of the loss."), False),
        Metric("accuracy", N_("Accuracy"), N_("Share of the labels that are predicted right.")),
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
        Metric("exact_match", N_("Exact match"), N_("Share of the answers equal to the reference.")),
        Metric("token_f1", N_("Token F1"), N_("Overlap of the words of answer and reference.")),
        Metric("rouge_l", N_("ROUGE-L"), N_("Longest common subsequence of answer and reference (F1).")),
    )
}


def higher_is_better(name: str, own: bool | None = None) -> bool:
    """The direction of a metric.

    Args:
        own: What its run says about it, if anything. A name that nobody knows is taken for a score.
    """
    if own is not None:
        return own
    known = METRICS.get(name)
    return known.higher_is_better if known is not None else True
