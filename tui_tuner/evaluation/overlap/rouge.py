"""ROUGE of answers against references (Lin 2004), as rouge-score computes it without stemming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.evaluation.overlap.scripts import split_overlap_words

Pair = tuple[str, str]  # an answer and its reference


class OverlapTokenizer:
    """A tokenizer for rouge-score: equal to its own for Latin text, and not blind to other scripts."""

    def tokenize(self, text: str) -> list[str]:
        """Split a text; rouge-score calls this by its name."""
        return split_overlap_words(text)


def measure_ngram_rouge(name: str, pairs: Sequence[Pair]) -> float:
    """Return the mean F-measure of `rouge1` or `rouge2`."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer: Any = RougeScorer([name], use_stemmer=False, tokenizer=OverlapTokenizer())
    found = [float(scorer.score(reference, answer)[name].fmeasure) for answer, reference in pairs]
    return sum(found) / len(found)


def measure_sequence_rouge(pairs: Sequence[Pair]) -> float:
    """Return the mean F-measure of `rougeL`: the longest common subsequence of words.

    The whole text counts as one sentence. The numbers are those of rouge-score, whose own table of all pairs
    of words takes minutes for long answers.
    """
    return sum(_score_sequence(answer, reference) for answer, reference in pairs) / len(pairs)


def _score_sequence(answer: str, reference: str) -> float:
    from rouge_score.scoring import fmeasure

    said, wanted = split_overlap_words(answer), split_overlap_words(reference)
    if not said or not wanted:
        return 0.0
    common = count_common_subsequence(wanted, said)
    return float(fmeasure(common / len(said), common / len(wanted)))


def count_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence (Hyyrö 2004)."""
    # A bit for each token of `second`, so that a row of the table is one number: long answers take
    # milliseconds.
    places: dict[str, int] = {}
    for place, token in enumerate(second):
        places[token] = places.get(token, 0) | 1 << place
    whole = row = (1 << len(second)) - 1
    for token in first:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & whole
    return len(second) - row.bit_count()
