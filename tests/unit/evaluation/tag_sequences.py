"""Made-up rows of tags with the scores that seqeval 1.2.2 gives them.

`seqeval_scores.json` holds, for each scheme and seed, what `write` wrote when it ran in an environment with
seqeval: precision, recall and F1 of the count that forgives and of the strict one, accuracy, and those of
each type. Run this module there to write it anew.
"""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

SCORES = Path(__file__).with_name("seqeval_scores.json")
LETTERS = {"IOB2": "BI", "IOB1": "BI", "IOE2": "IE", "IOBES": "BIES", "BILOU": "BILU"}
TYPES = ("PER", "LOC", "per-son", "_")
SEEDS, ROWS = 40, 8


def rows_of(scheme: str, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of tags, and of tags that a model may have found, from `random()` alone: it never changes."""
    draw = random.Random(seed).random
    types = TYPES[: 1 + int(draw() * len(TYPES))]

    def tag() -> str:
        if draw() < 0.35:
            return "O"
        letter = LETTERS[scheme][int(draw() * len(LETTERS[scheme]))]
        return f"{letter}-{types[int(draw() * len(types))]}"

    wanted = [[tag() for _word in range(int(draw() * 12))] for _row in range(ROWS)]
    found = [[one if draw() < 0.7 else tag() for one in row] for row in wanted]
    return wanted, found


def write() -> None:
    """Let seqeval score all rows."""
    from seqeval import metrics, scheme

    warnings.simplefilter("ignore")
    expected: dict[str, Any] = {}
    for name in LETTERS:
        strict = {"mode": "strict", "scheme": getattr(scheme, name)}
        for seed in range(SEEDS):
            wanted, found = rows_of(name, seed)
            report = metrics.classification_report(wanted, found, output_dict=True)
            scores = (metrics.precision_score, metrics.recall_score, metrics.f1_score)
            expected[f"{name} {seed}"] = {
                "usual": [float(score(wanted, found)) for score in scores],
                "strict": [float(score(wanted, found, **strict)) for score in scores],
                "accuracy": metrics.accuracy_score(wanted, found),
                "types": {
                    kind: [float(one[key]) for key in ("precision", "recall", "f1-score", "support")]
                    for kind, one in report.items()
                    if not kind.endswith(" avg")
                },
            }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in expected.items())
    SCORES.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    write()
