"""BLEU and chrF of all answers together, by sacrebleu (Post 2018, 1804.08771).

Both are measures of a corpus: counts are added up over all rows first, so they are no means of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui_tuner.evaluation.overlap.rouge import Pair
from tui_tuner.evaluation.overlap.scripts import choose_bleu_tokenizer

BLEU, CHRF = CORPUS_SCORES = ("bleu", "chrf")


def measure_corpus_score(name: str, pairs: Sequence[Pair]) -> float:
    """Return BLEU or chrF, from 0 to 1."""
    metric = _make_metric(name, pairs)
    answers, references = [answer for answer, _unused in pairs], [reference for _unused, reference in pairs]
    return float(metric.corpus_score(answers, [references]).score) / 100


def sign_corpus_score(name: str, pairs: Sequence[Pair]) -> str:
    """Return sacrebleu's signature: tokenizer, smoothing, version and other settings."""
    metric = _make_metric(name, pairs)
    # It counts the references of a row, so it has one only after something was scored
    metric.corpus_score([pairs[0][0]], [[pairs[0][1]]])
    return str(metric.get_signature())


def find_signature_tokenizer(signature: str) -> str:
    """Return the tokenizer that a signature names; empty for chrF, which has none."""
    return next((part[4:] for part in signature.split("|") if part.startswith("tok:")), "")


def _make_metric(name: str, pairs: Sequence[Pair]) -> Any:
    if name == CHRF:
        from sacrebleu.metrics.chrf import CHRF as Chrf

        return Chrf()
    from sacrebleu.metrics.bleu import BLEU as Bleu

    return Bleu(tokenize=choose_bleu_tokenizer(reference for _unused, reference in pairs))
