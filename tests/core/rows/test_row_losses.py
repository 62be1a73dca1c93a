"""The losses of single held-out rows: those of the model on each row alone, whatever way rows are laid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import MakeConfig, Trained
from tests.core.speed.test_shared_prefix import SHARED, two_prompts
from tests.core.test_loss import FAST, SomeRows, load
from tests.core.ways import objective
from tui_tuner.compute import chunks
from tui_tuner.objectives import row_losses
from tui_tuner.objectives.row_losses import RowLossCollector, sum_losses_by_row

Train = Callable[..., Trained]


def alone(model: Any, rows: Any, row: int) -> float:
    """The mean loss of a row's labels, by the model itself."""
    ids, trained = rows.masked(row)
    ids = torch.as_tensor(ids, dtype=torch.long)
    labels = torch.where(torch.as_tensor(trained), ids, -100)
    with torch.no_grad():
        return float(model(input_ids=ids[None], labels=labels[None]).loss)


@pytest.mark.parametrize(
    "way",
    [FAST, replace(FAST, chunked=True), replace(FAST, packing=False, segments=False), SHARED],
    ids=["flat", "chunked", "padded", "shared"],
)
def test_each_row_has_its_own_loss(tiny_model: Path, way: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "LEAST_ROWS", 8)
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 1)
    model = load(tiny_model).eval()
    rows = two_prompts() if way.shared else SomeRows([17, 8, 40, 9, 23], 300)
    causal, found = objective(way), RowLossCollector(rows)
    for group in ([4, 1], [0, 3, 2], list(range(5, len(rows)))):
        if group:
            micro = causal.lay_batch(rows, group, training=False)
            with torch.no_grad():
                each = causal.measure_batch(model, micro)["each"]
            sums = sum_losses_by_row(each.losses, micro.rows, rows)
            assert sums is not None
            found.add_part(sums)
    told = found.read_losses()
    assert [one.labels for one in told] == rows.trained_tokens.tolist()
    assert [one.loss for one in told] == pytest.approx(
        [alone(model, rows, row) for row in range(len(rows))], rel=1e-4
    )


def test_of_many_rows_the_same_ones_are_told_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_losses, "MOST_ROWS", 4)
    rows = SomeRows([6] * 10, 50)
    told = []
    for order in (list(range(10)), list(reversed(range(10)))):
        found = RowLossCollector(rows)
        losses = torch.tensor([float(row) for row in order]).repeat_interleave(3)
        sums = sum_losses_by_row(losses, order, rows)
        assert sums is not None
        found.add_part(sums)
        told.append([one.loss for one in found.read_losses()])
    assert told[0] == told[1] == [0, 2, 5, 7]


def test_losses_that_belong_to_no_row_are_not_told() -> None:
    rows = SomeRows([6, 6], 50)
    assert sum_losses_by_row(torch.ones(5), [0, 1], rows) is None
    assert RowLossCollector(rows).read_losses() == []


def test_a_run_tells_them_from_before_its_first_step(make_config: MakeConfig, train: Train) -> None:
    run = train(make_config())
    told = run.sink.of("held_out_rows")
    measured = [one for one in run.sink.of("evaluation") if one["stage"] == "validation"]
    assert [one["step"] for one in told] == [one["step"] for one in measured] == [0, 3, 6]
    for one, evaluation in zip(told, measured, strict=True):
        assert len(one["losses"]) == 6 and one["labels"] == told[0]["labels"]
        mean = sum(a * b for a, b in zip(one["losses"], one["labels"], strict=True)) / sum(one["labels"])
        assert mean == pytest.approx(evaluation["metrics"]["loss"], rel=1e-4)
