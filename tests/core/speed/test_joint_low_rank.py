"""LoRA layers as a GPU computes them, on a processor: peft's own numbers, whatever is done to them."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from tests.core.speed.test_low_rank import loss_and_gradients as step
from tui_tuner.compute import low_rank
from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
from tui_tuner.compute.low_rank.lora_choice import JOINT, ONE
from tui_tuner.models.device import Device

GPU = Device("cuda", capability=(9, 0))
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 61}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA = LlamaConfig(**SIZES, **HEADS)
MODELS = {
    "llama": (LLAMA, 10, 4),
    "qwen2": (Qwen2Config(**SIZES, **HEADS), 10, 4),
    "qwen3": (Qwen3Config(**SIZES, **HEADS, head_dim=8), 10, 4),
    "gemma3": (Gemma3TextConfig(**SIZES, **HEADS, head_dim=8, tie_word_embeddings=True), 10, 4),
    "phi3": (Phi3Config(**SIZES, **HEADS, pad_token_id=0), 0, 8),
    "gpt2": (GPT2Config(n_embd=32, n_head=4, n_layer=2, vocab_size=61), 0, 8),
    "gpt_neox": (GPTNeoXConfig(**SIZES, num_attention_heads=4), 0, 8),
}
BITS = ["4-bit", "8-bit"]


def adapted(config: Any = LLAMA, quantised: str = "", **settings: Any) -> Any:
    """A small random model with LoRA matrices that are not zero."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    if quantised:
        model = quantise(model, quantised)
    options = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | settings
    options["fan_in_fan_out"] = config.model_type == "gpt2"
    model = get_peft_model(model, LoraConfig(**options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model.train()


def quantise(model: Any, kind: str) -> Any:
    """Its linear layers in bitsandbytes' own 4 or 8 bits, as transformers loads them."""
    from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt

    for name, module in list(model.named_modules()):
        if type(module) is not torch.nn.Linear or name == "lm_head":
            continue
        sizes, bias = (module.in_features, module.out_features), module.bias is not None
        if kind == "4-bit":
            new: Any = Linear4bit(*sizes, bias=bias, compute_dtype=torch.bfloat16, quant_type="nf4")
            new.load_state_dict(module.state_dict())
            new = new.to("cpu")
        else:
            new = Linear8bitLt(*sizes, bias=bias, has_fp16_weights=False, threshold=6.0)
            new.weight = Int8Params(module.weight.data, requires_grad=False, has_fp16_weights=False).to("cpu")
            new.bias = module.bias
        new.requires_grad_(False)
        model.set_submodule(name, new)
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = kind == "4-bit", kind == "8-bit"
    return model


def assert_same(one: Any, other: Any, most: float = 1e-4) -> None:
    assert abs(one[0] - other[0]) < 1e-5
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        assert (gradient - other[1][name]).norm() <= most * other[1][name].norm() + 1e-7, name


def in_halves(model: Any) -> Any:
    for name, parameter in model.named_parameters():
        if "lora_" not in name and parameter.dtype == torch.float32:
            parameter.data = parameter.data.bfloat16()
    return model


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers each step of autograd computed."""
    seen: list[int] = []
    inner = low_rank.joint.LoraGroup.compute_outputs
    monkeypatch.setattr(
        low_rank.joint.LoraGroup,
        "compute_outputs",
        lambda self, *args: seen.append(len(self.members)) or inner(self, *args),
    )
    return seen


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", MODELS)
def test_every_family_computes_what_peft_does(name: str, dropout: float) -> None:
    config, joint, single = MODELS[name]
    model = adapted(config, lora_dropout=dropout, use_rslora=True)
    truth = step(model)
    chosen = low_rank.quicken_lora(model, GPU)
    assert [one.layers for one in chosen] == [count for count in (joint, single) if count]
    assert_same(step(model), truth)


@pytest.mark.parametrize("quantised", ["", *BITS])
def test_16_bits_are_as_near_the_truth_as_peft(quantised: str) -> None:
    model = adapted(quantised=quantised, lora_dropout=0.0)
    exact = step(model) if not quantised else None
    model = in_halves(model)
    stock = step(model, torch.bfloat16)
    assert low_rank.count_quick_lora(low_rank.quicken_lora(model, GPU)) == 14
    found = step(model, torch.bfloat16)
    assert abs(found[0] - stock[0]) < 0.02
    for name, gradient in found[1].items():
        assert gradient.dtype == torch.float32
        if exact:
            apart = (stock[1][name] - exact[1][name]).norm()
            assert (gradient - exact[1][name]).norm() <= 1.5 * apart + 1e-3 * exact[1][name].norm(), name
        else:
            assert (gradient - stock[1][name]).norm() <= 0.25 * stock[1][name].norm(), name


@pytest.mark.parametrize("quantised", BITS)
def test_quantised_layers_are_exact_in_float32(quantised: str) -> None:
    model = adapted(quantised=quantised)
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32
    truth = step(model)
    chosen = low_rank.quicken_lora(model, GPU)
    assert [(one.kernel, one.layers) for one in chosen] == [(JOINT, 10), (ONE, 4)]
    assert_same(step(model), truth)


def test_nothing_but_the_input_is_kept_of_a_layer() -> None:
    """And nothing dequantised: what autograd holds is x, the product of A, and what is there anyway."""
    model = in_halves(adapted(quantised="4-bit"))
    low_rank.quicken_lora(model, GPU)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    attention = model.base_model.model.model.layers[0].self_attn
    sizes: list[int] = []

    def note(tensor: Any) -> Any:
        if tensor.untyped_storage().data_ptr() not in own:
            sizes.append(tensor.numel())
        return tensor

    x = torch.randn(2, 5, 32, dtype=torch.bfloat16, requires_grad=True)
    shadowed = attention.q_proj.forward
    assert shadowed.func.__self__.group.members[0].layer is attention.q_proj
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(note, note):
        group = shadowed.func.__self__.group
        group.compute_outputs(x, torch.bfloat16)
    assert sorted(sizes) == [10 * 12, 10 * 32]  # x, and 3 x 4 numbers a token


@pytest.mark.parametrize(
    ("degree", "dropout", "quantised"),
    [(True, 0.0, ""), (True, 0.2, ""), ("every_second", 0.2, ""), (True, 0.2, "4-bit"), (True, 0.0, "8-bit")],
)
def test_checkpointing_computes_the_same_again(
    degree: Any, dropout: float, quantised: str, products: list[int]
) -> None:
    model = adapted(quantised=quantised, lora_dropout=dropout)
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32
    checkpoint_layers(model, degree)
    truth = step(model)
    low_rank.quicken_lora(model, GPU)
    products.clear()
    assert_same(step(model), truth)
    again = 2 if degree is True else 1
    assert products.count(3) == products.count(2) == 2 + again
    assert_same(step(model), truth)


def changed(model: Any, how: str) -> None:
    """Change every LoRA matrix in one of the ways that there are."""
    trained = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        if how == "in place":
            for one in trained:
                one.mul_(1.5)
        elif how == "past autograd":
            for one in trained:
                one.data.mul_(1.5)
        elif how == "moved":
            for one in trained:
                one.data = one.data * 1.5
        elif how == "loaded":
            model.load_state_dict(
                {name: p * 1.5 for name, p in model.named_parameters() if p.requires_grad}, strict=False
            )
        elif how == "replaced":
            for module in model.modules():
                if type(module) is torch.nn.Linear and module.weight.requires_grad:
                    module.weight = torch.nn.Parameter(module.weight * 1.5)
        else:
            optimizer = torch.optim.AdamW(trained, lr=0.1, fused=how == "fused")
            for one in trained:
                one.grad = torch.full_like(one, 0.5)
            optimizer.step()
            model.zero_grad()


@pytest.mark.parametrize(
    "how", ["in place", "past autograd", "moved", "loaded", "replaced", "optimizer", "fused"]
)
def test_changed_matrices_are_seen(how: str) -> None:
    """Twice, in a pass of the model and in a layer's own: copies in 16 bits are never older than they."""
    quick, plain = in_halves(adapted()), in_halves(adapted())
    low_rank.quicken_lora(quick, GPU)
    layer = "base_model.model.model.layers.1.mlp.down_proj"
    x = torch.randn(3, 48, dtype=torch.bfloat16)
    for _unused in range(2):
        found, truth = step(quick, torch.bfloat16), step(plain, torch.bfloat16)
        assert abs(found[0] - truth[0]) < 5e-3
        for model in (quick, plain):
            changed(model, how)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            one, other = quick.get_submodule(layer)(x), plain.get_submodule(layer)(x)
        assert (one - other).norm() < 0.02 * other.norm()


def test_a_change_between_the_passes_is_told_as_with_peft() -> None:
    model = in_halves(adapted())
    low_rank.quicken_lora(model, GPU)
    ids = torch.arange(12)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    changed(model, "in place")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_layer_that_is_computed_again_sees_what_peft_sees() -> None:
    """Checkpointing keeps no matrix, so nobody complains of a change: the new ones are used."""
    found = []
    for quick in (False, True):
        model = in_halves(adapted())
        checkpoint_layers(model)
        if quick:
            low_rank.quicken_lora(model, GPU)
        ids = torch.arange(12)[None]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        changed(model, "in place")
        loss.backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        assert (found[1][name] - gradient).norm() <= 0.1 * gradient.norm(), name


def test_two_passes_before_a_way_back() -> None:
    """As where rows share a beginning: copies that are made anew leave the first pass as it was."""
    model = in_halves(adapted())
    low_rank.quicken_lora(model, GPU)
    ids = [torch.arange(start, start + 12)[None] for start in (0, 20)]
    apart = [step(model, torch.bfloat16, one) for one in ids]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = [model(input_ids=one, labels=one).loss for one in ids]
    sum(losses).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            whole = apart[0][1][name] + apart[1][1][name]
            assert (parameter.grad - whole).norm() <= 1e-2 * whole.norm()


def test_a_failed_pass_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted()
    low_rank.quicken_lora(model, GPU)
    truth = step(model)
    made: list[Any] = []
    inner = low_rank.joint.LoraGroup.compute_outputs

    def note(self: Any, *args: Any) -> Any:
        out = inner(self, *args)
        made.extend(weakref.ref(one) for one in out)
        return out

    def fails(module: Any, args: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(low_rank.joint.LoraGroup, "compute_outputs", note)
    attention = model.base_model.model.model.layers[0].self_attn
    hook = attention.k_proj.register_forward_pre_hook(fails)
    with pytest.raises(MemoryError):
        step(model)
    hook.remove()
    gc.collect()
    assert len(made) == 3 and all(one() is None for one in made)
    assert_same(step(model), truth)


def test_a_pass_that_was_cut_off_leaves_no_old_copies() -> None:
    """No hook is called for what is no `Exception`: the next pass of the model begins all the same."""
    models = [in_halves(adapted()) for _unused in range(2)]
    for model in models:
        low_rank.quicken_lora(model, GPU)
        step(model, torch.bfloat16)

    def interrupt(module: Any, args: Any) -> None:
        raise KeyboardInterrupt

    hook = models[0].base_model.model.model.layers[1].mlp.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        step(models[0], torch.bfloat16)
    hook.remove()
    for _unused in range(2):
        for model in models:
            changed(model, "past autograd")
        found, truth = (step(model, torch.bfloat16) for model in models)
        assert found[0] == truth[0]
        assert all(torch.equal(found[1][name], gradient) for name, gradient in truth[1].items())


def test_only_that_very_tensor_is_taken(products: list[int]) -> None:
    """A module that gives its layers something else, or changes their input in between, gets it computed."""
    model = adapted()
    low_rank.quicken_lora(model, GPU)
    attention = model.base_model.model.model.layers[0].self_attn
    stock = [copy.copy(attention.k_proj)]
    del stock[0].__dict__["forward"]
    x = torch.randn(2, 3, 32)
    products.clear()

    class Other(torch.nn.Module):
        def forward(self, holder: Any, x: Any) -> Any:
            holder.q_proj(x)
            with torch.no_grad():
                x.add_(1.0)
            return holder.k_proj(x), holder.k_proj(x.clone())

    inner, attention.forward = attention.forward, lambda x: Other()(attention, x)
    found = attention(x)
    attention.forward = inner
    assert products == [3, 1, 1]
    for one in found:
        assert torch.allclose(one, stock[0](x), atol=1e-5)
    products.clear()
    attention.q_proj(x), attention.k_proj(x)  # by themselves: nobody would take the others' outputs
    assert products == [1, 1]


def test_threads_do_not_meet(products: list[int]) -> None:
    """One computes a whole pass while another is between two layers with the same input."""
    model = adapted().eval()
    low_rank.quicken_lora(model, GPU)
    ids = [torch.randint(0, 61, (1, 30), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    found: dict[int, Any] = {}

    def compute(place: int) -> None:
        with torch.no_grad():
            found[place] = model(ids[place]).logits

    compute(0), compute(1)
    truth, main = dict(found), threading.get_ident()

    def between(*_unused: Any) -> None:
        if threading.get_ident() == main:
            other = threading.Thread(target=compute, args=(1,))
            other.start()
            other.join()

    hook = model.base_model.model.model.layers[0].self_attn.q_proj.register_forward_hook(between)
    found.clear(), products.clear()
    compute(0)
    hook.remove()
    assert all(torch.allclose(found[place], truth[place], atol=1e-5) for place in (0, 1))
    assert sorted(products) == sorted([3, 1, 2, 1] * 4)  # both took what was computed for them


def test_generation_says_the_same() -> None:
    model = adapted().eval()
    ids = torch.arange(9)[None]
    truth = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
    assert low_rank.count_quick_lora(low_rank.quicken_lora(model, GPU)) == 14
    assert torch.equal(model.generate(input_ids=ids, max_new_tokens=8, do_sample=False), truth)


def test_adapters_switched_off_merged_or_joined_by_another() -> None:
    model, ids = adapted().eval(), torch.arange(20)[None]
    low_rank.quicken_lora(model, GPU)
    with torch.no_grad():
        tuned = model(ids).logits
        with model.disable_adapter():
            base = model(ids).logits
        assert (base - tuned).abs().max() > 1e-3
        model.merge_adapter()
        assert torch.allclose(model(ids).logits, tuned, atol=1e-4)
        model.unmerge_adapter()
        model.add_adapter("second", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
        assert torch.allclose(model(ids).logits, tuned, atol=1e-4)
        model.set_adapter("second")
        assert (model(ids).logits - tuned).abs().max() > 1e-3
        merged = model.merge_and_unload(adapter_names=["default"])
        assert torch.allclose(merged(ids).logits, tuned, atol=1e-4)


def test_a_copy_of_a_model_is_a_model_of_its_own() -> None:
    model = in_halves(adapted())
    low_rank.quicken_lora(model, GPU)
    truth = step(model, torch.bfloat16)
    other = copy.deepcopy(model)
    changed(model, "in place")
    step(model, torch.bfloat16)
    found = step(other, torch.bfloat16)
    assert abs(found[0] - truth[0]) < 1e-4


def test_quickening_twice_is_quickening_once() -> None:
    model = adapted()
    truth = step(model)
    first = low_rank.quicken_lora(model, GPU)
    assert low_rank.quicken_lora(model, GPU) == first
    assert_same(step(model), truth)


def test_a_compiled_region_is_one_graph_of_what_peft_does(products: list[int]) -> None:
    model = adapted()
    truth = step(model)
    low_rank.quicken_lora(model, GPU)
    products.clear()
    for layer in model.base_model.model.model.layers:
        layer.compile(backend="eager", fullgraph=True)
    assert_same(step(model), truth)
    assert not products
