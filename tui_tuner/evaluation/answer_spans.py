"""From scores of beginnings and ends to answers: the best spans over all windows of a text.

As the field does it (arXiv 1606.05250, 1810.04805): in each window the best beginnings are paired with the
best ends, pairs that are no span of the text or too long are left out, and what is left of all windows
competes. "No answer" is scored at the window's null position, and counts with the lowest score that any
window gives it: the window that is surest that it does hold an answer decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tui_tuner.data.examples.questions import LONGEST_ANSWER

N_BEST = 20  # beginnings and ends of a window that are paired, and answers that are kept


@dataclass(frozen=True)
class WindowScores:
    """What a model says of one window, with where its tokens stand.

    Args:
        starts, ends: [2, k]: the best positions and their logits, best first.
        null: Logits of the beginning and the end of no answer, added up.
        context: [tokens, 2]: the characters of the context that each token stands for; (-1, -1) for a token
            that is none of the context's.
    """

    starts: np.ndarray
    ends: np.ndarray
    null: float
    context: np.ndarray


@dataclass(frozen=True)
class Candidate:
    """An answer, in characters of the context; both are 0 for no answer."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Found:
    """The answers to a question, best first; no answer is not among them.

    Args:
        no_answer: By how much no answer scores higher than the best of them.
        null: What no answer scores.
    """

    candidates: list[Candidate]
    no_answer: float
    null: float

    def text(self, context: str) -> str:
        """The best answer; empty where no span of the text can be one."""
        best = self.candidates[:1]
        return context[best[0].start : best[0].end] if best else ""

    def is_empty(self, threshold: float | None) -> bool:
        """Whether no answer is given: there is none, or the threshold is exceeded."""
        return not self.candidates or (threshold is not None and self.no_answer > threshold)

    def ranked(
        self, context: str, threshold: float | None, most: int = N_BEST
    ) -> list[tuple[Candidate | None, float]]:
        """Different answers with probabilities that add up to 1, best first; None is no answer.

        Args:
            most: Answers that are given, and compete.
            threshold: None where every question has an answer: then no answer is no choice. What is chosen
                by it stands first, though its probability may be lower.
        """
        texts: dict[str, Candidate] = {}  # of a text that stands at several places, the best one
        for one in self.candidates:
            texts.setdefault(context[one.start : one.end], one)
        kept = list(texts.values())[:most]
        choices: list[tuple[Candidate | None, float]] = [(one, one.score) for one in kept]
        if threshold is not None or not choices:
            choices.append((None, self.null))
        highest = max(score for _one, score in choices)
        shares = [math.exp(score - highest) for _one, score in choices]
        total = sum(shares)
        found = [(one, share / total) for (one, _score), share in zip(choices, shares, strict=True)]
        found.sort(key=lambda choice: -choice[1])
        chosen = None if self.is_empty(threshold) else self.candidates[0]
        found.sort(key=lambda choice: choice[0] is not chosen)
        return found


def best_spans(windows: Sequence[WindowScores]) -> Found:
    """The answers of a question over all windows of its text.

    Scores are added in float32, in which the logits are, so that ties are what they are elsewhere.
    """
    spans: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for window in windows:
        (begin, begins), (end, ends) = _finite(window.starts), _finite(window.ends)
        first, last = np.repeat(begin, len(end)), np.tile(end, len(begin))
        score = np.add.outer(begins, ends).ravel()
        inside = (window.context[first, 0] >= 0) & (window.context[last, 0] >= 0)
        kept = inside & (last >= first) & (last - first + 1 <= LONGEST_ANSWER)
        spans.append(np.stack([window.context[first[kept], 0], window.context[last[kept], 1]], axis=1))
        scores.append(score[kept])
    every, score = np.concatenate(spans), np.concatenate(scores)
    best_of: dict[tuple[int, int], float] = {}  # windows share tokens, and so spans: the better score counts
    for place in np.argsort(-score, kind="stable").tolist():
        edges = (int(every[place, 0]), int(every[place, 1]))
        if edges[0] < edges[1]:
            best_of.setdefault(edges, float(score[place]))
        if len(best_of) == N_BEST:
            break
    candidates = [Candidate(start, end, one) for (start, end), one in best_of.items()]
    null = float(min(np.float32(window.null) for window in windows))
    best = np.float32(candidates[0].score) if candidates else np.float32(0.0)
    return Found(candidates, float(np.float32(null) - best), null)


def _finite(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions, and their logits in float32; what is infinite lies behind the end of a short window."""
    kept = edges[:, np.isfinite(edges[1])]
    return kept[0].astype(np.int64), kept[1].astype(np.float32)
