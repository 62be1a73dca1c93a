"""LoRA layers as one step of autograd, and short attention as matrix products: the numbers stay the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from tui_tuner.compute import attention, low_rank

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 61}
LLAMA = LlamaConfig(**SIZES, num_attention_heads=4, num_key_value_heads=2)
WITH_BIAS = Qwen2Config(**SIZES, num_attention_heads=4, num_key_value_heads=4)


def adapted(config: Any, seed: int = 0, **settings: Any) -> Any:
    """A small random model with LoRA matrices that are not zero."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    options = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    model = get_peft_model(model, LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model


def loss_and_gradients(
    model: Any, dtype: Any = None, ids: Any = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Of a training step."""
    torch.manual_seed(1)
    ids = torch.randint(0, 61, (3, 19)) if ids is None else ids
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.detach(), found


@pytest.mark.parametrize("config", [LLAMA, WITH_BIAS], ids=["llama", "bias"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_gradients_are_those_of_peft(config: Any, checkpointing: bool) -> None:
    model = adapted(config)
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    truth, expected = loss_and_gradients(model)
    assert low_rank.count_quick_lora(low_rank.quicken_lora(model)) == 14
    found, gradients = loss_and_gradients(model)
    assert abs(found - truth) < 1e-5
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, expected[name], atol=1e-5, rtol=1e-4), name


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_autocast_stays_within_the_rounding_of_16_bits(weights: Any) -> None:
    model = adapted(LLAMA)
    exact, expected = loss_and_gradients(model)
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.to(weights)
    stock, rounded = loss_and_gradients(model, torch.bfloat16)
    assert low_rank.count_quick_lora(low_rank.quicken_lora(model)) == 14
    found, gradients = loss_and_gradients(model, torch.bfloat16)
    assert abs(found - exact) <= max(0.02, 2 * float(abs(stock - exact)))
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        apart = (rounded[name] - expected[name]).norm()
        assert (gradient - expected[name]).norm() <= 1.5 * apart + 1e-3 * expected[name].norm(), name


def test_nothing_is_changed_by_trying_it() -> None:
    model = adapted(LLAMA)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    low_rank.quicken_lora(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_other_layers_are_left_to_peft(settings: dict[str, Any]) -> None:
    assert low_rank.count_quick_lora(low_rank.quicken_lora(adapted(LLAMA, **settings))) == 0


def test_transposed_weights_are_left_to_peft() -> None:
    model = adapted(GPT2Config(n_embd=32, n_head=4, n_layer=1, vocab_size=61), fan_in_fan_out=True)
    assert low_rank.count_quick_lora(low_rank.quicken_lora(model)) == 0


def test_a_layer_that_computes_something_else_is_left_to_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = Linear.forward
    monkeypatch.setattr(Linear, "forward", lambda self, x: stock(self, x) * 1.01)
    assert low_rank.count_quick_lora(low_rank.quicken_lora(adapted(LLAMA))) == 0


def test_adapters_switched_off_or_merged_are_honoured() -> None:
    model = adapted(LLAMA)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        base, tuned = model.base_model.model, model(ids).logits
        low_rank.quicken_lora(model)
        assert torch.allclose(model(ids).logits, tuned, atol=1e-5)
        with model.disable_adapter():
            assert (base(ids).logits - tuned).abs().max() > 1e-3
        model.merge_adapter()
        assert torch.allclose(model(ids).logits, tuned, atol=1e-4)
        model.unmerge_adapter()
        assert torch.allclose(model(ids).logits, tuned, atol=1e-4)


def test_a_model_may_change_what_a_layer_returns() -> None:
    """Mixtures add the experts' output to that of a shared layer in place."""
    model = adapted(LLAMA)
    layer = model.base_model.model.model.layers[0].mlp.down_proj
    x = torch.randn(2, 5, layer.in_features, generator=torch.Generator().manual_seed(0))
    found = []
    for quickened in (False, True):
        if quickened:
            assert low_rank.count_quick_lora(low_rank.quicken_lora(model))
        layer(x).add_(1.0).square().sum().backward()
        found.append([p.grad.clone() for p in layer.parameters() if p.requires_grad])
        model.zero_grad()
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("prefix", [0, 7])
def test_short_attention_is_attention(key_heads: int, prefix: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(1, 33, 4, 16).transpose(1, 2).requires_grad_()
    key, value = (torch.randn(1, 33 + prefix, key_heads, 16).transpose(1, 2).requires_grad_() for _ in "kv")
    mask = torch.full((33, 33 + prefix), -torch.inf).triu(prefix + 1)
    truth = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True)
    found = attention.attend_by_products(query, key, value, mask, 0.3)
    assert torch.allclose(found, truth, atol=1e-5)
    above = torch.randn_like(truth)
    for one, other in zip(
        torch.autograd.grad(found, (query, key, value), above),
        torch.autograd.grad(truth, (query, key, value), above),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-5)


def test_short_attention_in_16_bits_is_as_near_the_truth_as_the_fused_kernel() -> None:
    torch.manual_seed(0)
    exact = [torch.randn(1, 4, 64, 16) * 3 for _ in range(3)]
    half = [tensor.bfloat16() for tensor in exact]
    truth = scaled_dot_product_attention(*(tensor.double() for tensor in half), is_causal=True)
    fused = scaled_dot_product_attention(*half, is_causal=True)
    assert attention.is_short_stretch(half[0], half[1], 0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention.attend_by_products(*half, attention.make_causal_bias(64), None)
    assert found.dtype == torch.bfloat16
    assert (found - truth).norm() <= 1.1 * (fused - truth).norm()


def test_long_or_full_precision_stretches_use_the_fused_kernel() -> None:
    short, long = torch.zeros(1, 1, 256, 8), torch.zeros(1, 1, 257, 8)
    assert not attention.is_short_stretch(short, short, 0.0)
    assert attention.is_short_stretch(short.bfloat16(), short.bfloat16(), 0.0)
    assert not attention.is_short_stretch(long.bfloat16(), long.bfloat16(), 0.0)
    assert not attention.is_short_stretch(short.bfloat16(), short.bfloat16(), 0.1)
