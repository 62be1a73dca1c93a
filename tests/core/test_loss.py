"""The loss and its gradients, against a plain padded forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.core.ways import ExampleRows, batches, check_ways, summed_loss, token_losses
from tui_tuner.compute import attention
from tui_tuner.compute.forward import ForwardWay, MicroSize, lay_flat_row, lay_padded_rows

FAST = ForwardWay(packing=True, compact=True, segments=True)


class SomeRows(ExampleRows):
    """Random rows of unequal length whose last part is trained."""

    def __init__(self, lengths: list[int], vocabulary: int, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.lengths = np.array(lengths)
        self.ids = [generator.integers(3, vocabulary, length).astype(np.int32) for length in lengths]
        self.trained = [np.arange(length) >= length // 2 for length in lengths]

    def __len__(self) -> int:
        return len(self.lengths)

    def masked(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.ids[index], self.trained[index]


def load(folder: Path, attention_name: str = attention.NAME) -> Any:
    from transformers import AutoModelForCausalLM

    attention.register_attention()
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
    model.set_attn_implementation(attention_name)
    return model


@pytest.fixture
def rows(tiny_tokenizer: Any) -> SomeRows:
    return SomeRows([17, 5, 40, 9, 23, 31, 2], len(tiny_tokenizer))


def padded(data: SomeRows, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention mask and labels as Hugging Face has them."""
    longest = max(data.lengths[row] for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for line, row in enumerate(rows):
        tokens, trained = data.masked(row)
        ids[line, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        mask[line, : len(tokens)] = 1
        labels[line, : len(tokens)] = torch.where(torch.from_numpy(trained), ids[line, : len(tokens)], -100)
    return ids, mask, labels


def plain_loss(model: Any, data: SomeRows, rows: list[int]) -> torch.Tensor:
    """Hugging Face's own way: padded rows, an attention mask, labels of -100, every position's logits."""
    ids, mask, labels = padded(data, rows)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    targets = labels[:, 1:]
    total = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    return total / (targets != -100).sum()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize(
    "path",
    [
        FAST,
        ForwardWay(packing=True, compact=False, segments=True),
        ForwardWay(packing=True, compact=True, segments=False),
        ForwardWay(packing=False, compact=True, segments=False),
    ],
    ids=["fast", "full logits", "stock attention", "padded"],
)
@pytest.mark.parametrize("size", [MicroSize(7, 1000), MicroSize(2, 45), MicroSize(1, 1)])
def test_loss_and_gradients_equal_the_plain_padded_forward(
    tiny_model: Path, rows: SomeRows, path: ForwardWay, size: MicroSize
) -> None:
    everything = list(range(len(rows)))
    plain = load(tiny_model, "sdpa")
    expected = plain_loss(plain, rows, everything)
    expected.backward()
    wanted = gradients(plain)

    model = load(tiny_model, attention.NAME if path.segments else "sdpa")
    parts = batches(rows, everything, size, path)
    assert sorted(row for part in parts for row in part.rows) == everything
    targets = sum(part.trained_tokens for part in parts)
    total = torch.zeros(())
    for part in parts:
        loss = summed_loss(model, part, path) / targets
        loss.backward()
        total += loss.detach()

    torch.testing.assert_close(total, expected.detach(), atol=1e-5, rtol=1e-5)
    found = gradients(model)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_sequences_of_a_row_do_not_see_each_other(tiny_model: Path, rows: SomeRows) -> None:
    model = load(tiny_model).eval()
    with torch.no_grad():
        before = token_losses(model, lay_flat_row(rows, [0, 2, 5]), FAST)
        rows.ids[2] = (rows.ids[2] + 7) % 300 + 3
        after = token_losses(model, lay_flat_row(rows, [0, 2, 5]), FAST)
    counts = [int(rows.trained[row][1:].sum()) for row in (0, 2, 5)]
    first, middle, last = before.split(counts)
    new_first, new_middle, new_last = after.split(counts)
    torch.testing.assert_close(first, new_first, atol=1e-6, rtol=0)
    torch.testing.assert_close(last, new_last, atol=1e-6, rtol=0)
    assert (middle - new_middle).abs().max() > 0.01


def test_targets_are_the_trained_tokens_and_never_a_first_one(rows: SomeRows) -> None:
    rows.trained[1][:] = True
    for micro in (lay_flat_row(rows, [1, 3]), lay_padded_rows(rows, [1, 3], 0)):
        expected = np.concatenate([rows.ids[1][1:], rows.ids[3][rows.trained[3]]])
        assert micro.targets.tolist() == expected.tolist()
        assert micro.trained_tokens == int(micro.keep.sum())


def test_a_sliding_window_holds_inside_each_sequence(tiny_tokenizer: Any) -> None:
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
        sliding_window=8,
    )
    config._attn_implementation = "sdpa"
    model = MistralForCausalLM(config)
    rows = SomeRows([30, 6, 21], len(tiny_tokenizer))
    expected = plain_loss(model, rows, [0, 1, 2])
    model.set_attn_implementation(attention.NAME)
    micro = lay_flat_row(rows, [0, 1, 2])
    found = summed_loss(model, micro, FAST) / micro.trained_tokens
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_self_check_keeps_the_fast_path_where_it_is_exact(tiny_model: Path, rows: SomeRows) -> None:
    model = load(tiny_model, "sdpa")
    found = check_ways(model, rows, [1, 0, 3, 2], FAST)
    assert found.way == FAST
    assert found.problem == ""


def test_self_check_falls_back_for_a_model_that_ignores_positions(tiny_tokenizer: Any) -> None:
    """Learned absolute positions, counted from the row's beginning whatever `position_ids` says."""
    from transformers import GPT2Config, GPT2LMHeadModel

    attention.register_attention()
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tiny_tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=128)
    config._attn_implementation = "sdpa"
    model = GPT2LMHeadModel(config).eval()
    rows = SomeRows([17, 5, 40, 9], len(tiny_tokenizer))
    honest = check_ways(model, rows, [1, 0, 3, 2], FAST)
    assert honest.way == FAST, honest.problem

    inner = model.transformer.forward

    def without_positions(*args: Any, **kwargs: Any) -> Any:
        kwargs.pop("position_ids", None)
        return inner(*args, **kwargs)

    model.transformer.forward = without_positions
    found = check_ways(model, rows, [1, 0, 3, 2], FAST)
    assert not found.way.packing
    assert "differs" in found.problem
    expected = plain_loss(model, rows, [0, 2])
    micro = lay_padded_rows(rows, [0, 2], 0)
    torch.testing.assert_close(summed_loss(model, micro, found.way) / micro.trained_tokens, expected)


