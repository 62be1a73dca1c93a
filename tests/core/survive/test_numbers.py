"""Numbers that are none, and numbers that are unusual: said with their batch, and what each policy does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Recorder, Trained
from tui_tuner.runs.events import Event
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.training.step.scaling import ScaleWatch
from tui_tuner.training.watching.number_watch import NumberWatch
from tui_tuner.training.watching.reporting import MOST_SKIPPED, PendingStep, Reporter, StepReports

Train = Callable[..., Trained]


class Spoiled:
    """The loss of some optimizer steps becomes NaN; `calls` counts forward passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
        from tui_tuner.objectives.causal import CausalObjective

        inner, self.seen = CausalObjective.sum_losses, 0

        def loss(*values: Any, **more: Any) -> Any:
            self.seen += 1
            return inner(*values, **more) * (float("nan") if self.seen in calls else 1.0)

        monkeypatch.setattr(CausalObjective, "sum_losses", loss)


def _config(make_config: MakeConfig, policy: str) -> Any:
    return make_config(
        training__on_bad_numbers=policy,
        training__max_steps=10,
        training__batch_size=4,
        training__micro_batch=4,
        training__report_every=0.0001,
        data__max_length=512,  # one forward pass a step
        output__save_every=2,
        evaluation__every=4,
    )


