"""Rules of the guide: settings computed from counts of rows, tokens and weights, with their sources.

Each is a function of numbers alone, and `RULES` lists them with their sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tui_tuner.config.kinds.tasks import TaskKind
from tui_tuner.locales import N_


@dataclass(frozen=True)
class Rule:
    """A rule of thumb with the field it sets and the publication it comes from."""

    name: str
    field: str
    says: str
    source: str


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            "epochs",
            "training.epochs",
            N_("3 passes; more if that makes fewer than 100 examples, fewer if it makes more than 25,000."),
            "OpenAI Cookbook, “Data preparation and analysis for chat model fine-tuning”",
        ),
        Rule(
            "epochs_of_heads",
            "training.epochs",
            N_("2 to 4 passes when a head is trained; up to 20 when there are few rows."),
            "BERT (arXiv 1810.04805), appendix A.3; Mosbach et al. (arXiv 2006.04884)",
        ),
        Rule(
            "epochs_of_text",
            "training.epochs",
            N_("1 pass over plain text; up to 4 passes over little text teach nearly as much as new text."),
            "Muennighoff et al. (arXiv 2305.16264)",
        ),
        Rule(
            "held_out",
            "data.validation",
            N_("At least 20 rows, at most a fifth of all, and no more than are measured one by one."),
            "Student (1908): 20 paired differences show an effect of 0.66 of their spread 4 times of 5",
        ),
        Rule(
            "max_length",
            "data.max_length",
            N_(
                "The longest row; if a few are far longer than the rest, the length that 99 % of rows fit in."
            ),
            "BERT's advice on memory (google-research/bert, README): it grows with the longest sequence",
        ),
        Rule(
            "sides",
            "data.max_source",
            N_(
                "The longest source and the longest target; if a few are far longer, the length that 99 % of "
                "them fit in."
            ),
            "BERT's advice on memory (google-research/bert, README), for each side by itself",
        ),
        Rule(
            "batch_size",
            "training.batch_size",
            N_("16 rows per step; fewer if the run would otherwise have fewer than 50 steps."),
            "QLoRA (arXiv 2305.14314), table 9: 16; BERT (arXiv 1810.04805), appendix A.3: 16 or 32",
        ),
        Rule(
            "early_stopping",
            "evaluation.early_stopping",
            N_("Stop after 3 evaluations without improvement if there are few rows and several passes."),
            "Prechelt (1998), “Early Stopping: But When?”",
        ),
        Rule(
            "warmup",
            "training.warmup",
            N_("The rate rises over 3 % of the steps; over 10 % when a head is trained."),
            "QLoRA (arXiv 2305.14314): 3 %; Mosbach et al. (arXiv 2006.04884): 10 %",
        ),
    )
}

TARGET_EPOCHS = 3
FEWEST_EXAMPLES = 100  # seen in a run, all passes together
MOST_EXAMPLES = 25_000
MOST_EPOCHS = 25
MOST_EPOCHS_OF_HEADS = 20
MOST_EPOCHS_OF_TEXT = 4
MOST_BATCH = 16
FEWEST_STEPS = 50
HELD_OUT_ROWS = 20
MOST_HELD_OUT = 256  # whose losses a journal keeps one by one
FEW_ROWS_TO_STOP = 2000
PATIENCE = 3
STEPS_OF_LENGTH = 64  # tokens: lengths are rounded up to these
SHORTEST = STEPS_OF_LENGTH
STEPS_OF_TARGET = 16  # of what is to be written, which is short more often
TEXT_LENGTH, LONG_TEXT_LENGTH = 512, 1024  # tokens of a piece of plain text: for little text, for much
MUCH_TEXT = 1_000_000  # tokens


def choose_epochs(rows: int, kind: TaskKind, batch: int = 1) -> int:
    """Return the number of passes over so many training rows.

    For plain text `batch` is the rows per step: one pass suffices if it has enough steps.
    """
    # A data set whose rows are all held out or unusable has none left
    rows = max(1, rows)
    if kind.plain_text:
        return min(MOST_EPOCHS_OF_TEXT, max(1, math.ceil(FEWEST_STEPS * batch / rows)))
    most = MOST_EPOCHS_OF_HEADS if kind.decides else MOST_EPOCHS
    if rows * TARGET_EPOCHS < FEWEST_EXAMPLES:
        return max(1, min(most, FEWEST_EXAMPLES // rows))
    # The limit of 25,000 examples is for generating models; heads usually get 3 passes over any number
    if kind.decides or rows * TARGET_EPOCHS <= MOST_EXAMPLES:
        return TARGET_EPOCHS
    return max(1, MOST_EXAMPLES // rows)


def find_epochs_rule(kind: TaskKind) -> Rule:
    """Return the rule that `choose_epochs` follows for a task."""
    return RULES["epochs_of_text" if kind.plain_text else "epochs_of_heads" if kind.decides else "epochs"]


def choose_batch_size(rows: int, kind: TaskKind) -> int:
    """Return rows per step: the largest batch that leaves a run enough steps."""
    batch = MOST_BATCH
    # Halved rather than computed: sizes that are powers of two are customary and divide into micro-batches
    while batch > 1:
        epochs = choose_epochs(rows, kind, batch)
        if epochs * math.ceil(rows / batch) >= FEWEST_STEPS:
            break
        batch //= 2
    return batch


def choose_held_out_share(rows: int, kind: TaskKind) -> float:
    """Return the share of so many rows to hold out; 0 for a single row.

    A right or wrong class carries less information than a loss, so a tenth is held out for classification.
    """
    if rows < 2:
        return 0.0
    # At least the share of the rule, at most a fifth, and never more rows than the journal keeps losses of
    least = 0.1 if kind.decides else 0.05
    share = max(least, min(HELD_OUT_ROWS / rows, 0.2))
    most = MOST_HELD_OUT * (4 if kind.decides else 1)
    share = min(share, most / rows)
    # Two digits, as a person reads the value in the config; above 0, as the config refuses a share of 0
    return max(float(f"{share:.2g}"), 1e-6)


def choose_max_length(lengths: Sequence[int], most: int, step: int = STEPS_OF_LENGTH) -> int:
    """Return `max_length` in tokens for rows of these lengths; at most what the model takes.

    Args:
        step: What lengths are rounded up to, and the least.
    """
    if not lengths:
        return min(most, 1024)
    ordered = sorted(lengths)
    longest, usual = ordered[-1], ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    # The 99th percentile means something from 100 rows on
    wanted = usual if len(ordered) >= 100 and longest > 2 * usual else longest
    rounded = max(step, -(-wanted // step) * step)
    # Below 8 tokens, special tokens and windows leave no room for the text
    return max(8, min(rounded, most))


def should_stop_early(rows: int, epochs: float, held_out: int, kind: TaskKind) -> bool:
    """Return whether memorising is likely and enough rows are held out to detect it."""
    return not kind.plain_text and rows < FEW_ROWS_TO_STOP and epochs >= TARGET_EPOCHS and held_out >= 10


def choose_warmup(kind: TaskKind) -> float:
    """Return the share of the steps in which the learning rate rises."""
    return 0.1 if kind.decides else 0.03
