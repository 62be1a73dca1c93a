"""Memory that runs out in an evaluation: less is computed at once from then on, with the same figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.memory.limited import Memory
from tests.core.test_loss import FAST, SomeRows, load
from tests.core.ways import objective
from tui_tuner.compute import chunks
from tui_tuner.compute.forward import MicroSize

Train = Callable[..., Trained]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight positions of logits at once."""
    monkeypatch.setattr(chunks, "LEAST_ROWS", 8)
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 1)


def wide_model() -> Any:
    """A small model with so large a vocabulary that logits are most of what a pass needs."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tui_tuner.compute import attention

    attention.register_attention()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20_000,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation(attention.NAME)
    model.requires_grad_(False)
    model.model.layers.requires_grad_(True)
    return model


def test_logits_of_held_out_rows_are_never_all_there(small_chunks: None) -> None:
    model, rows = wide_model(), SomeRows([60, 90, 70], 20_000)
    plain, chunked = objective(FAST), objective(replace(FAST, chunked=True))
    micro = chunked.lay_batch(rows, [0, 1, 2])
    whole = micro.trained_tokens * 20_000 * 4
    found = {}
    for name, one in (("plain", plain), ("chunked", chunked)):
        with torch.no_grad(), Memory() as memory:
            measured = one.measure_batch(model.eval(), micro)
            found[name] = {key: float(measured[key]) for key in ("loss", "right")}
            found[name]["of rows"] = float(measured["each"].losses.sum())
        found[f"{name} peak"] = memory.peak
    assert found["chunked"] == pytest.approx(found["plain"], rel=1e-6)
    assert found["plain peak"] > whole > 4 * found["chunked peak"]


@pytest.mark.parametrize(
    "way", [FAST, replace(FAST, chunked=True), replace(FAST, packing=False, segments=False)]
)
def test_an_evaluation_needs_no_more_than_a_step_of_its_size(small_chunks: None, way: Any) -> None:
    """So a plan of the step is one of the evaluation too."""
    model, rows = wide_model(), SomeRows([60, 90, 70, 20], 20_000)
    causal = objective(way)
    (micro,) = causal.lay_batches(rows, [0, 1, 2, 3], MicroSize(4, 400))
    with Memory() as memory:
        causal.sum_losses(model.train(), micro).backward()
    model.zero_grad()
    with torch.no_grad(), Memory() as evaluating:
        causal.measure_batch(model.eval(), causal.lay_batch(rows, [0, 1, 2, 3], training=False))
    assert 0 < evaluating.peak <= memory.peak


def limit_evaluations(monkeypatch: pytest.MonkeyPatch, memory: Memory, size: int | None) -> list[int]:
    """Every evaluation may take so many bytes beside what is held when it begins; what each needed."""
    from tui_tuner.training.evaluator import Evaluator

    inner = Evaluator.evaluate_held_out
    needed: list[int] = []

    def validation(self: Any, *args: Any) -> Any:
        before = memory.peak = memory.live
        with memory.limited(size):
            found = inner(self, *args)
        needed.append(memory.peak - before)
        return found

    monkeypatch.setattr(Evaluator, "evaluate_held_out", validation)
    return needed


def test_the_smaller_size_is_kept_and_said_once(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(
        training__micro_batch=8, training__max_steps=4, evaluation__every=2, training__schedule="constant"
    )
    with monkeypatch.context() as patch, Memory() as memory:
        needed = limit_evaluations(patch, memory, None)
        calm = train(config)
    with monkeypatch.context() as patch, Memory() as memory:
        limit_evaluations(patch, memory, int(0.6 * needed[0]))
        run = train(config)
        assert run.outcome.status == "completed", run.outcome
        refused = memory.refused
        assert 1 <= refused <= 4
        wanted = [fields["metrics"] for fields in calm.sink.of("evaluation")]
        found = [fields["metrics"] for fields in run.sink.of("evaluation")]
        assert len(found) == len(wanted) == 3
        for one, other in zip(wanted, found, strict=True):
            assert one == pytest.approx(other, rel=1e-5)
        (said,) = run.sink.of("out_of_memory")
        assert said["place"] == "evaluation" and said["micro_batch"][1] < said["micro_batch"][0]
        state = json.loads((run.folder.checkpoints_path / "step-4" / "run_state.json").read_text())
        assert state["evaluated"][1] < state["micro"][1]
        longer = config.model_copy(deep=True)
        longer.training.max_steps = 5
        resumed = train(longer, resume=run.folder)
        assert resumed.outcome.status == "completed", resumed.outcome
        assert memory.refused == refused, "the resumed run began with what was found out"


def test_an_evaluation_that_does_not_fit_at_all_is_left_out_and_training_goes_on(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(evaluation__every=3)
    calm = train(config)
    with Memory() as memory:
        limit_evaluations(monkeypatch, memory, 1000)
        run = train(config)
    assert run.outcome.status == "completed", run.outcome
    assert run.steps() == calm.steps()
    assert not run.sink.of("evaluation")
    warned = [fields for fields in run.sink.of("warning") if fields["code"] == "evaluation_left_out"]
    assert len(warned) == 3 and "single sequence" in warned[0]["message"]


def test_what_a_failed_attempt_held_is_let_go_of(tiny_model: Path) -> None:
    """The frames of an error hold the tensors of the pass that failed."""
    from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory

    model = load(tiny_model)
    rows = SomeRows([60, 90, 70], 300)
    causal = objective(FAST)
    micro = causal.lay_batch(rows, [0, 1, 2])
    with Memory() as memory:
        before = memory.live
        for _unused in range(3):
            try:
                with memory.limited(600_000):
                    causal.sum_losses(model, micro).backward()
            except torch.OutOfMemoryError as error:
                assert is_out_of_memory(error)
                held = memory.live
                free_attempt_memory(error)
                assert memory.live == before < held
    assert memory.refused == 3
