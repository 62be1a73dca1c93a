"""Cross-entropy in chunks: the loss and the gradients of the plain way, where a head is only a head."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig, LlamaConfig, PhiConfig

from tests.core.ways import ExampleRows, summed_loss, with_chunks
from tui_tuner.compute import attention, chunked_loss
from tui_tuner.compute.forward import ForwardWay, lay_flat_row
from tui_tuner.methods.new_rows import quicken_new_rows

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 211}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
PATH = ForwardWay(packing=True, compact=True, segments=True)
CPU = torch.device("cpu")


class SomeRows(ExampleRows):
    def __init__(self, lengths: list[int]) -> None:
        generator = np.random.default_rng(0)
        self.lengths = np.array(lengths)
        self.ids = [generator.integers(3, 211, length).astype(np.int32) for length in lengths]

    def __len__(self) -> int:
        return len(self.lengths)

    def masked(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        length = int(self.lengths[index])
        return self.ids[index], np.arange(length) >= length // 3


ROWS = SomeRows([40, 9, 23, 31])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 7 positions, as if the vocabulary were large."""
    monkeypatch.setattr(chunked_loss, "count_chunk_rows", lambda vocabulary, device: 7)


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    attention.register_attention()
    model = AutoModelForCausalLM.from_config(config)
    model.set_attn_implementation(attention.NAME)
    return model.train()


def loss_and_gradients(model: Any, path: ForwardWay) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    micro = lay_flat_row(ROWS, [0, 1, 2, 3])
    loss = summed_loss(model, micro, path) / micro.trained_tokens
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.detach(), found


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("trained", ["all", "layers"])
def test_loss_and_gradients_are_the_plain_ones(tied: bool, trained: str) -> None:
    model = model_of(LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=tied))
    if trained == "layers":
        model.get_input_embeddings().requires_grad_(False)
        model.get_output_embeddings().requires_grad_(False)
    path = with_chunks(model, ROWS, [0, 1, 2], PATH, 100)
    assert path.chunked
    truth, expected = loss_and_gradients(model, PATH)
    found, gradients = loss_and_gradients(model, path)
    assert abs(found - truth) < 1e-5
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected[name], atol=1e-6, rtol=1e-4), name


def test_a_head_with_a_bias() -> None:
    model = model_of(PhiConfig(**SIZES, num_attention_heads=4))
    torch.nn.init.normal_(model.lm_head.bias)
    path = with_chunks(model, ROWS, [0, 1, 2], PATH, 100)
    assert path.chunked
    truth, expected = loss_and_gradients(model, PATH)
    found, gradients = loss_and_gradients(model, path)
    assert abs(found - truth) < 1e-5
    assert torch.allclose(gradients["lm_head.bias"], expected["lm_head.bias"], atol=1e-6)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_autocast_rounds_no_worse(weights: Any) -> None:
    model = model_of(LlamaConfig(**SIZES, **HEADS))
    exact, expected = loss_and_gradients(model, PATH)
    model.to(weights)
    half = ForwardWay(packing=True, compact=True, segments=True, autocast=torch.bfloat16)
    path = with_chunks(model, ROWS, [0, 1, 2], half, 100)
    assert path.chunked
    plain, rounded = loss_and_gradients(model, half)
    found, gradients = loss_and_gradients(model, path)
    assert abs(found - exact) <= abs(plain - exact) + 1e-3
    for name, gradient in gradients.items():
        assert gradient.dtype == weights
        apart = (rounded[name].float() - expected[name]).norm()
        assert (gradient.float() - expected[name]).norm() <= 1.3 * apart + 1e-6, name


def test_a_model_that_caps_its_logits_keeps_the_plain_way() -> None:
    """With weights so small that the cap cannot be seen in the loss yet, too."""
    config = Gemma2Config(**SIZES, **HEADS, head_dim=8, final_logit_softcapping=30.0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(1e-3)
    whole = ForwardWay(packing=True, compact=True, segments=False)
    assert not with_chunks(model, ROWS, [0, 1, 2], whole, 100).chunked


def test_a_model_that_scales_its_logits_may_have_chunks() -> None:
    model = model_of(GraniteConfig(**SIZES, **HEADS, logits_scaling=8.0, initializer_range=0.5))
    path = with_chunks(model, ROWS, [0, 1, 2], PATH, 100)
    assert path.chunked
    truth, expected = loss_and_gradients(model, PATH)
    found, gradients = loss_and_gradients(model, path)
    assert abs(found - truth) < 1e-5
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected[name], atol=1e-6, rtol=1e-4), name


def test_few_targets_and_other_heads_keep_the_plain_way() -> None:
    model = model_of(LlamaConfig(**SIZES, **HEADS))
    assert not with_chunks(model, ROWS, [0, 1, 2], PATH, 7).chunked
    model.lm_head = torch.nn.Sequential(model.lm_head)
    assert not with_chunks(model, ROWS, [0, 1, 2], PATH, 100).chunked


def test_logits_of_all_targets_never_exist() -> None:
    hidden, weight = torch.randn(700, 8, requires_grad=True), torch.randn(211, 8)
    targets = torch.randint(0, 211, (700,))
    largest = 0

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Largest():
        loss = chunked_loss.ChunkedLoss.apply(hidden, weight, None, targets, 7)
        loss.backward()
    assert largest == 700 * 8  # the gradient of the hidden states
    truth = cross_entropy(hidden @ weight.t(), targets, reduction="sum")
    assert abs(loss - truth) < 1e-2


@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_are_trained_alone_have_the_gradients_that_peft_computes(tied: bool) -> None:
    from peft import LoraConfig, get_peft_model

    model = model_of(LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=tied))
    rows = list(range(190, 205))
    names = ["embed_tokens"] if tied else ["embed_tokens", "lm_head"]
    model = get_peft_model(model, LoraConfig(r=2, trainable_token_indices={name: rows for name in names}))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "tokens_delta" in name:
                weight.add_(torch.randn_like(weight))
    loss, gradients = loss_and_gradients(model, PATH)
    assert chunked_loss.find_linear_head(model) is None, "peft's own layer copies the whole matrix"
    quicken_new_rows(model)
    for path in (PATH, with_chunks(model, ROWS, [0, 1, 2], PATH, 100)):
        quick, own = loss_and_gradients(model, path)
        assert torch.allclose(quick, loss, atol=1e-5)
        assert own.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert torch.allclose(own[name], gradient, atol=1e-5), name
    assert path.chunked
