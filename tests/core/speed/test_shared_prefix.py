"""Common beginnings that are computed once: the same loss and gradients, and nothing leaks between rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.ways import ExampleRows, batches, shares_exactly, summed_loss, token_losses
from tui_tuner.compute import attention, shared_prefix
from tui_tuner.compute.forward import ForwardWay, MicroBatch, MicroSize, lay_flat_row
from tui_tuner.compute.randomness import find_randomness

PLAIN = ForwardWay(packing=True, compact=True, segments=True)
SHARED = ForwardWay(packing=True, compact=True, segments=True, shared=True)


class SomeRows(ExampleRows):
    """Rows given as (tokens, index of the first trained one)."""

    def __init__(self, rows: list[tuple[list[int], int]]) -> None:
        self.ids = [np.array(ids, dtype=np.int32) for ids, _ in rows]
        self.trained = [np.arange(len(ids)) >= first for ids, first in rows]
        self.lengths = np.array([len(ids) for ids, _ in rows])

    def __len__(self) -> int:
        return len(self.lengths)

    def masked(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.ids[index], self.trained[index]


def two_prompts(prefixes: tuple[int, ...] = (40, 25), own: tuple[int, ...] = (9, 30, 2, 17)) -> SomeRows:
    """Rows under two system prompts, and one under none."""
    generator = np.random.default_rng(3)
    rows = []
    for length in prefixes:
        head = generator.integers(3, 300, length).tolist()
        for rest in own:
            rows.append((head + generator.integers(3, 300, rest).tolist(), length + rest // 2))
    rows.append((generator.integers(3, 300, 20).tolist(), 11))
    return SomeRows(rows)


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    attention.register_attention()
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
    model.set_attn_implementation(attention.NAME)
    return model


def gradients(model: Any, micro: MicroBatch, path: ForwardWay) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = summed_loss(model, micro, path) / micro.trained_tokens
    loss.backward()
    return float(loss.detach()), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


def same(model: Any, data: SomeRows) -> None:
    rows = list(range(len(data)))
    plain, shared = lay_flat_row(data, rows), shared_prefix.lay_shared(data, rows)
    assert shared.layout is not None
    assert shared.input_ids.shape[1] < plain.input_ids.shape[1]
    assert shared.trained_tokens == plain.trained_tokens
    expected, wanted = gradients(model, plain, PLAIN)
    found, given_ = gradients(model, shared, SHARED)
    assert found == pytest.approx(expected, abs=1e-6)
    for name, gradient in wanted.items():
        torch.testing.assert_close(given_[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_loss_and_gradients_are_those_of_whole_sequences(tiny_model: Path) -> None:
    same(load(tiny_model), two_prompts())


def test_a_sliding_window_reaches_into_the_prefix(tiny_tokenizer: Any) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(1)
    attention.register_attention()
    config = MistralConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=12,
    )
    config._attn_implementation = "sdpa"
    model = MistralForCausalLM(config)
    model.set_attn_implementation(attention.NAME)
    same(model, two_prompts())


def test_checkpointed_layers_see_the_prefix_again(tiny_model: Path) -> None:
    from tui_tuner.compute.gradient_checkpointing import checkpoint_layers

    model = load(tiny_model).train()
    data = two_prompts()
    shared = shared_prefix.lay_shared(data, range(len(data)))
    expected, wanted = gradients(model, shared, SHARED)
    checkpoint_layers(model)
    found, again = gradients(model, shared, SHARED)
    assert found == pytest.approx(expected, abs=1e-6)
    for name, gradient in wanted.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_rows_that_share_do_not_see_each_other(tiny_model: Path) -> None:
    model = load(tiny_model).eval()
    data = two_prompts()
    with torch.no_grad():
        micro = shared_prefix.lay_shared(data, [0, 1, 3])
        before = token_losses(model, micro, SHARED)
        data.ids[1][40:] = (data.ids[1][40:] + 7) % 290 + 3
        again = shared_prefix.lay_shared(data, [0, 1, 3])
        after = token_losses(model, again, SHARED)
    assert again.layout is not None

    def parts(micro: MicroBatch, losses: torch.Tensor) -> dict[int, torch.Tensor]:
        counts = [int(data.trained[row][1:].sum()) for row in micro.rows]
        return dict(zip(micro.rows, losses.split(counts), strict=True))

    old, new = parts(micro, before), parts(again, after)
    torch.testing.assert_close(old[0], new[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(old[3], new[3], atol=1e-6, rtol=0)
    assert (old[1] - new[1]).abs().max() > 0.01


TOKENS = st.lists(st.integers(1, 3), min_size=2, max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TOKENS, st.integers(0, 60)), min_size=1, max_size=12), st.integers(0, 50))
def test_every_target_is_laid_out_once_and_after_its_own_row(
    rows: list[tuple[list[int], int]], head: int
) -> None:
    data = SomeRows([([7] * head + ids, head + first) for ids, first in rows])
    everything = list(range(len(data)))
    found = shared_prefix.group_by_prefix(data, everything)
    assert sorted(row for group in found for row in group.rows) == everything
    for group in found:
        first = data.ids[group.rows[0]][: group.prefix].tolist()
        for row in group.rows:
            assert data.ids[row][: group.prefix].tolist() == first
            assert len(data.ids[row]) > group.prefix
            assert not data.trained[row][1 : group.prefix + 1].any()
    micro = shared_prefix.lay_shared(data, everything)
    expected = [token for row in micro.rows for token in data.ids[row][1:][data.trained[row][1:]].tolist()]
    assert micro.targets.tolist() == expected
    places = micro.keep[0].nonzero()[:, 0]
    assert len(places) == len(expected)
    assert micro.input_ids[0][places + 1].tolist() == expected


def test_rows_without_a_common_beginning_stay_plain() -> None:
    generator = np.random.default_rng(0)
    rows = SomeRows([(generator.integers(3, 300, 50).tolist(), 20) for _ in range(6)])
    assert shared_prefix.lay_shared(rows, range(6)).layout is None
    assert shared_prefix.measure_prefix_saving(rows, [[0, 3, 4], [1, 2, 5]]) == 0
    data = two_prompts()
    assert shared_prefix.measure_prefix_saving(data, [range(len(data))]) == pytest.approx(
        (3 * 40 + 3 * 25) / data.lengths.sum()
    )


def test_micro_batches_of_a_step_share_each_for_itself(tiny_model: Path) -> None:
    data = two_prompts()
    rows = list(range(len(data)))
    parts = batches(data, rows, MicroSize(4, 150), SHARED)
    assert len(parts) > 1
    assert sorted(row for part in parts for row in part.rows) == rows
    model = load(tiny_model).eval()
    with torch.no_grad():
        total = sum(float(summed_loss(model, part, SHARED)) for part in parts)
        assert total == pytest.approx(float(summed_loss(model, lay_flat_row(data, rows), PLAIN)), rel=1e-5)


def test_the_check_tells_a_model_that_looks_at_its_neighbours(tiny_model: Path) -> None:
    model = load(tiny_model)
    data = two_prompts()
    assert shares_exactly(model, data, [0, 1, 3], PLAIN)

    inner = model.model.layers[0].forward

    def mixes(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return inner(hidden + 0.5 * hidden.roll(1, dims=1), *args, **kwargs)

    model.model.layers[0].forward = mixes
    assert not shares_exactly(model, data, [0, 1, 3], PLAIN)


def test_noise_of_one_row_is_never_shared_with_another(tiny_model: Path) -> None:
    model = load(tiny_model)
    assert not find_randomness(model).anything
    model.config.attention_dropout = 0.1
    assert find_randomness(model).anything


def test_a_run_shares_by_itself_and_says_so(make_config: Any, train: Any, tmp_path: Path) -> None:
    from tests.conftest import chat_rows, write_jsonl

    system = {"role": "system", "content": "Describe clothes in one warm sentence. " * 3}
    rows = [{"messages": [system, *row["messages"]]} for row in chat_rows()]
    path = str(write_jsonl(tmp_path / "system.jsonl", rows))
    run = train(make_config(data__path=path, training__micro_batch=4))
    assert run.outcome.status == "completed"
    said = [event["message"] for event in run.sink.of("log") if "share a prefix" in event["message"]]
    assert len(said) == 1