def test_self_check_falls_back_where_logits_cannot_be_chosen(tiny_model: Path, rows: SomeRows) -> None:
    model = load(tiny_model, "sdpa")
    inner = model.forward

    def every_position(*args: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    model.forward = every_position
    found = check_ways(model, rows, [1, 0, 3, 2], FAST)
    assert found.way.packing
    assert not found.way.compact
    assert found.problem


def test_checkpointed_layers_give_the_same_gradients(tiny_model: Path, rows: SomeRows) -> None:
    from tui_tuner.compute.gradient_checkpointing import checkpoint_layers

    plain, model = load(tiny_model), load(tiny_model)
    checkpoint_layers(model)
    model.train()
    micro = lay_flat_row(rows, [0, 2, 3])
    summed_loss(plain, micro, FAST).backward()
    summed_loss(model, micro, FAST).backward()
    wanted, found = gradients(plain), gradients(model)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_checkpointing_keeps_nothing_of_frozen_layers(tiny_model: Path, rows: SomeRows) -> None:
    from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
    from tui_tuner.methods.layers import find_layers

    model = load(tiny_model)
    layers = list(find_layers(model))
    model.requires_grad_(False)
    layers[-1].requires_grad_(True)
    checkpoint_layers(model)
    model.train()
    asking = []
    for layer in layers:
        layer.register_forward_hook(lambda _module, _inputs, output: asking.append(output.requires_grad))
    summed_loss(model, lay_flat_row(rows, [0, 2]), FAST).backward()
    assert asking == [False] * (len(layers) - 1) + [True]
    assert all(parameter.grad is not None for parameter in layers[-1].parameters())


def test_embedding_noise_is_scaled_by_each_sequence(tiny_model: Path, rows: SomeRows) -> None:
    from tui_tuner.compute.noise import EmbeddingNoise

    model = load(tiny_model).train()
    embeddings = model.get_input_embeddings()
    micro = lay_flat_row(rows, [2, 1])
    quiet = embeddings(micro.input_ids)
    noise = EmbeddingNoise(model, alpha=5.0)
    noise.micro = micro
    difference = (embeddings(micro.input_ids) - quiet).abs()[0]
    for part, length in zip(difference.split(micro.lengths), micro.lengths, strict=True):
        bound = 5.0 / (length * quiet.shape[-1]) ** 0.5
        assert bound * 0.8 < float(part.max()) <= bound + 1e-6
    model.eval()
    assert torch.equal(embeddings(micro.input_ids), quiet)
