"""Curves of known shapes get their words, whatever their noise, their scale and their evaluations."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.unit.verdicts.made import Curve, constant, cosine, falls, make_run
from tui_tuner.config.load import build_config
from tui_tuner.runs.events import Evaluation, EvaluationTable, EventBody, HeldOutRows, RowLedger, Step
from tui_tuner.verdicts.judge import judge_events

# (word, training, held out)
SHAPES: dict[str, tuple[str, Curve, Curve]] = {
    "good": ("good", falls(3, 1.5, 5.5), falls(3, 1.55, 5.5)),
    "good, of a model that knew much": ("good", falls(2, 1.5, 5), falls(2.05, 1.6, 5)),
    "too few steps": ("not_converged", falls(3, 1.5, 0.9), falls(3, 1.55, 0.9)),
    "slower and slower": (
        "not_converged",
        lambda used: 3 * (1 + 4 * used) ** -0.4,
        lambda used: 3 * (1 + 4 * used) ** -0.38,
    ),
    "stood still": ("plateau", falls(3, 1.5, 25), falls(3, 1.55, 25)),
    "worse again": (
        "overfit",
        falls(3, 0.5, 4),
        lambda used: falls(3, 1.9, 8)(used) + 0.7 * used**2,
    ),
    "a little worse again": (
        "overfit",
        falls(2, 1, 2),
        lambda used: falls(2, 1.5, 9)(used) + 0.15 * used**1.5,
    ),
    "by heart": (
        "memorised",
        falls(3, 0.01, 9),
        lambda used: falls(3, 2.8, 20)(used) + 1.5 * used,
    ),
    "by heart, classes": (
        "memorised",
        falls(0.69, 0.003, 9),
        lambda used: falls(0.69, 0.66, 20)(used) + 0.9 * used,
    ),
    "nothing": ("nothing_learnt", lambda used: 3.0, lambda used: 3.0),
    "rises and stays": (
        "unstable",
        lambda used: 3 if used < 0.03 else 7.5,
        lambda used: 3 if used < 0.03 else 7.5,
    ),
    "comes back to the start": (
        "unstable",
        lambda used: falls(3, 1, 9)(used) if used < 0.5 else 2.9,
        lambda used: falls(3, 1, 9)(used) if used < 0.5 else 2.9,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_its_word(name: str) -> None:
    word, training, held_out = SHAPES[name]
    kinds = itertools.product((40, 160), (0.02, 0.1), (True, False), (cosine, constant))
    for place, (steps, noise, single_rows, rates) in enumerate(kinds):
        made = make_run(
            training,
            held_out,
            steps=steps,
            noise=noise,
            single_rows=single_rows,
            rates=rates,
            evaluations=(5, 10, 20)[place % 3] if steps > 40 else 8,
            rows=(25, 100)[place % 2],
            scale=(1, 0.01, 300)[place % 3],
            seed=place,
        )
        found = judge_events(made)
        assert found.verdict == word, (name, steps, noise, single_rows, rates.__name__, found)
        assert found.confidence is not None and found.confidence > 0.5 and len(found.evidence) >= 3


def test_since_when_it_holds() -> None:
    worse = judge_events(make_run(*SHAPES["worse again"][1:], steps=200))
    assert worse.since_step == 40 and worse.step == 200
    assert 20 <= (judge_events(make_run(*SHAPES["stood still"][1:], steps=200)).since_step or 0) <= 40
    back = judge_events(make_run(*SHAPES["comes back to the start"][1:], steps=200, rates=constant))
    assert back.verdict == "unstable" and 0 < (back.since_step or 0) <= 110


def test_the_same_journal_has_the_same_verdict_and_confidence() -> None:
    made = make_run(falls(3, 2.9, 1), falls(3, 2.97, 1), rows=12, noise=0.2)
    first = judge_events(made)
    assert first == judge_events(list(made)) and first.confidence is not None and first.confidence < 1


def test_a_few_rows_or_few_that_differ_are_unclear() -> None:
    few = judge_events(make_run(*SHAPES["good"][1:], rows=5))
    assert few.verdict == "unclear" and "5 held-out rows" in few.evidence[0]
    made = make_run(*SHAPES["good"][1:], rows=4)
    repeated: list[EventBody] = []
    for body in made:
        if isinstance(body, HeldOutRows):
            body = HeldOutRows(body.step, [*body.losses] * 50, [*body.labels] * 50)
        repeated.append(body)
    found = judge_events(repeated)
    assert found.verdict == "unclear" and "Of 200 held-out rows only 4 differ" in found.evidence[0]


@pytest.mark.parametrize(
    "splits, word",
    [
        ({"validation_rows": 60, "validation_rows_trained": 60, "training_rows": 600}, "unclear"),
        ({"validation_rows": 60, "validation_rows_trained": 6, "training_rows": 600}, "good"),
        # few texts, again and again: by chance, too, all that is held out is also trained on
        (
            {
                "validation_rows": 60,
                "validation_rows_trained": 60,
                "training_rows": 600,
                "training_rows_repeated": 590,
            },
            "good",
        ),
    ],
)
def test_copies_of_training_rows(splits: dict[str, int], word: str) -> None:
    found = judge_events([RowLedger(splits=splits), *make_run(*SHAPES["good"][1:])])
    assert found.verdict == word
    assert any(f"{splits['validation_rows_trained']} of 60 held-out rows" in one for one in found.evidence)


def classes(
    bodies: list[EventBody], right: dict[int, tuple[int, int]], accuracy: dict[int, float]
) -> list[EventBody]:
    """A run of two classes: (right of the first, of the second) of 50 each, by step; others as the last."""
    found: list[EventBody] = []
    for body in bodies:
        if not isinstance(body, Evaluation):
            found.append(body)
            continue
        step = max((known for known in accuracy if known <= body.step), default=0)
        one, two = right[step]
        found.append(Evaluation(body.step, "validation", {**body.metrics, "accuracy": accuracy[step]}))
        found.append(
            EvaluationTable(
                body.step, "confusion", ["a", "b"], ["a", "b"], [[one, 50 - one], [50 - two, two]]
            )
        )
    return found


CLASSES: dict[str, Any] = {"task": "classification"}


def test_classes_no_better_than_the_commonest_are_nothing() -> None:
    made = make_run(falls(0.95, 0.69, 9), falls(0.95, 0.695, 9), config=CLASSES, rows=100)
    shuffled = judge_events(classes(made, {0: (50, 0)}, {0: 0.5}))
    assert shuffled.verdict == "nothing_learnt" and "commonest" in shuffled.evidence[0]
    told = judge_events(classes(made, {0: (50, 0), 20: (45, 44)}, {0: 0.5, 20: 0.89}))
    assert told.verdict == "good"


def test_a_classifier_that_keeps_its_accuracy_is_not_simply_overfit() -> None:
    rises: Curve = lambda used: falls(0.7, 0.3, 9)(used) + 0.12 * used  # noqa: E731
    made = make_run(falls(0.7, 0.05, 4), rises, config=CLASSES, rows=100)
    kept = judge_events(classes(made, {0: (50, 0), 12: (45, 45)}, {0: 0.5, 12: 0.9}))
    lost = judge_events(classes(made, {0: (50, 0), 12: (45, 45), 60: (37, 37)}, {0: 0.5, 12: 0.9, 60: 0.74}))
    assert lost.verdict == "overfit" and kept.verdict != "overfit"
    assert any("accuracy is as good as at its best" in one for one in kept.evidence)


def test_bad_numbers_and_jumps() -> None:
    made = make_run(*SHAPES["good"][1:], steps=200)
    nan = [
        Step(one.step, 0, float("nan"), 1e-4) if isinstance(one, Step) and one.step > 150 else one
        for one in made
    ]
    found = judge_events(nan)
    assert found.verdict == "unstable" and found.since_step == 151 and "NaN or infinite" in found.evidence[0]
    once = [
        Step(one.step, 0, float("nan"), 1e-4) if isinstance(one, Step) and one.step == 90 else one
        for one in made
    ]
    assert judge_events(once).verdict == "good"
    jumps = [
        Step(one.step, 0, 9.0, one.learning_rate) if isinstance(one, Step) and one.step % 23 == 0 else one
        for one in made
    ]
    assert judge_events(jumps).verdict == "unstable"


def thrown(made: list[EventBody], at: dict[int, float]) -> list[EventBody]:
    """The same run with other losses at some steps."""
    return [
        Step(one.step, one.epoch, at.get(one.step, one.loss), one.learning_rate)
        if isinstance(one, Step)
        else one
        for one in made
    ]


def test_a_rate_beyond_all_that_is_usual_that_threw_the_model_off_is_no_good_fit() -> None:
    wild = build_config({"training": {"learning_rate": 0.05}}).model_dump(mode="json")
    usual = build_config({"training": {"learning_rate": 2e-4}}).model_dump(mode="json")
    shape, at = (falls(10, 5.05, 30), falls(9.7, 5.05, 30)), {1: 10.0, 5: 9.9, 6: 11.5}
    found = judge_events(thrown(make_run(*shape, config=wild, noise=0.02), at))
    assert found.verdict == "unstable" and found.since_step == 6
    assert "rose from 10" in found.evidence[0] and "to 11.5 at step 6" in found.evidence[0]
    assert judge_events(thrown(make_run(*shape, config=usual, noise=0.02), at)).verdict != "unstable"


def test_a_run_that_still_makes_good_what_it_lost_at_first_is_not_unstable() -> None:
    made = make_run(falls(0.74, 0.02, 1), falls(0.72, 0.1, 1), steps=60, noise=0.1)
    assert judge_events(thrown(made, {5: 1.46, 6: 1.03, 8: 0.96})).verdict == "not_converged"


def test_training_that_fell_after_bad_first_steps_is_not_called_flat() -> None:
    made = thrown(make_run(falls(0.74, 0.2, 1), falls(0.7, 0.2, 1), steps=60, noise=0.15), {5: 1.46, 6: 1.03})
    alone = [one for one in made if isinstance(one, Step)]
    assert judge_events(alone).verdict == "unclear"
