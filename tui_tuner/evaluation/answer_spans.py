"""Choose answers from scores of beginnings and ends: the best spans over all windows of a text.

This is the usual method (arXiv 1606.05250, 1810.04805): in each window the best beginnings are paired with
the best ends, pairs that are not a span of the text or too long are dropped, and the remaining pairs of all
windows compete. "No answer" is scored at the window's null position, and counts with the lowest score of any
window: the window that is surest to contain an answer decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tui_tuner.data.examples.questions import LONGEST_ANSWER

N_BEST = 20  # beginnings and ends per window that are paired, and answers that are kept


@dataclass(frozen=True)
class WindowScores:
    """A model's scores for one window, with the positions of its tokens.

    Args:
        starts, ends: [2, k]: the best positions and their logits, best first.
        null: Sum of the logits of the beginning and the end of no answer.
        context: [tokens, 2]: the characters of the context that each token covers; (-1, -1) for a token
            outside of the context.
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
class FoundAnswers:
    """The answers to a question, best first; no answer is not among them.

    Args:
        no_answer: How much higher no answer scores than the best of them.
        null: Score of no answer.
    """

    candidates: list[Candidate]
    no_answer: float
    null: float

    def best_text(self, context: str) -> str:
        """Return the best answer; empty if no span of the text can be one."""
        best = self.candidates[:1]
        return context[best[0].start : best[0].end] if best else ""

    def is_empty(self, threshold: float | None) -> bool:
        """Return whether no answer is chosen: there is none, or the threshold is exceeded."""
        return not self.candidates or (threshold is not None and self.no_answer > threshold)

    def rank_answers(
        self, context: str, threshold: float | None, most: int = N_BEST
    ) -> list[tuple[Candidate | None, float]]:
        """Return different answers with probabilities that sum to 1, best first; None stands for no answer.

        Args:
            most: Number of answers that compete and are returned.
            threshold: None if every question has an answer: then no answer does not compete. The choice made
                with the threshold comes first, although its probability may be lower.
        """
        # A text that occurs at several places counts once, with its best score.
        texts: dict[str, Candidate] = {}
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
        # Sorting is stable, so this only moves the chosen one to the front.
        found.sort(key=lambda choice: choice[0] is not chosen)
        return found


def find_best_spans(windows: Sequence[WindowScores]) -> FoundAnswers:
    """Return the answers to a question over all windows of its text."""
    spans: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for window in windows:
        (begin, begins), (end, ends) = _drop_infinite(window.starts), _drop_infinite(window.ends)
        first, last = np.repeat(begin, len(end)), np.tile(end, len(begin))
        # In float32 like the logits, so that ties fall as in the reference implementation.
        score = np.add.outer(begins, ends).ravel()
        inside = (window.context[first, 0] >= 0) & (window.context[last, 0] >= 0)
        kept = inside & (last >= first) & (last - first + 1 <= LONGEST_ANSWER)
        spans.append(np.stack([window.context[first[kept], 0], window.context[last[kept], 1]], axis=1))
        scores.append(score[kept])
    every, score = np.concatenate(spans), np.concatenate(scores)
    # Windows overlap, so a span may occur twice: its better score counts.
    best_of: dict[tuple[int, int], float] = {}
    for place in np.argsort(-score, kind="stable").tolist():
        edges = (int(every[place, 0]), int(every[place, 1]))
        if edges[0] < edges[1]:
            best_of.setdefault(edges, float(score[place]))
        if len(best_of) == N_BEST:
            break
    candidates = [Candidate(start, end, one) for (start, end), one in best_of.items()]
    null = float(min(np.float32(window.null) for window in windows))
    best = np.float32(candidates[0].score) if candidates else np.float32(0.0)
    return FoundAnswers(candidates, float(np.float32(null) - best), null)


def _drop_infinite(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and logits in float32, without the infinite ones after the end of a window."""
    kept = edges[:, np.isfinite(edges[1])]
    return kept[0].astype(np.int64), kept[1].astype(np.float32)
