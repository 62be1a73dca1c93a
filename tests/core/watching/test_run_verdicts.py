"""A run says its verdict while it goes, and at its end; what goes wrong there never ends it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeConfig, Recorder, Trained
from tests.unit.verdicts.made import constant, falls, make_run
from tests.unit.verdicts.test_odd import write
from tui_tuner.runs.events import Finished, Heartbeat, Log, Phase, RunStarted, Step, Verdict
from tui_tuner.training.watching.verdict_sink import JudgingSink
from tui_tuner.verdicts import judge as judging

Train = Callable[..., Trained]
GOOD = (falls(3, 1.5, 6), falls(3, 1.55, 6))


def verdicts(sink: Recorder) -> list[Verdict]:
    return [body for body in sink.bodies if isinstance(body, Verdict)]


def test_a_run_ends_with_its_verdict(make_config: MakeConfig, train: Train) -> None:
    config = make_config(
        training__max_steps=12, training__learning_rate=1e-2, data__validation=0.3, evaluation__every=4
    )
    done = train(config)
    assert done.outcome.status == "completed"
    said = verdicts(done.sink)
    assert [one.final for one in said].count(True) == 1 and said[-1].final and said[-1].step == 12
    kinds = [name for name, _fields in done.sink.events]
    assert kinds[kinds.index("finished") - 1] == "verdict"
    again = judging.make_verdict_event(judging.judge_events(done.sink.bodies), final=True)
    assert said[-1] == again and said[-1].confidence is not None and said[-1].evidence


def test_a_run_that_fails_says_what_it_can(make_config: MakeConfig, train: Train) -> None:
    done = train(make_config(training__max_steps=30, training__learning_rate=10.0, method__kind="full"))
    last = verdicts(done.sink)[-1]
    assert last.final and last.verdict in ("unstable", "unclear")
    missing = train(make_config(data__path="missing.jsonl"))
    assert missing.outcome.status == "failed" and not verdicts(missing.sink)


def test_while_it_runs_only_another_word_is_said() -> None:
    sink = Recorder()
    judged = JudgingSink(sink)
    made = make_run(*GOOD, steps=200, rates=constant)
    for body in made:
        judged.emit(body)
        judged.emit(Heartbeat())
        judged.emit(Phase("training", 1, 200)) if not isinstance(body, Step) else None
    judged.emit(Finished("completed", 0))
    words = [(one.verdict, one.final) for one in verdicts(sink)]
    assert words[-1] == ("good", True) and ("not_converged", False) in words
    assert all(one != other for one, other in itertools.pairwise(words))
    passed = [body for body in sink.bodies if not isinstance(body, Verdict | Heartbeat | Phase)]
    assert passed == [*made, Finished("completed", 0)]


def test_a_resumed_run_knows_what_it_told(tmp_path: Path) -> None:
    made = make_run(*GOOD, steps=200)
    at = next(place for place, one in enumerate(made) if isinstance(one, Step) and one.step == 101)
    lost = [Step(step, 0, 70.0, 1e-4) for step in range(101, 140)]
    path = write(tmp_path / "events.jsonl", [RunStarted(), *made[:at], *lost])
    sink = Recorder()
    judged = JudgingSink(sink, path)
    for body in (RunStarted(resumed_from=100), *made[at:], Finished("completed", 0)):
        judged.emit(body)
    assert (verdicts(sink)[-1].verdict, verdicts(sink)[-1].step) == ("good", 200)
    JudgingSink(Recorder(), tmp_path / "missing").emit(Finished("failed", 1))


def test_a_fault_of_it_is_no_fault_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_unused: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(judging, "judge_run_history", broken)
    sink = Recorder()
    judged = JudgingSink(sink)
    judged.emit(Step(1, 0, math.nan, 1e-4))
    judged.emit(Finished("completed", 0))
    assert [type(body) for body in sink.bodies] == [Step, Log, Finished]
    assert "cannot be judged (ZeroDivisionError" in sink.of("log")[0]["message"]
