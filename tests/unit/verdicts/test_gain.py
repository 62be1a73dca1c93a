"""The difference of the same held-out rows before and after, and how it is told."""

from __future__ import annotations

import math
import random

import pytest

from tui_tuner.runs.events import Evaluation, Event, HeldOutRows, RolledBack
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.verdicts.gain import Gain, compute_gain, compute_t_quantile, describe_gain, list_gains


def rows(step: int, losses: list[float], labels: list[int] | None = None) -> HeldOutRows:
    return HeldOutRows(step, losses, labels or [10] * len(losses))


@pytest.mark.parametrize(("degrees", "value"), [(4, 2.776), (9, 2.262), (29, 2.045), (63, 1.998)])
def test_the_quantile_is_that_of_student(degrees: int, value: float) -> None:
    assert compute_t_quantile(0.975, degrees) == pytest.approx(value, abs=0.002)


@pytest.mark.parametrize(
    ("share", "freedom", "expected"),
    [
        (0.975, 1, 12.706),
        (0.975, 2, 4.303),
        (0.975, 3, 3.182),
        (0.975, 4, 2.776),
        (0.975, 19, 2.093),
        (0.95, 9, 1.833),
    ],
)
def test_student_by_his_table(share: float, freedom: int, expected: float) -> None:
    assert compute_t_quantile(share, freedom) == pytest.approx(expected, rel=0.006)


def test_a_gain_weighs_rows_by_their_labels_as_an_evaluation_does() -> None:
    found = compute_gain(rows(0, [2.0, 4.0], [30, 10]), rows(9, [1.0, 4.0], [30, 10]))
    assert found is not None and found.mean == pytest.approx(0.75)  # 2.5 before, 1.75 after
    even = compute_gain(rows(0, [2.0, 3.0, 2.5]), rows(9, [1.9, 2.7, 2.3]))
    assert even is not None
    assert (even.mean, even.high - even.mean) == (
        pytest.approx(0.2),
        pytest.approx(4.303 * 0.1 / math.sqrt(3), 0.02),
    )


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(7)
    held = 0
    for _unused in range(400):
        before = [draw.gauss(3, 1) for _row in range(12)]
        found = compute_gain(rows(0, before), rows(1, [loss - draw.gauss(0.1, 0.2) for loss in before]))
        assert found is not None
        held += found.low <= 0.1 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_what_cannot_be_compared_is_not() -> None:
    assert compute_gain(rows(0, [1.0, 2.0]), rows(1, [1.0])) is None
    assert compute_gain(rows(0, [1.0, 2.0], [1, 2]), rows(1, [1.0, 2.0], [1, 3])) is None
    damaged = HeldOutRows(1, ["x", None, math.nan, 1.0, 1.5], [10] * 5)
    found = compute_gain(rows(0, [1.0, 1.0, 1.0, 2.0, 2.0]), damaged)
    assert found is not None and (found.rows, found.all_rows) == (2, False)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Gain(80, 0.4091, 0.3512, 0.4671, 64), "better by 0.41 (0.35 to 0.47) on 64 held-out rows."),
        (Gain(80, -0.4091, -0.4671, -0.3512, 64), "worse by 0.41 (0.35 to 0.47) on 64 held-out rows."),
        (Gain(80, 0.1, -0.05, 0.25, 6), "no difference that these 6 rows can show (-0.05 to +0.25)."),
        (Gain(80, 0.5, 0.4, 0.6, 3), "3 held-out rows are too few to tell."),
        (
            Gain(80, 0.0021, 0.0019, 0.0023, 256),
            "better by 0.00210 (0.00190 to 0.00230) on 256 held-out rows.",
        ),
    ],
)
def test_a_gain_in_words(gain: Gain, said: str) -> None:
    assert describe_gain(gain) == f"Loss at step 80 compared with before training: {said}"


def test_a_view_compares_the_start_with_the_best_and_the_last() -> None:
    losses = {0: 3.0, 10: 2.0, 20: 1.5, 30: 1.7, 40: 1.9}
    events = []
    for step, loss in losses.items():
        events.append(Event(Evaluation(step, "validation", {"loss": loss}), time=1.0))
        events.append(Event(rows(step, [loss + 0.1 * n + 0.01 * step * n for n in range(8)]), time=1.0))
    view = fold_view_events(RunView(), events)
    assert [point.step for point in view.held_out] == [0, 20, 40]
    assert [gain.step for gain in list_gains(view)] == [20, 40]
    back = fold_view_events(view, [Event(RolledBack(20))])
    assert [gain.step for gain in list_gains(back)] == [20]
    assert list_gains(fold_view_events(RunView(), events[2:])) == []  # nothing was measured before training
