"""Weighted losses: sum(weight * loss) / sum(weight), by every way of computing, as written down plainly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.conftest import MakeConfig, Trained, chat_rows, write_jsonl
from tests.core.test_loss import SomeRows, gradients, load
from tests.core.ways import objective
from tui_tuner.compute import attention, chunked_loss
from tui_tuner.compute.forward import ForwardWay, MicroSize
from tui_tuner.compute.shared_prefix import PrefixGroup, lay_prefix_groups
from tui_tuner.data.records import Example

WAYS = {
    "flat": ForwardWay(packing=True, compact=True, segments=True),
    "padded": ForwardWay(packing=False, compact=True, segments=False),
    "chunked": ForwardWay(packing=True, compact=True, segments=True, chunked=True),
    "shared": ForwardWay(packing=True, compact=True, segments=True, shared=True),
    "filled": ForwardWay(packing=True, compact=True, segments=True, filled=True),
}


class WeightedRows(SomeRows):
    """Rows of which every third has no weights; the others have a weight for each token."""

    def __getitem__(self, index: int) -> Example:
        found = super().__getitem__(index)
        if index % 3 != 2:
            drawn = np.random.default_rng(index).choice([0.25, 1.0, 2.0, 7.5], len(found))
            found.weights = drawn.astype(np.float32)
        return found

    @property
    def label_weights(self) -> np.ndarray:
        return np.array([self[row].label_weight for row in range(len(self))])


@pytest.fixture
def rows(tiny_tokenizer: Any) -> WeightedRows:
    found = WeightedRows([37, 22, 40, 9, 23, 31], len(tiny_tokenizer))
    for row in (0, 1, 2):
        # A beginning that they share, long enough to be computed once
        found.ids[row][:18] = found.ids[0][:18]
        found.trained[row] = np.arange(len(found.ids[row])) >= 20
    return found


def write_plainly(model: Any, data: WeightedRows) -> torch.Tensor:
    total, divisor = torch.zeros(()), 0.0
    for row in range(len(data)):
        example = data[row]
        logits = model(input_ids=torch.from_numpy(example.ids.astype(np.int64))[None]).logits[0]
        for place, label in enumerate(example.labels.tolist()):
            if label != -100:
                weight = 1.0 if example.weights is None else float(example.weights[place])
                total = total + weight * cross_entropy(logits[place], torch.tensor(label))
                divisor += weight
    return total / divisor


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("size", [MicroSize(9, 1000), MicroSize(2, 45)], ids=["whole", "parts"])
def test_loss_and_gradients_are_those_of_the_formula(
    tiny_model: Path, rows: WeightedRows, name: str, size: MicroSize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_loss, "count_chunk_rows", lambda vocabulary, device: 7)
    way, everything = WAYS[name], list(range(len(rows)))
    plain = load(tiny_model, "sdpa")
    expected = write_plainly(plain, rows)
    expected.backward()
    wanted = gradients(plain)

    model = load(tiny_model, attention.NAME if way.segments else "sdpa")
    causal = objective(way)
    divisor = causal.count_weight(rows, everything)
    if name == "shared":
        groups = [PrefixGroup([0, 1, 2], 18), *(PrefixGroup([row], 0) for row in (3, 4, 5))]
        parts = [lay_prefix_groups(rows, groups[:2]), lay_prefix_groups(rows, groups[2:])]
    else:
        parts = causal.lay_batches(rows, everything, size)
    total = torch.zeros(())
    assert any(part.filler for part in parts) == way.filled
    for part in parts:
        loss = causal.sum_losses(model, part) / divisor
        loss.backward()
        total += loss.detach()
    torch.testing.assert_close(total, expected.detach(), atol=1e-6, rtol=1e-6)
    for parameter, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, wanted[parameter], atol=1e-6, rtol=1e-5, msg=parameter)
    with torch.no_grad():
        sums = [causal.measure_batch(model, part) for part in parts]
    figures = causal.summarise_sums(
        {name: sum(float(one[name]) for one in sums) for name in ("loss", "right")}, divisor
    )
    assert figures["loss"] == pytest.approx(float(total), rel=1e-6) and 0 <= figures["accuracy"] <= 1


class CountedRows(SomeRows):
    """Rows with one weight each."""

    label_weights: np.ndarray | None = None
    counts: tuple[float, ...] = ()

    def __getitem__(self, index: int) -> Example:
        found = super().__getitem__(index)
        found.weights = np.full(len(found), self.counts[index], dtype=np.float32) if self.counts else None
        return found


def compute_step(model: Any, data: CountedRows, rows: list[int]) -> tuple[float, dict[str, torch.Tensor]]:
    causal = objective(WAYS["flat"])
    total = 0.0
    for part in causal.lay_batches(data, rows, MicroSize(2, 1000)):
        loss = causal.sum_losses(model, part) / causal.count_weight(data, rows)
        loss.backward()
        total += float(loss.detach())
    return total, gradients(model)


def test_a_row_of_weight_2_counts_as_one_that_stands_there_twice(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    rows, model = CountedRows([17, 25, 40, 9], len(tiny_tokenizer)), load(tiny_model)
    loss, wanted = compute_step(model, rows, [0, 1, 1, 2, 3])
    rows.counts = (1.0, 2.0, 1.0, 1.0)
    rows.label_weights = rows.trained_tokens * np.array(rows.counts)
    weighted, found = compute_step(model, rows, [0, 1, 2, 3])
    assert weighted == pytest.approx(loss, rel=1e-6)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-7, rtol=1e-5, msg=name)
    # Weights that are all the same change nothing, whatever they are.
    rows.counts = ()
    rows.label_weights = None
    loss, wanted = compute_step(model, rows, [0, 1, 2, 3])
    rows.counts, rows.label_weights = (0.5,) * 4, rows.trained_tokens * 0.5
    weighted, found = compute_step(model, rows, [0, 1, 2, 3])
    assert weighted == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(found, wanted, atol=1e-7, rtol=1e-5)


def weighted_chats(count: int = 60) -> list[dict[str, Any]]:
    rows = chat_rows(count)
    for place, row in enumerate(rows):
        row["quality"] = (1, 0.5, 3)[place % 3]
        row["messages"][-1]["weight"] = (1, 4)[place % 2]
    return rows


def test_weights_of_1_change_no_bit_of_a_run(
    make_config: MakeConfig, train: Callable[..., Trained], chats: Path, tmp_path: Path
) -> None:
    # Weights of 1 change no bit of a run.
    plain = train(make_config(training__max_steps=3, evaluation__every=3))
    write_jsonl(chats, [{**json.loads(line), "quality": 1} for line in chats.read_text().splitlines()])
    ones = train(make_config(training__max_steps=3, evaluation__every=3, data__loss_weight="quality"))
    assert ones.steps() == plain.steps() and not ones.codes()
    evaluated = [run.sink.of("evaluation")[-1]["metrics"] for run in (plain, ones)]
    assert evaluated[0] == evaluated[1]


def texts(count: int) -> list[dict[str, Any]]:
    return [
        {"text": row["messages"][0]["content"] + row["messages"][1]["content"], "quality": row["quality"]}
        for row in weighted_chats(count)
    ]


@pytest.mark.parametrize(
    ("task", "rows"),
    [("sft", weighted_chats), ("pretraining", texts), ("masked_lm", texts), ("seq2seq", weighted_chats)],
)
def test_a_run_trains_and_measures_the_weighted_mean(
    make_config: MakeConfig,
    train: Callable[..., Trained],
    chats: Path,
    tmp_path: Path,
    task: str,
    rows: Callable[[int], list[dict[str, Any]]],
) -> None:
    write_jsonl(chats, rows(60))
    held = write_jsonl(tmp_path / "held.jsonl", rows(67)[60:])
    more = {"model__name": "tiny"} if task in ("masked_lm", "seq2seq") else {}
    more |= {"data__validation": str(held), "training__max_steps": 2, "evaluation__every": 2}
    plain = train(make_config(task=task, **more))
    run = train(make_config(task=task, data__loss_weight="quality", **more))
    assert run.outcome.status == plain.outcome.status == "completed", run.outcome
    assert run.steps() != plain.steps()
    assert any("Losses are weighted" in one["message"] for one in run.sink.of("log"))
    metrics, judged = run.sink.of("evaluation")[0]["metrics"], run.sink.of("held_out_rows")[0]
    assert metrics["loss"] == pytest.approx(np.average(judged["losses"], weights=judged["labels"]), rel=1e-4)
    assert metrics["perplexity"] == pytest.approx(np.exp(metrics["loss"]), rel=1e-6)
    # The same rows, so their own means are the same: only what they count differs.
    unweighted = plain.sink.of("held_out_rows")[0]
    if task in ("pretraining", "masked_lm"):
        assert judged["losses"] == pytest.approx(unweighted["losses"], rel=1e-5)
        shares = [one / other for one, other in zip(judged["labels"], unweighted["labels"], strict=True)]
        assert shares == pytest.approx([(1, 0.5, 3)[row % 3] for row in range(60, 67)])
