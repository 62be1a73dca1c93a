"""Objectives: the causal one against its definition, what the engine does with any, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.objective_checks import ObjectiveChecks
from tests.core.test_loss import FAST, SomeRows, load, plain_loss
from tests.core.ways import check_ways, objective
from tui_tuner.compute import attention
from tui_tuner.compute.forward import ForwardWay
from tui_tuner.data.examples.store import StoreWriter, TokenizedRows, TokenStore
from tui_tuner.data.records import IGNORE, Example, Origin
from tui_tuner.errors import DataError
from tui_tuner.objectives.causal import CausalObjective
from tui_tuner.training.step.plan import StepPlan

Train = Callable[..., Trained]
WAYS = {
    "flat": FAST,
    "shared": ForwardWay(packing=True, compact=True, segments=True, shared=True),
    "padded": ForwardWay(packing=False, compact=True, segments=False),
}


class TestCausal(ObjectiveChecks):
    @pytest.fixture(autouse=True, params=WAYS)
    def _way(self, request: Any, tiny_model: Path, tiny_tokenizer: Any) -> None:
        self.way = WAYS[request.param]
        self.folder, self.vocabulary = tiny_model, len(tiny_tokenizer)

    def make(self) -> tuple[CausalObjective, Any, SomeRows]:
        model = load(self.folder, attention.NAME if self.way.segments else "sdpa")
        rows = SomeRows([17, 45, 40, 9, 43, 31, 2], self.vocabulary)
        for row in (1, 2, 4):
            rows.ids[row][:16] = rows.ids[5][:16]  # a beginning that four of them share
        return objective(self.way), model, rows

    def plain(self, model: Any, data: Any, rows: list[int]) -> torch.Tensor:
        return plain_loss(model, data, rows)


def test_a_way_with_right_losses_and_a_wrong_gradient_is_refused(tiny_model: Path) -> None:
    model, rows = load(tiny_model, "sdpa"), SomeRows([17, 5, 40, 9], 300)

    class Halved(torch.autograd.Function):
        """What a kernel does whose backward pass is wrong: the same numbers, another gradient."""

        @staticmethod
        def forward(ctx: Any, hidden: torch.Tensor) -> torch.Tensor:
            return hidden.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Any) -> Any:
            return gradients[0] * 0.5

    inner = model.model.layers[1].self_attn.forward

    def wrong(*args: Any, **kwargs: Any) -> Any:
        out = inner(*args, **kwargs)
        return (Halved.apply(out[0]), *out[1:]) if kwargs.get("segment_lengths") else out

    assert check_ways(model, rows, [1, 3, 0, 2], FAST).way == FAST
    model.model.layers[1].self_attn.forward = wrong
    found = check_ways(model, rows, [1, 3, 0, 2], FAST)
    assert found.exact and not found.way.segments
    assert "gradient differs" in found.problem


def test_checking_leaves_no_gradient_and_draws_nothing(tiny_model: Path) -> None:
    model, rows = load(tiny_model, "sdpa").train(), SomeRows([17, 5, 40, 9], 300)
    before = torch.random.get_rng_state()
    check_ways(model, rows, [1, 3, 0, 2], FAST)
    assert torch.equal(before, torch.random.get_rng_state()) and model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_metrics_of_an_objective_stand_in_each_step(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metrics(self: CausalObjective) -> dict[str, Any]:
        return {"margin": torch.tensor(0.25), "diverged": torch.tensor(float("inf"))}

    monkeypatch.setattr(CausalObjective, "step_metrics", metrics)
    run = train(make_config(training__max_steps=3))
    steps = run.sink.of("step")
    assert [step["metrics"] for step in steps] == [{"margin": 0.25, "diverged": float("inf")}] * 3
    assert run.outcome.status == "completed", "a metric that is not a number is no bad loss"


def test_what_a_failed_attempt_gathered_is_forgotten(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counted(CausalObjective):
        """Counts the labels of a step, and runs out of memory in its second forward pass once."""

        failed = False
        labels = passes = 0

        def begin_step(self) -> None:
            self.labels = self.passes = 0

        def sum_losses(self, model: Any, micro: Any) -> Any:
            self.labels += micro.trained_tokens
            self.passes += 1
            if self.passes == 2 and not self.failed:
                self.failed = True
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().sum_losses(model, micro)

        def step_metrics(self) -> dict[str, Any]:
            return {"labels": torch.tensor(float(self.labels))}

    from tui_tuner.tasks.generative import GenerativeTask

    monkeypatch.setattr(GenerativeTask, "make_objective", lambda self, config: Counted(config))
    run = train(make_config(training__max_steps=2, training__micro_batch=2, data__packing=False))
    assert run.outcome.status == "completed" and len(run.sink.of("out_of_memory")) == 1
    for step in run.sink.of("step"):
        assert step["metrics"]["labels"] == step["supervised_tokens"]


def test_memory_that_runs_out_in_the_check_takes_shorter_rows(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = CausalObjective.compute_plain_losses

    def plain_losses(self: Any, model: Any, micro: Any, way: Any) -> Any:
        if micro.example_tokens > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(self, model, micro, way)

    monkeypatch.setattr(CausalObjective, "compute_plain_losses", plain_losses)
    run = train(make_config(training__max_steps=2, training__batch_size=24))
    assert run.outcome.status == "completed", run.outcome
    assert any("checking them on rows of at most" in event["message"] for event in run.sink.of("log"))


def test_examples_of_a_group_stay_in_one_step() -> None:
    lengths = np.arange(1, 21)
    groups = np.array([0, 1] * 5 + [7, 7, 8, 8, 8, 9, 9, 2, 2, 3])
    plan = StepPlan(lengths, batch_size=2, seed=4, groups=groups)
    assert plan.units == 7 and plan.steps_per_epoch == 4
    seen: list[int] = []
    for step in range(plan.steps_per_epoch):
        batch = plan.find_batch(1, step)
        assert len({int(groups[row]) for row in batch}) == (2 if step < 3 else 1)
        seen += batch
    assert sorted(seen) == list(range(20))
    shares = [StepPlan(lengths, 2, 4, world=2, rank=rank, groups=groups).find_share(seen) for rank in (0, 1)]
    assert sorted(shares[0] + shares[1]) == list(range(20))
    assert {int(groups[row]) for row in shares[0]}.isdisjoint({int(groups[row]) for row in shares[1]})


def test_columns_of_a_task_are_stored_read_and_added_to(tmp_path: Path) -> None:
    columns = {"label": "int64", "weight": "float32"}
    with StoreWriter(tmp_path / "store", columns) as writer:
        for number in range(3000):  # more than are turned into arrays at once
            ids = np.arange(number % 5 + 2, dtype=np.int32)
            labels = np.full(len(ids), IGNORE, dtype=np.int32)
            labels[-1] = number % 7
            example = Example(ids, labels, {"label": number, "weight": number / 4})
            writer.add_row(Origin("a.jsonl", number + 1), 0, [example], {"text": str(number)}, number)
        writer.finish_store({})
    store = TokenStore(tmp_path / "store")
    rows = TokenizedRows(store, np.array([2999, 5, 5, 1024]))
    assert [int(rows[place].columns["label"]) for place in range(4)] == [2999, 5, 5, 1024]
    assert rows.columns["weight"].dtype == np.float32 and rows[3].columns["weight"] == 256.0
    assert rows.trained_tokens.tolist() == [1, 1, 1, 1] and int(rows[0].labels[-1]) == 2999 % 7
    rows.add_column("reference", np.array([-1.5, -2.5, -2.5, 0.0]))
    assert rows[1].columns["reference"] == -2.5
    with pytest.raises(DataError, match="3 values for 4 examples"):
        rows.add_column("reference", np.zeros(3))
    assert "reference" not in TokenizedRows(store, np.array([0])).columns, "another run's rows have their own"
