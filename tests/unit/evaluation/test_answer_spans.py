"""The best spans of all windows are those that looking at every pair finds."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from tui_tuner.evaluation.answer_spans import Candidate, FoundAnswers, WindowScores, find_best_spans

TEXT = "abcdefghijklmnopqrstuvwxyz" * 10


def window(
    random_: random.Random, length: int, begin: int, of_text: int
) -> tuple[WindowScores, list[float], list[float]]:
    """A window of a question of 4 tokens and `of_text` tokens of 2 characters, with whole logits."""
    starts = [float(np.float32(random_.gauss(0, 2))) for _ in range(length)]
    ends = [float(np.float32(random_.gauss(0, 2))) for _ in range(length)]
    context = np.full((length, 2), -1)
    for place in range(of_text):
        context[4 + place] = (begin + 2 * place, begin + 2 * place + 2)

    def best(values: list[float]) -> np.ndarray:
        order = sorted(range(length), key=lambda place: -values[place])[:20]
        return np.array([order, [values[place] for place in order]])

    null = float(np.float32(starts[0]) + np.float32(ends[0]))
    return WindowScores(best(starts), best(ends), null, context), starts, ends


@pytest.mark.parametrize("seed", range(20))
def test_every_pair_of_the_best_edges_competes(seed: int) -> None:
    random_ = random.Random(seed)
    shapes = [(random_.randint(8, 60), 40 * number) for number in range(random_.randint(1, 4))]
    made = [window(random_, length, begin, length - random_.randint(5, 7)) for length, begin in shapes]
    expected: list[tuple[float, int, int]] = []
    for scores, starts, ends in made:
        top = [sorted(values, reverse=True)[:20][-1] for values in (starts, ends)]
        for i, start in enumerate(starts):
            for j, end in enumerate(ends):
                inside = scores.context[i, 0] >= 0 and scores.context[j, 0] >= 0
                if start >= top[0] and end >= top[1] and inside and i <= j < i + 30:
                    edges = (int(scores.context[i, 0]), int(scores.context[j, 1]))
                    expected.append((float(np.float32(start) + np.float32(end)), *edges))
    found = find_best_spans([scores for scores, _starts, _ends in made])
    unique = {(start, end): score for score, start, end in sorted(expected)}
    wanted = sorted(((score, *edges) for edges, score in unique.items()), reverse=True)[:20]
    assert [(one.score, one.start, one.end) for one in found.candidates] == wanted
    null = min(scores.null for scores, _starts, _ends in made)
    assert found.null == null
    assert found.no_answer == pytest.approx(null - (wanted[0][0] if wanted else 0.0), abs=1e-6)


def test_probabilities_are_those_of_different_answers_and_add_up() -> None:
    candidates = [
        Candidate(0, 2, 3.0),
        Candidate(26, 28, 2.5),
        Candidate(5, 9, 1.0),
    ]  # the second is "ab" too
    found = FoundAnswers(candidates, -1.0, 2.0)
    ranked = found.rank_answers(TEXT, None)
    assert [one for one, _share in ranked] == [candidates[0], candidates[2]]
    assert ranked[0][1] == pytest.approx(math.exp(3) / (math.exp(3) + math.exp(1)))
    ranked = found.rank_answers(TEXT, 0.0)
    assert [one for one, _share in ranked] == [candidates[0], None, candidates[2]]
    assert sum(share for _one, share in ranked) == pytest.approx(1)
    assert found.rank_answers(TEXT, -1.5)[0][0] is None  # what the threshold decides stands first


def test_a_text_in_which_nothing_can_be_an_answer_has_none() -> None:
    context = np.full((6, 2), -1)
    edges = np.array([[1.0, 2.0], [3.0, 1.0]])
    found = find_best_spans([WindowScores(edges, edges, 0.5, context)])
    assert not found.candidates and found.best_text(TEXT) == "" and found.is_empty(None)
    assert found.rank_answers(TEXT, None) == [(None, 1.0)]
