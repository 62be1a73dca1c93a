"""Odd histories: nothing, one point, gaps, runs that were resumed and rolled back, numbers of all kinds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.unit.verdicts.made import constant, falls, make_run
from tui_tuner.errors import UsageError
from tui_tuner.runs.events import (
    Evaluation,
    Event,
    EventBody,
    Finished,
    HeldOutRows,
    RolledBack,
    RunStarted,
    Step,
    Warned,
)
from tui_tuner.runs.wire import encode_event
from tui_tuner.verdicts.judge import judge_events, judge_run, judge_run_history, make_verdict_event
from tui_tuner.verdicts.run_history import gather_event_history, gather_journal_history
from tui_tuner.verdicts.verdict_words import VERDICTS

GOOD = (falls(3, 1.5, 6), falls(3, 1.55, 6))


@pytest.mark.parametrize(
    "bodies",
    [
        [],
        [RunStarted()],
        [Finished("failed", 1)],
        [Step(1, 0, 2.0, 1e-4)],
        [Step(1, 0, None, 0.0)],
        [Evaluation(5, "validation", {"loss": 2.0})],
        [Evaluation(5, "validation", {"loss": None})],
        [HeldOutRows(0, [1.0], [1]), HeldOutRows(5, [], [])],
        [HeldOutRows(0, ["x", None], [1, 2]), HeldOutRows(5, [True, 1.0], [0, -1])],
        [Step(step, 0, 2.0, 1e-4) for step in range(1, 4)],
    ],
)
def test_too_little_is_unclear(bodies: list[EventBody]) -> None:
    found = judge_events(bodies)
    assert found.verdict == "unclear" and found.since_step is None and found.evidence and found.advice


def test_one_evaluation_is_no_curve() -> None:
    made = [
        one for one in make_run(*GOOD, evaluations=1, single_rows=False) if not isinstance(one, HeldOutRows)
    ]
    bare = [one for one in made if isinstance(one, Step)]
    assert judge_events(bare).verdict == "unclear" and "never measured" in judge_events(bare).evidence[0]
    late = [
        one
        for one in make_run(*GOOD, evaluations=1)
        if not (isinstance(one, Evaluation | HeldOutRows) and not one.step)
    ]
    assert judge_events(late[-1:]).verdict == "unclear"


@pytest.mark.parametrize("value", [0.0, 2.0, -1.0, 1e-30, 1e30])
def test_losses_that_are_all_equal(value: float) -> None:
    made: list[EventBody] = []
    for step in range(61):
        made.append(Step(step, 0, value, 1e-4)) if step else None
        if step % 10 == 0:
            made.append(Evaluation(step, "validation", {"loss": value}))
            made.append(
                HeldOutRows(step, [value + place * abs(value) / 100 for place in range(20)], [3] * 20)
            )
    assert judge_events(made).verdict in ("nothing_learnt", "unclear")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_at_all(value: float) -> None:
    made: list[EventBody] = [Step(step, 0, value, 1e-4) for step in range(1, 30)]
    assert judge_events(made).verdict == "unstable"
    made += [Evaluation(step, "validation", {"loss": value}) for step in (10, 20, 29)]
    found = judge_events(made)
    assert found.verdict == "unstable" and found.since_step == 1 and make_verdict_event(found, True).final


def test_negative_losses_and_those_that_cross_zero() -> None:
    found = judge_events(make_run(lambda used: 1 - 2 * used, lambda used: 1 - 1.9 * used, noise=0.0))
    assert found.verdict in VERDICTS and found.verdict not in ("unstable", "memorised", "overfit")


def test_a_run_that_was_resumed_and_rolled_back_has_one_history() -> None:
    made = make_run(*GOOD, steps=100)
    at = next(place for place, one in enumerate(made) if isinstance(one, Step) and one.step == 51)
    lost: list[EventBody] = [Step(step, 0, 50.0, 1e-4) for step in range(51, 90)]
    lost.append(Evaluation(60, "validation", {"loss": 40.0}))
    lost.append(HeldOutRows(60, [40.0] * 60, [8] * 60))
    whole = judge_events(made)
    for again in (RunStarted(resumed_from=50), RolledBack(50)):
        assert judge_events([*made[:at], *lost, again, *made[at:]]) == whole
    assert (
        judge_events([*made[:at], *lost, *made[at:]]).step == 100
    )  # without a word, what was done last counts


def test_a_run_that_still_goes_is_judged_so_far() -> None:
    made = make_run(*GOOD, steps=200, rates=constant)
    early = made[: next(place for place, one in enumerate(made) if isinstance(one, Step) and one.step == 45)]
    assert judge_events(early).verdict == "not_converged"
    first = made[: next(place for place, one in enumerate(made) if isinstance(one, Step) and one.step == 7)]
    assert judge_events(first).verdict == "unclear"


def test_gaps_and_events_that_say_nothing() -> None:
    made = make_run(*GOOD, steps=200)
    rare = [one for one in made if not isinstance(one, Step) or one.step % 7 == 0]
    assert judge_events([*rare, Warned("loss_spike", "x")]).verdict == "good"


def write(path: Path, bodies: list[EventBody]) -> Path:
    path.write_bytes(b"".join(encode_event(Event(one, "run", seq, 1.8e9)) for seq, one in enumerate(bodies)))
    return path


def test_a_journal_says_what_its_events_say(tmp_path: Path) -> None:
    made = [
        RunStarted(config={"task": "sft"}),
        *make_run(*GOOD, steps=3000, evaluations=30),
        Finished("completed", 0),
    ]
    path = write(tmp_path / "events.jsonl", made)
    assert judge_run(tmp_path) == judge_run(path) == judge_events(made)
    with path.open("ab") as file:
        file.write(b'\xff\xfe{"torn": \n{"v":1,"kind":"step","step":"x"}\n{"v":1,"run":"run","seq":1,"ti')
    assert judge_run(path).verdict == "good"


def test_a_long_run_is_judged_from_some_of_its_steps(tmp_path: Path) -> None:
    made = make_run(*GOOD, steps=6000, evaluations=600, rows=10)
    few = gather_journal_history(write(tmp_path / "events.jsonl", made), most=512)
    assert 200 < len(few.steps) <= 512 and len(few.rows) <= 400
    assert judge_run_history(few, 50).verdict == judge_events(made).verdict == "good"
    again = gather_event_history(made)
    again.most = 512
    again.take_step(6001, math.nan, 1e-4, 1.0)
    assert math.isnan(again.losses[-1])


@pytest.mark.parametrize("text", ["", "no journal\n", '{"a": 1}\n[1, 2]\n', "\x00" * 100])
def test_what_is_no_journal_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match="not the journal of a run"):
        judge_run(path)
    with pytest.raises(UsageError, match="cannot be read"):
        judge_run(tmp_path / "missing")


def test_copies_that_an_older_journal_only_warns_of() -> None:
    said = Warned("leakage", "1,500 of 2,000 validation rows are also trained on, so the loss would flatter.")
    found: Any = gather_event_history([said])
    assert found.copies == 1500 and found.held_out == 2000
    assert judge_events([said, *make_run(*GOOD)]).verdict == "unclear"