def test_rollback_goes_back_with_half_the_rate(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = train(_config(make_config, "stop"))
    Spoiled(monkeypatch, {7})
    run = train(_config(make_config, "rollback"))
    assert run.outcome.status == "completed", run.outcome
    (warning,) = [found for found in run.sink.of("warning") if found["code"] == "rolled_back"]
    assert "step 7" in warning["message"] and "chats.jsonl:" in warning["message"]
    assert "Back to step 6, with 0.5 times" in warning["message"]
    assert run.sink.of("rolled_back") == [{"step": 6}]
    rates = {fields["step"]: fields["learning_rate"] for fields in run.sink.of("step")}
    expected = {fields["step"]: fields["learning_rate"] for fields in calm.sink.of("step")}
    for step in range(1, 11):
        assert rates[step] == pytest.approx(expected[step] * (0.5 if step > 6 else 1.0)), step
    assert [run.steps()[step] for step in range(1, 7)] == [calm.steps()[step] for step in range(1, 7)]
    view = fold_view_events(RunView(), [Event(body) for body in run.sink.bodies])
    assert [point.step for point in view.steps] == list(range(1, 11))


def test_a_run_that_rolled_back_resumes_with_its_lower_rate(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(make_config, "rollback")
    config.training.schedule = "constant"
    config.training.warmup = 0.0
    with monkeypatch.context() as patch:
        Spoiled(patch, {5})
        run = train(config)
    rates = [fields["learning_rate"] for fields in run.sink.of("step")]
    longer = config.model_copy(deep=True)
    longer.training.max_steps = 12
    resumed = train(longer, resume=run.folder)
    assert {fields["learning_rate"] for fields in resumed.sink.of("step")} == {rates[-1]} == {rates[0] * 0.5}


def test_rollback_gives_up_in_the_end(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spoiled(monkeypatch, set(range(7, 1000)))
    run = train(_config(make_config, "rollback"))
    assert (run.outcome.status, run.outcome.exit_code) == ("failed", 1)
    assert "4 times" in run.outcome.message
    scales = [f["message"] for f in run.sink.of("warning") if f["code"] == "rolled_back"]
    assert [message.rpartition("with ")[2].split()[0] for message in scales] == ["0.5", "0.25", "0.125"]


def test_without_a_checkpoint_there_is_no_way_back(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spoiled(monkeypatch, {1})
    run = train(_config(make_config, "rollback"))
    assert run.outcome.status == "failed" and "no checkpoint" in run.outcome.message


def test_stop_leaves_the_last_sound_checkpoint(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Spoiled(patch, {7})
        run = train(_config(make_config, "stop"))
    assert run.outcome.status == "failed" and "step 7" in run.outcome.message
    names = sorted(path.name for path in Path(run.folder.checkpoints_path).iterdir())
    assert names[-1] == "step-6"
    assert train(run.folder.load_config(), resume=run.folder).outcome.status == "completed"


def test_skip_leaves_the_batch_out(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spoiled(monkeypatch, {7})
    run = train(_config(make_config, "skip"))
    assert run.outcome.status == "completed"
    losses = run.steps()
    assert [step for step, loss in losses.items() if loss != loss] == [7]
    assert "bad_numbers" in run.codes()


def test_usual_numbers_are_nothing_to_speak_of() -> None:
    watch, chance = NumberWatch(), random.Random(0)
    for step in range(2000):
        loss = 3.0 * 0.999**step + chance.gauss(0, 0.1)
        assert watch.feed_numbers(step, max(0.0, loss), abs(chance.gauss(1.0, 0.4))) == []


def test_spikes_explosions_and_zeros_are_said_once() -> None:
    watch, chance = NumberWatch(), random.Random(0)
    for step in range(60):
        watch.feed_numbers(step, 2.0 + chance.gauss(0, 0.05), 1.0 + chance.gauss(0, 0.1))
    assert [found.code for found in watch.feed_numbers(60, 9.0, 200.0)] == [
        "gradient_explosion",
        "loss_spike",
    ]
    assert watch.feed_numbers(61, 9.0, 200.0) == []
    assert watch.feed_numbers(62, 2.0, 0.0) == [] == watch.feed_numbers(63, 2.0, 0.0)
    (zero,) = watch.feed_numbers(64, 2.0, 0.0)
    assert zero.code == "zero_gradients" and "3 steps" in zero.message
    assert watch.feed_numbers(65, None, None) == []


def _reports() -> tuple[StepReports, Recorder]:
    sink = Recorder()
    return StepReports(Reporter(sink), 1.0, lambda: (0, 0)), sink


def _step(number: int, norm: float, skipped: bool = False) -> PendingStep:
    return PendingStep(number, 0.0, 2.0, norm, 1e-4, 10, 20, 0.1, [number], skipped=skipped)


def test_a_step_that_the_loss_scaler_skipped_is_not_bad() -> None:
    reports, sink = _reports()
    for number in range(1, 20):
        reports.add_step(_step(number, float("inf"), skipped=True))
    assert reports.flush_steps() == []
    (log,) = sink.of("log")
    assert "Step 1 was skipped" in log["message"]
    assert [fields["step"] for fields in sink.of("step")] == list(range(1, 20))


def test_many_skipped_steps_in_a_row_are_bad_numbers() -> None:
    reports, _ = _reports()
    for number in range(1, MOST_SKIPPED):
        reports.add_step(_step(number, float("inf"), skipped=True))
    reports.add_step(_step(MOST_SKIPPED, 1.0))  # one that was taken: the count begins anew
    for number in range(MOST_SKIPPED + 1, 2 * MOST_SKIPPED):
        reports.add_step(_step(number, float("inf"), skipped=True))
    assert reports.flush_steps() == []
    reports.add_step(_step(2 * MOST_SKIPPED, float("nan"), skipped=True))
    (bad,) = reports.flush_steps()
    assert bad.step == 2 * MOST_SKIPPED and "skipped 20 steps in a row" in bad.what


def test_without_a_scaler_an_infinite_norm_is_bad_at_once() -> None:
    reports, sink = _reports()
    reports.add_step(_step(1, float("inf")))
    (bad,) = reports.flush_steps()
    assert bad.what == "the gradient norm is inf" and sink.of("log") == []


@pytest.mark.parametrize("fused", [False, True])
def test_a_skipped_step_is_seen_with_any_optimizer(fused: bool) -> None:
    """A fused optimizer is called even then, and skips in its kernel."""
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    watch, reports = ScaleWatch(scaler), _reports()[0]
    changed = []
    for number in range(1, 6):
        before = weight.detach().clone()
        # gradients of 4 times 2^127 and 2^126 are infinite in float32, those of 4 times 2^125 are not
        scaler.scale((weight * 4.0).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        changed.append(not torch.equal(weight, before))
        step = _step(number, 1.0 if changed[-1] else float("inf"))
        step.skipped = watch.was_skipped()
        reports.add_step(step)
    assert changed == [False, False, True, True, True]
    assert reports.flush_steps() == []
    assert ScaleWatch(None).was_skipped() is False
