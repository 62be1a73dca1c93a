"""The loop's order of calls, and the two hooks that a method has in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.survive.test_out_of_memory import Injected
from tui_tuner.methods.lora import Lora
from tui_tuner.objectives import objective
from tui_tuner.training.loop import Loop
from tui_tuner.training.step import engine
from tui_tuner.training.step.engine import Engine
from tui_tuner.training.watching.pace import Pace

Train = Callable[..., Trained]
BEFORE = ["prepare_states", "begin_steps", "begin_watch"]
STEP = [
    "compute_gradients",
    "clip_gradients",
    "update_weights",
    "scheduler",
    "after_step",
    "clear",
    "finish_step",
    "note_step",
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the loop calls, in order."""
    found: list[str] = []

    def watch(owner: Any, name: str, said: str = "") -> None:
        inner = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            found.append(said or name)
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    for owner, name in (
        (Engine, "prepare_states"),
        (Engine, "restore_random_states"),
        (Engine, "compute_gradients"),
        (Engine, "clip_gradients"),
        (Engine, "update_weights"),
        (Loop, "begin_steps"),
        (Loop, "finish_step"),
        (Pace, "begin_watch"),
        (Pace, "note_step"),
        (Lora, "after_step"),
    ):
        watch(owner, name)
    watch(torch.optim.lr_scheduler.LambdaLR, "step", "scheduler")
    watch(Engine, "_clear_gradients", "clear")
    return found


def test_the_order_of_calls(make_config: MakeConfig, train: Train, calls: list[str]) -> None:
    changes = {"training__schedule": "constant", "training__warmup": 0.0}
    first = train(make_config(training__max_steps=2, **changes))
    assert calls[calls.index("begin_watch") + 1 :] == STEP * 2
    assert [name for name in calls if name in BEFORE] == BEFORE
    calls.clear()
    again = train(make_config(training__max_steps=3, **changes), resume=first.folder)
    assert again.outcome.status == "completed", again.outcome
    assert calls[calls.index("begin_steps") :] == [
        "begin_steps",
        "begin_watch",
        "restore_random_states",
        *STEP,
    ]


def test_a_step_that_the_loss_scaler_skips_leaves_schedule_and_method_as_they_are(
    make_config: MakeConfig, train: Train, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objective, "find_autocast_dtype", lambda device, config: "float16")
    monkeypatch.setattr(
        engine, "create_scaler", lambda device, config: torch.amp.GradScaler("cpu", init_scale=2.0**24)
    )
    steps = 12
    run = train(make_config(training__max_steps=steps, training__schedule="linear", training__warmup=0.0))
    assert run.outcome.status == "completed", run.outcome
    taken, expected = 0, []
    for fields in run.sink.of("step"):
        expected.append(0.005 * (1 - taken / steps))
        taken += math.isfinite(fields["grad_norm"])
    assert 0 < taken < steps
    assert [fields["learning_rate"] for fields in run.sink.of("step")] == pytest.approx(expected)
    assert calls.count("after_step") == taken


def pull(self: Lora, model: Any) -> Any:
    """A loss of the trained weights themselves."""
    return 0.5 * sum((one**2).sum() for one in model.parameters() if one.requires_grad)


def test_an_extra_loss_counts_once_for_each_step(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many passes a step has, and however often it is tried."""
    changes = {"training__max_steps": 3, "evaluation__every": None}
    plain = train(make_config(**changes))
    seen: list[Any] = []

    def after_step(self: Lora, model: Any, step: int, total: int) -> None:
        gradients = [one.grad is not None for one in model.parameters() if one.requires_grad]
        seen.append((step, total, all(gradients)))

    monkeypatch.setattr(Lora, "extra_loss", pull)
    monkeypatch.setattr(Lora, "after_step", after_step)
    found = []
    for micro, retried in ((2, False), (8, False), (8, True)):
        with monkeypatch.context() as patch:
            if retried:
                Injected(patch, "backward", at=2)
            run = train(make_config(training__micro_batch=micro, **changes))
        assert run.outcome.status == "completed", run.outcome
        assert bool(run.sink.of("out_of_memory")) == retried
        found.append(run.steps())
    assert seen == [(1, 3, True), (2, 3, True), (3, 3, True)] * 3
    for one in found:
        assert one[1] > plain.steps()[1] + 0.1  # the matrices that LoRA draws are not zero
        assert list(one.values()) == pytest.approx(list(found[0].values()), abs=2e-5)
