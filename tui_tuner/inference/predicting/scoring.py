"""Compares the answers of a finished job with the targets that its rows have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tui_tuner.evaluation.metrics import ScoredAnswer, score_answers, sign_scores

MOST_ROWS = (
    10_000  # rows that are compared, which take about half a minute; of more, an evenly spaced selection
)


@dataclass(frozen=True)
class PredictionScores:
    """Metrics of the answers, each from 0 to 1.

    Args:
        rows: Answers that were compared; of a large file fewer than it has.
        signatures: How metrics were computed whose values depend on it.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    signatures: dict[str, str] = field(default_factory=dict)


def score_prediction_file(path: Path, field: str, target: str, usual: Sequence[str]) -> PredictionScores:
    """Compare the predictions in a file of rows with a column of the same rows.

    Args:
        field: The column with the predictions.
        target: The column with the texts to compare with; rows without one are left out.
        usual: Metrics by which the answers of the task are usually compared.
    """
    count = sum(1 for _unused in _read_pairs(path, field, target))
    if not count:
        return PredictionScores()
    every = -(-count // MOST_ROWS)
    rows = [
        ScoredAnswer("", wanted, said, True)
        for number, (said, wanted) in enumerate(_read_pairs(path, field, target))
        if number % every == 0
    ]
    metrics = score_answers(list(usual), rows)
    return PredictionScores(metrics, len(rows), sign_scores(metrics, rows))


def _read_pairs(path: Path, field: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield each answer with its target."""
    with path.open("rb") as file:
        for line in file:
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            said, wanted = (row.get(field), row.get(target)) if isinstance(row, dict) else (None, None)
            if isinstance(wanted, int | float) and not isinstance(wanted, bool):
                wanted = str(wanted)
            if isinstance(said, str) and isinstance(wanted, str) and wanted.strip():
                yield said, wanted
