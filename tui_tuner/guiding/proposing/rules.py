"""Rules of the guide: what a setting becomes, from counts of rows, tokens and weights, and who says so.

Each is a function of numbers alone, and `RULES` lists them with their sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tui_tuner.config.kinds import TaskKind
from tui_tuner.locales import N_


@dataclass(frozen=True)
class Rule:
    """A rule: the field it sets, what it says, and where that is from."""

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
            N_("3 passes; more where that is fewer than 100 examples, fewer where it is more than 25,000."),
            "OpenAI Cookbook, “Data preparation and analysis for chat model fine-tuning”",
        ),
        Rule(
            "epochs_of_heads",
            "training.epochs",
            N_("2 to 4 passes where a head is trained; up to 20 where rows are few."),
            "BERT (arXiv 1810.04805), appendix A.3; Mosbach et al. (arXiv 2006.04884)",
        ),
        Rule(
            "epochs_of_text",
            "training.epochs",
            N_("1 pass over plain text; up to 4 passes over little of it teach nearly as much as new text."),
            "Muennighoff et al. (arXiv 2305.16264)",
        ),
        Rule(
            "held_out",
            "data.validation",
            N_("20 rows or more, at most a fifth of all, and no more than are measured one by one."),
            "Student (1908): 20 paired differences show an effect of 0.66 of their spread 4 times of 5",
        ),
        Rule(
            "max_length",
            "data.max_length",
            N_("The longest row; where few are far longer than the rest, the length of 99 in 100."),
            "BERT's advice on memory (google-research/bert, README): it grows with the longest sequence",
        ),
        Rule(
            "batch_size",
            "training.batch_size",
            N_("16 rows a step, and fewer where the run would have fewer than 50 steps."),
            "QLoRA (arXiv 2305.14314), table 9: 16; BERT (arXiv 1810.04805), appendix A.3: 16 or 32",
        ),
        Rule(
            "early_stopping",
            "evaluation.early_stopping",
            N_("Stop after 3 evaluations without a better one, where rows are few and read often."),
            "Prechelt (1998), “Early Stopping: But When?”",
        ),
        Rule(
            "warmup",
            "training.warmup",
            N_("The rate rises over 3 % of the steps, over 10 % where a head is trained."),
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
SHORTEST = 64
TEXT_LENGTH, LONG_TEXT_LENGTH = 512, 1024  # tokens of a piece of plain text: where there is little, and much
MUCH_TEXT = 1_000_000  # tokens


def epochs_of(rows: int, kind: TaskKind, batch: int = 1) -> int:
    """Passes over so many rows of training.

    For plain text, `batch` rows are read in a step, and one pass suffices where it has enough steps.
    """
    rows = max(1, rows)
    if kind.plain_text:
        return min(MOST_EPOCHS_OF_TEXT, max(1, math.ceil(FEWEST_STEPS * batch / rows)))
    most = MOST_EPOCHS_OF_HEADS if kind.decides else MOST_EPOCHS
    if rows * TARGET_EPOCHS < FEWEST_EXAMPLES:
        return max(1, min(most, FEWEST_EXAMPLES // rows))
    if kind.decides or rows * TARGET_EPOCHS <= MOST_EXAMPLES:
        return TARGET_EPOCHS
    return max(1, MOST_EXAMPLES // rows)


def epochs_rule(kind: TaskKind) -> Rule:
    """The rule that `epochs_of` follows for a task."""
    return RULES["epochs_of_text" if kind.plain_text else "epochs_of_heads" if kind.decides else "epochs"]


def batch_of(rows: int, kind: TaskKind) -> int:
    """Rows of a step, such that a run has enough of them."""
    batch = MOST_BATCH
    while batch > 1:
        epochs = epochs_of(rows, kind, batch)
        if epochs * math.ceil(rows / batch) >= FEWEST_STEPS:
            break
        batch //= 2
    return batch


def held_out_of(rows: int, kind: TaskKind) -> float:
    """The share of so many rows that is held out; 0 of a single row.

    Classes are right or wrong, which tells less than a loss does: a tenth is held out for them.
    """
    if rows < 2:
        return 0.0
    least = 0.1 if kind.decides else 0.05
    share = max(least, min(HELD_OUT_ROWS / rows, 0.2))
    most = MOST_HELD_OUT * (4 if kind.decides else 1)
    share = min(share, most / rows)
    return max(float(f"{share:.2g}"), 1e-6)


def length_of(lengths: Sequence[int], most: int) -> int:
    """The longest sequence, in tokens, for rows of these lengths; at most what the model takes."""
    if not lengths:
        return min(most, 1024)
    ordered = sorted(lengths)
    longest, usual = ordered[-1], ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    wanted = usual if len(ordered) >= 100 and longest > 2 * usual else longest
    rounded = max(SHORTEST, -(-wanted // STEPS_OF_LENGTH) * STEPS_OF_LENGTH)
    return max(8, min(rounded, most))


def stops_early(rows: int, epochs: float, held_out: int, kind: TaskKind) -> bool:
    """Whether learning by heart is likely, and there are rows enough to see it by."""
    return not kind.plain_text and rows < FEW_ROWS_TO_STOP and epochs >= TARGET_EPOCHS and held_out >= 10


def warmup_of(kind: TaskKind) -> float:
    """The share of the steps in which the rate rises."""
    return 0.1 if kind.decides else 0.03
