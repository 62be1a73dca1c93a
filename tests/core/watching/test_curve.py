"""Divergence, plateaus and spikes: said where they are, once, and not of runs that are fine."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.training.keeping.progress import Progress
from tui_tuner.training.watching.curve_watch import CurveWatch
from tui_tuner.training.watching.number_watch import Finding, NumberWatch

Curve = Callable[[float], float]  # the loss by the share of the run that is done


def said_by(run: Trained) -> list[str]:
    """The codes of all warnings, the plan's at the start among them."""
    return [fields["code"] for fields in run.sink.of("warning")]


def cosine(done: float, warmup: float = 0.05) -> float:
    """The usual schedule, with a peak of 1."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def watch_run(
    losses: Iterable[float],
    total: int,
    rate: Callable[[float], float] = cosine,
    peak: float = 1e-3,
    before: float | None = None,
    progress: Progress | None = None,
    passes: float = 1.0,
    lowest: float = 0.0,
) -> list[tuple[int, Finding]]:
    """What is said of these losses, with the step."""
    progress = progress or Progress()
    curve = CurveWatch(progress, total, peak, lowest)
    numbers = NumberWatch(progress.told, peak, True)
    curve.feed_held_out(0, before)
    found = []
    for step, loss in enumerate(losses, 1):
        now = peak * rate(step / total)
        said = numbers.feed_numbers(step, loss, 1.0, now) + curve.feed_losses(
            step, loss, now, passes * step / total
        )
        found += [(step, one) for one in said]
    json.dumps(asdict(progress))  # it goes into checkpoints
    return found


def noisy(curve: Curve, total: int, noise: float, seed: int = 0) -> list[float]:
    """A curve as batches show it: the noise is a share of the loss."""
    chance = random.Random(seed)
    return [curve(step / total) * math.exp(chance.gauss(0, noise)) for step in range(1, total + 1)]


def codes(found: list[tuple[int, Finding]]) -> list[str]:
    return [one.code for _step, one in found]


def test_a_loss_that_leaves_for_elsewhere_is_said_once_though_it_comes_back() -> None:
    """From 4 up to 75, and back to 6.4 in the end."""

    def curve(done: float) -> float:
        return 4 + 71 * math.exp(-(((done - 0.2) / 0.08) ** 2)) + 2.4 * done

    found = watch_run(noisy(curve, 500, 0.05), 500, peak=0.05, before=4.1)
    ((step, one),) = [(step, one) for step, one in found if one.code == "diverged"]
    assert 25 < step < 150
    assert f"step {step}" in one.message and "began with 4" in one.message
    assert "learning rate is 0.0" in one.message
    (fix,) = one.hint.fixes  # type: ignore[attr-defined]
    assert 0.001 <= fix["training.learning_rate"] <= 0.005 and str(fix["training.learning_rate"]) in one.hint


def test_a_loss_that_is_lost_again_is_said_with_what_it_was() -> None:
    def curve(done: float) -> float:
        return 4 - 6 * done if done < 0.5 else min(3.2, 1 + 10 * (done - 0.5))

    found = watch_run(noisy(curve, 300, 0.05), 300, before=4.0)
    ((step, one),) = [(step, one) for step, one in found if one.code == "diverged"]
    assert 150 < step < 230 and "after 1" in one.message


def test_a_first_step_at_once_too_far_is_seen_from_the_loss_before_it() -> None:
    losses = [4.0] + [60.0 + step % 7 for step in range(59)]
    for before in (4.1, None):
        found = watch_run(losses, 60, rate=lambda done: 1.0, before=before)
        assert codes(found) == ["diverged"] and found[0][0] <= 12


def test_a_few_steps_far_away_are_said_though_the_loss_comes_back_at_once() -> None:
    losses = [9.3, 9.4, 7.6, 11.2, 10.5, 28.3, 14.3, *noisy(lambda done: 8.2 - 2.5 * done, 113, 0.03)]
    ((step, one),) = [one for one in watch_run(losses, 120, before=9.1) if one[1].code == "diverged"]
    assert step <= 20 and "28.3 at step 6" in one.message and "began with 9.3" in one.message


def test_a_loss_that_stands_still_under_a_high_rate_is_said_once() -> None:
    def curve(done: float) -> float:
        return max(1.0, 3 - 10 * done)

    found = watch_run(noisy(curve, 1000, 0.05), 1000, rate=lambda done: 1.0, before=3.0)
    ((step, one),) = found
    assert one.code == "plateau" and 400 < step < 900 and "since step" in one.message
    assert one.hint.fixes == ({"training.learning_rate": 0.0003},)  # type: ignore[attr-defined]
    low = watch_run(noisy(curve, 1000, 0.05), 1000, rate=lambda done: 1.0, before=3.0, lowest=5e-3)
    assert low[0][1].hint.fixes == ({"training.learning_rate": 5e-3},)  # type: ignore[attr-defined]


def test_spikes_are_said_as_one_and_as_many_and_then_no_more() -> None:
    losses = noisy(lambda done: 2.0, 400, 0.03)
    for step in range(60, 400, 20):
        losses[step] = 9.0
    found = watch_run(losses, 400)
    assert [(step, code) for (step, _one), code in zip(found, codes(found), strict=True)][:2] == [
        (61, "loss_spike"),
        (101, "loss_spikes"),
    ]
    assert len(codes(found)) == len(set(codes(found)))
    spike = found[1][1]
    assert "3 times since step 61" in spike.message and spike.hint.fixes  # type: ignore[attr-defined]


def fine_tuning(done: float) -> float:
    """A quick fall, and then a slow one that goes on to the end."""
    return 1.1 + 0.5 * math.exp(-30 * done) - 0.15 * done


GOOD: dict[str, tuple[Curve, float]] = {
    "fine-tuning": (fine_tuning, 1.6),
    "from a random head": (lambda done: 0.72 - 0.05 * done if done < 0.2 else 0.9 * math.exp(-4 * done), 0.7),
    "from scratch": (lambda done: 2.5 + 7 * math.exp(-8 * done) - 0.6 * done, 9.7),
    "learnt by heart": (lambda done: 2 * math.exp(-12 * done), 2.0),
    "pass by pass": (lambda done: 2.0 - 0.4 * math.floor(done * 3) - 0.1 * done, 2.0),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("noise", [0.02, 0.15, 0.6])
@pytest.mark.parametrize("total", [30, 200, 800])
def test_runs_that_are_fine_are_left_in_peace(name: str, noise: float, total: int) -> None:
    curve, before = GOOD[name]
    for seed in range(3 if total < 500 else 1):
        losses = noisy(curve, total, noise, seed)
        for rate in (cosine, lambda done: 1.0):
            for known in (before, None) if total < 500 else (before,):
                found = watch_run(losses, total, rate, before=known, passes=3.0)
                assert found == [], (seed, known, [one.message for _step, one in found])


def test_what_was_said_and_seen_outlives_the_process_and_going_back() -> None:
    losses = noisy(lambda done: max(1.0, 3 - 10 * done), 1000, 0.05)
    first = Progress()
    assert watch_run(losses[:350], 1000, lambda done: 1.0, before=3.0, progress=first) == []
    kept = Progress(**json.loads(json.dumps(asdict(first))))
    curve = CurveWatch(kept, 1000, 1e-3)
    said = [
        (step, one)
        for step in range(351, 1001)
        for one in curve.feed_losses(step, losses[step - 1], 1e-3, step / 1000)
    ]
    (step, one) = said[0]
    assert len(said) == 1 and one.code == "plateau" and step < 900
    again = CurveWatch(Progress(**json.loads(json.dumps(asdict(kept)))), 1000, 1e-3)
    back = [one for at in range(300, 1001) for one in again.feed_losses(at, losses[at - 1], 1e-3, at / 1000)]
    assert back == []


@pytest.mark.parametrize(("rate", "says"), [(0.001, False), (0.3, True)])
def test_a_run_with_far_too_high_a_rate_says_so_and_resumed_says_nothing_twice(
    make_config: MakeConfig, train: Callable[..., Trained], rate: float, says: bool
) -> None:
    config = make_config(
        training__learning_rate=rate,
        training__max_steps=40,
        training__schedule="constant",
        training__warmup=0.0,
        training__on_bad_numbers="warn",
        method__kind="full",
        data__validation=0.2,
        evaluation__every=10,
    )

    def stop_later(run: Trained) -> None:
        emit = run.sink.emit

        def watched(body: Any) -> None:
            emit(body)
            if getattr(body, "step", 0) == 30 and type(body).__name__ == "Step":
                run.control.request_command("stop")

        run.sink.emit = watched  # type: ignore[method-assign]

    first = train(config, before=stop_later)
    assert first.outcome.status == "stopped"
    warned = [code for code in said_by(first) if code in ("diverged", "advice_learning_rate", "plateau")]
    assert warned == (["advice_learning_rate", "diverged"] if says else [])
    if says:
        by_code = {fields["code"]: fields for fields in first.sink.of("warning")}
        assert by_code["advice_learning_rate"]["fixes"] == [{"training.learning_rate": 2e-5}]
        assert by_code["diverged"]["fixes"][0]["training.learning_rate"] < rate
        steps = [at for at, (name, _fields) in enumerate(first.sink.events) if name == "step"]
        codes = [fields.get("code") for _name, fields in first.sink.events]
        assert codes.index("advice_learning_rate") < steps[0]
    second = train(first.folder.load_config(), resume=first.folder)
    assert second.outcome.status == "completed"
    assert not {"diverged", "advice_learning_rate"} & set(said_by(second))


def test_advice_with_several_findings_says_the_serious_first(
    make_config: MakeConfig, train: Callable[..., Trained]
) -> None:
    run = train(make_config(training__learning_rate=3.0, method__alpha=80, training__warmup=0.6))
    said = [code for code in said_by(run) if code.startswith("advice_")]
    assert said[0] == "advice_learning_rate" and {"advice_lora_scale", "advice_warmup"} <= set(said)
    assert not [code for code in said if "unread" in code]


def test_a_rate_that_the_plan_warned_of_is_not_lowered_to_one_it_would_warn_of_again() -> None:
    progress = Progress()
    progress.told.append("advice_learning_rate")
    curve = CurveWatch(progress, 100, 0.9, 3e-4, usual=1e-3)
    losses = [0.7] * 5 + [1000.0] * 30
    said = [one for step, loss in enumerate(losses, 1) for one in curve.feed_losses(step, loss, 0.9)]
    assert [one.code for one in said] == ["diverged"] and "0.001" in str(said[0].hint)
