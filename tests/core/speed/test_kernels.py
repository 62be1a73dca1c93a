"""Kernels in the place of a model's parts: numbers, weights and all other models stay what they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma3TextConfig,
    GlmConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Phi3Config,
    PhiConfig,
    Qwen3Config,
)

from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
from tui_tuner.compute.kernels import gated_product, liger, norm, rotary
from tui_tuner.compute.kernels.install import install_kernels
from tui_tuner.compute.kernels.probe import list_probed_formats
from tui_tuner.compute.kernels.steps import RotaryKind
from tui_tuner.models.device import Device

GPU = Device("cuda", capability=(9, 0))
CPU = torch.device("cpu")
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 61}
SIZES |= {"num_attention_heads": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
KEYS = {"num_key_value_heads": 2}
LLAMA = LlamaConfig(**SIZES, **KEYS)
# configs, with how many norms, rotations and gated layers of theirs are replaced
MODELS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "llama": (LLAMA, (5, 2, 2)),
    "qwen3": (Qwen3Config(**SIZES, **KEYS, head_dim=8), (9, 2, 2)),
    "gemma3": (Gemma3TextConfig(**SIZES, **KEYS, head_dim=8), (13, 2, 2)),
    "phi3": (Phi3Config(**SIZES, **KEYS, partial_rotary_factor=0.5), (5, 2, 2)),
    "phi": (PhiConfig(**SIZES), (0, 2, 0)),  # splits a head before it calls its rotation
    "glm": (GlmConfig(**SIZES, **KEYS, head_dim=8), (5, 2, 2)),  # rotates neighbours
    "cohere": (CohereConfig(**SIZES, **KEYS), (0, 2, 2)),
    "mixtral": (MixtralConfig(**SIZES, **KEYS, num_local_experts=4), (5, 2, 0)),
}


def made(config: Any, method: str = "full", dtype: Any = torch.float32) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # where a norm begins, its weight says nothing
                parameter.add_(torch.randn(parameter.shape) * 0.3)
    if method == "lora":
        settings = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, settings)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.2)
    return model.train()


IDS = torch.randint(3, 61, (2, 17), generator=torch.Generator().manual_seed(1))


def step(model: Any, autocast: Any = None) -> dict[str, Any]:
    """Loss and gradients of a batch."""
    ids = IDS
    model.zero_grad()
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    return {"loss": loss.detach(), **found}


def apart(found: dict[str, Any], truth: dict[str, Any]) -> float:
    """The largest relative difference of loss and gradients."""
    assert found.keys() == truth.keys()
    assert all(found[name].dtype == truth[name].dtype for name in truth)
    largest = max(float(one.norm()) for one in truth.values())
    return max(
        float((found[name] - truth[name]).norm() / max(float(truth[name].norm()), largest * 1e-3))
        for name in truth
    )


def replaced(model: Any) -> int:
    return sum("forward" in module.__dict__ for module in model.modules())


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradients_stay_the_same(name: str, method: str) -> None:
    config, expected = MODELS[name]
    model = made(config, method)
    truth = step(model)
    chosen = install_kernels(model, GPU, torch.bfloat16)
    assert tuple(one.layers for one in chosen) == expected
    assert replaced(model) == sum(expected)
    assert apart(step(model), truth) < 1e-5


@pytest.mark.parametrize("name", ["llama", "gemma3", "phi3"])
def test_in_16_bits_they_are_as_exact_as_the_model_itself(name: str) -> None:
    """The distance to float32 does not grow, with 16-bit weights and with float32 ones under autocast."""
    exact = step(made(MODELS[name][0]))
    for dtype, autocast in ((torch.bfloat16, None), (torch.float32, torch.bfloat16)):
        model = made(MODELS[name][0], dtype=dtype)
        stock = {key: one.float() for key, one in step(model, autocast).items()}
        install_kernels(model, GPU, autocast)
        assert replaced(model)
        ours = {key: one.float() for key, one in step(model, autocast).items()}
        assert apart(ours, exact) < 1.5 * apart(stock, exact) + 1e-3


def test_nothing_is_replaced_where_there_is_nothing_to_gain() -> None:
    model = made(GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2))
    chosen = install_kernels(model, GPU)
    assert [one.layers for one in chosen] == [0, 0, 0] and replaced(model) == 0
    assert all(one.why for one in chosen)


def test_a_processor_computes_as_before() -> None:
    model = made(LLAMA)
    state = torch.get_rng_state()
    assert install_kernels(model, Device("cpu")) == [] and replaced(model) == 0
    assert install_kernels(model, GPU)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_copies_and_other_models_are_untouched() -> None:
    model, other = made(LLAMA, "lora"), made(LLAMA, "lora")
    before = {name: one.clone() for name, one in model.state_dict().items()}
    truth = step(model)
    install_kernels(model, GPU)
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert replaced(other) == 0 and apart(step(other), truth) == 0
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if "norm" in name or "lora_B" in name:
                parameter.zero_()
    assert apart(step(model), truth) < 1e-5
    assert float(step(twin)["loss"]) != pytest.approx(float(truth["loss"]), abs=1e-4)
    for module in model.modules():
        module.__dict__.pop("forward", None)
    assert replaced(model) == 0 and apart(step(model), truth) == 0


def test_generation_merging_and_checkpointing() -> None:
    model = made(LLAMA, "lora").eval()
    ids = torch.randint(3, 61, (1, 5), generator=torch.Generator().manual_seed(2))
    written = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
    truth = step(model.train())
    install_kernels(model, GPU)
    assert torch.equal(model.eval().generate(input_ids=ids, max_new_tokens=8, do_sample=False), written)
    checkpoint_layers(model.train(), True)
    assert apart(step(model), truth) < 1e-5
    merged = model.merge_and_unload()
    assert float(merged(input_ids=IDS, labels=IDS).loss) == pytest.approx(float(truth["loss"]), abs=1e-4)


def test_with_checkpointing_nothing_is_computed_twice_for_memory() -> None:
    """Without Liger a gated product only saves memory, which a checkpointed layer frees anyway."""
    model = made(LLAMA)
    chosen = install_kernels(model, GPU, checkpointed=True)
    assert {one.part: one.layers for one in chosen} == {"norm": 5, "rotary": 2, "mlp": 0}


def kept(model: Any) -> int:
    """Elements that a forward pass keeps for the backward pass, beside weights."""
    weights = {one.untyped_storage().data_ptr() for one in model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes() // 4
        return tensor

    ids = torch.arange(3, 43)[None]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one):
        held = model(input_ids=ids, use_cache=False).logits
    del held
    return sum(seen.values())


def test_less_is_kept_for_the_way_back() -> None:
    """At least the activation and a normed input a norm."""
    model, tokens = made(LLAMA), 40
    before = kept(model)
    install_kernels(model, GPU)
    assert before - kept(model) >= 2 * tokens * (SIZES["intermediate_size"] + 2 * SIZES["hidden_size"])


# ---- what only looks alike is left alone ------------------------------------------------------------------


class Norm(nn.Module):
    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(32)), eps

    def forward(self, x: Any) -> Any:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


class Centred(Norm):
    def forward(self, x: Any) -> Any:
        return super().forward(x - x.mean(-1, keepdim=True))


class OtherEps(Norm):
    def forward(self, x: Any) -> Any:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 3 * self.eps)


class HalfWeight(Norm):
    def forward(self, x: Any) -> Any:
        return super().forward(x) - 0.5 * self.weight * x.detach()


@pytest.mark.parametrize(("kind", "same"), [(Norm, True), (Centred, False), (OtherEps, False)])
def test_norms_are_told_apart(kind: type, same: bool) -> None:
    module = kind()
    assert norm.looks_like_norm(module)
    found = norm.find_norm_kind(module, CPU, list_probed_formats([torch.float32], None))
    assert (found is not None) is same
    assert torch.equal(module.weight, torch.ones(32))


def test_a_gradient_that_differs_is_enough() -> None:
    assert norm.find_norm_kind(HalfWeight(), CPU, list_probed_formats([torch.float32], None)) is None


class Feed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.act = nn.SiLU()

    def forward(self, x: Any) -> Any:
        return self.b(self.a(x) * self.act(self.c(x)))


class Clipped(Feed):
    def forward(self, x: Any) -> Any:
        return self.b(self.a(x).clamp(max=1.0) * self.act(self.c(x)))


class Twice(Feed):
    def forward(self, x: Any) -> Any:
        return super().forward(2 * x)


def test_gated_layers_are_known_by_what_they_compute() -> None:
    numbers = list_probed_formats([torch.bfloat16], torch.bfloat16)
    found = gated_product.find_gated_kind(Feed(), CPU, numbers, fast=False)
    assert found == gated_product.GatedKind("c", "a", "b", "silu")
    assert gated_product.find_gated_kind(Clipped(), CPU, numbers, fast=False) is None
    assert gated_product.find_gated_kind(Twice(), CPU, numbers, fast=False) is None


def backwards(q: Any, k: Any, cos: Any, sin: Any) -> Any:
    """Turns the other way."""

    def half(x: Any) -> Any:
        first, second = x.chunk(2, dim=-1)
        return torch.cat((second, -first), dim=-1)

    cos, sin = cos[:, None], sin[:, None]
    return q * cos + half(q) * sin, k * cos + half(k) * sin


def test_a_rotation_the_other_way_is_left_alone() -> None:
    assert rotary.prove_rotation(backwards, 8, 8, CPU, list_probed_formats([], None), fast=False) is None


# ---- Liger's operations, by what stands for them without a GPU --------------------------------------------


@pytest.mark.parametrize("width", [8, 4])
def test_what_liger_rotates(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 5, 4, 8, generator=generator).transpose(1, 2).requires_grad_()
    key = torch.randn(2, 5, 2, 8, generator=generator).transpose(1, 2).requires_grad_()
    angles = torch.randn(1, 5, width // 2, generator=generator).repeat(1, 1, 2)
    results = []
    for fast in (False, True):
        out = rotary.Rotation.apply(query, key, angles.cos(), angles.sin(), RotaryKind(), fast)
        results.append([*out, *torch.autograd.grad([one.pow(3).sum() for one in out], (query, key))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("activation", liger.ACTIVATIONS)
def test_what_liger_multiplies(activation: str) -> None:
    gate, up = (torch.randn(3, 7, requires_grad=True) for _unused in range(2))
    results = []
    for fast in (False, True):
        out = gated_product.GatedProduct.apply(gate, up, activation, fast)
        results.append([out, *torch.autograd.grad(out.pow(3).sum(), (gate, up))])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_operations_keep_what_they_promise() -> None:
    """Their results have the shapes that tensors without data get, and no input is changed."""
    x, weight, scale = torch.randn(2, 3, 8), torch.randn(8), torch.rand(2, 3, 1)
    heads, keys, cos = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 3, 8), torch.randn(1, 3, 8)
    ours = torch.ops.tui_tuner
    for operation, arguments in (
        (ours.rms_norm, (x, weight, 1e-6)),
        (ours.rms_norm, (x.bfloat16(), None, 1e-6)),
        (ours.rms_norm_backward, (x, x, scale, weight)),
        (ours.rms_norm_trained_backward, (x, x, scale, weight)),
        (ours.liger_rotate, (heads, keys, cos, cos, True)),
        (ours.liger_gated, (x, x.clone(), "silu")),
        (ours.liger_gated_backward, (x, x.clone(), x.clone(), "silu")),
    ):
        torch.library.opcheck(operation.default, arguments, test_utils=("test_schema", "test_faketensor"))
