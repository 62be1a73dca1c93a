"""Whole runs with LoRA layers computed as on a GPU survive what a run survives, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.survive.test_out_of_memory import Injected
from tests.core.test_load_run import logits, train_and_keep
from tui_tuner.compute import low_rank
from tui_tuner.models.device import Device
from tui_tuner.training import model_loading
from tui_tuner.training.load_run import load_run

Train = Callable[..., Trained]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """As on a GPU; what was chosen in each run."""
    found: list[Any] = []
    quicken = low_rank.quicken_lora

    def as_on_a_gpu(model: Any, device: Any) -> Any:
        found.append(quicken(model, Device("cuda", capability=(9, 0))))
        return found[-1]

    monkeypatch.setattr(model_loading.low_rank, "quicken_lora", as_on_a_gpu)
    return found


def config(make_config: MakeConfig, **changes: Any) -> Any:
    return make_config(
        model__dtype="bfloat16",
        training__autocast=True,
        training__gradient_checkpointing=True,
        training__micro_batch=4,
        training__schedule="constant",
        method__dropout=0.1,
        **changes,
    )


def test_a_run_learns_what_it_learns_with_peft_and_goes_on_with_the_same_numbers(
    make_config: MakeConfig, train: Train, chosen: list[Any]
) -> None:
    whole = train(config(make_config))
    assert low_rank.count_quick_lora(chosen[0]) == 21
    first = train(config(make_config, training__max_steps=3))
    resumed = train(config(make_config), resume=first.folder)
    assert resumed.sink.of("run_started")[0]["resumed_from"] == 3
    assert resumed.steps() == {step: whole.steps()[step] for step in (4, 5, 6)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_loading.low_rank, "quicken_lora", lambda *_: [])
        plain = train(config(make_config))
    for step, loss in plain.steps().items():
        assert whole.steps()[step] == pytest.approx(loss, rel=5e-3)


def test_a_step_without_memory_is_tried_again(
    make_config: MakeConfig, train: Train, chosen: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(make_config, training__max_steps=3)
    settings.method.dropout = 0.0  # drawn anew for other micro-batches
    calm = train(settings)
    Injected(monkeypatch, "backward", at=3)
    run = train(settings)
    assert run.outcome.status == "completed" and run.sink.of("out_of_memory"), run.outcome
    for step, loss in calm.steps().items():
        assert run.steps()[step] == pytest.approx(loss, rel=5e-3)


def test_what_is_saved_is_what_was_trained(make_config: MakeConfig, train: Train, chosen: list[Any]) -> None:
    run, seen = train_and_keep(make_config(output__keep=3), train)
    assert low_rank.count_quick_lora(chosen[0])
    for which, step in (("last", 6), ("step-3", 3)):
        model, _unused, _config = load_run(run.folder, which, device="cpu")
        torch.testing.assert_close(logits(model), seen[step], atol=1e-5, rtol=1e-5)
