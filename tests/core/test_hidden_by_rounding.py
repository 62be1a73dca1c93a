"""What 16 bits hide: ways that are wrong by a hundredth of a nat, or by less, are found in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from tests.core.test_loss import FAST, SomeRows
from tests.core.ways import check_ways, checker, objective, prepared, shares_exactly, summed_loss, with_chunks
from tui_tuner.compute import attention, low_rank, prefix_cache
from tui_tuner.compute.forward import ForwardWay, lay_flat_row, lay_padded_rows
from tui_tuner.compute.precision import compute_in_float32, computes_in_float32, find_float32_problem
from tui_tuner.compute.self_check import Checker, CheckResult, find_fastest_way

SINGLE = ForwardWay(packing=False, compact=False, segments=False)
ROWS = SomeRows([17, 5, 40, 9], 300)
ORDER = [1, 3, 0, 2]


def alibi(kind: str) -> Any:
    """A small random model whose attention is biased by distance."""
    from transformers import AutoModelForCausalLM, BloomConfig, FalconConfig, MptConfig

    attention.register_attention()
    torch.manual_seed(0)
    configs: dict[str, Callable[[], Any]] = {
        "bloom": lambda: BloomConfig(vocab_size=300, hidden_size=64, n_layer=2, n_head=4),
        "mpt": lambda: MptConfig(vocab_size=300, d_model=64, n_layers=2, n_heads=4, max_seq_len=128),
        "falcon": lambda: FalconConfig(
            vocab_size=300, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, alibi=True
        ),
    }
    return AutoModelForCausalLM.from_config(configs[kind]()).eval()


def llama(**more: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    attention.register_attention()
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, **more)).eval()
    model.set_attn_implementation("sdpa")
    return model


def halved(model: Any, held: str) -> tuple[Any, ForwardWay]:
    """A model that computes in 16 bits: by autocast over float32 weights, or because it is held in them."""
    if held == "autocast":
        return model, replace(FAST, autocast=torch.bfloat16)
    return model.to(torch.bfloat16), FAST


def in_16_bits(model: Any, rows: list[int], way: ForwardWay) -> float:
    """The error of a way in the run's own numbers, a token, against single rows in float32."""
    with torch.no_grad():
        with compute_in_float32(model):
            truth = sum(float(summed_loss(model, lay_padded_rows(ROWS, [row], 0), SINGLE)) for row in rows)
        micro = lay_flat_row(ROWS, rows) if way.packing else lay_padded_rows(ROWS, rows, 0)
        found = float(summed_loss(model, micro, way))
    return abs(found - truth) / micro.trained_tokens


@pytest.mark.parametrize("held", ["autocast", "weights"])
@pytest.mark.parametrize("kind", ["bloom", "mpt", "falcon"])
def test_a_bias_by_distance_is_never_lost(kind: str, held: str) -> None:
    model, wanted = halved(alibi(kind), held)
    found = check_ways(model, ROWS, ORDER, wanted)
    assert found.exact
    assert not found.unsure
    with torch.no_grad(), compute_in_float32(model):
        way = replace(found.way, autocast=None)
        truth = sum(float(summed_loss(model, lay_padded_rows(ROWS, [row], 0), SINGLE)) for row in ORDER)
        micro = lay_flat_row(ROWS, ORDER) if way.packing else lay_padded_rows(ROWS, ORDER, 0)
        assert float(summed_loss(model, micro, way)) == pytest.approx(truth, abs=1e-3)
    assert in_16_bits(model, ORDER, found.way) < 1e-2


@pytest.mark.parametrize("held", ["autocast", "weights"])
@pytest.mark.parametrize("kind", ["bloom", "mpt", "falcon"])
def test_a_bias_by_distance_shares_no_beginning_and_stores_no_wrong_states(kind: str, held: str) -> None:
    model, wanted = halved(alibi(kind), held)
    model.set_attn_implementation(attention.NAME) if kind != "mpt" else None
    if shares_exactly(model, ROWS, ORDER, wanted):  # then it must be so in float32
        with compute_in_float32(model):
            assert shares_exactly(model, ROWS, ORDER, FAST)


@pytest.mark.parametrize("held", ["autocast", "weights"])
def test_a_sound_model_keeps_its_fast_ways_in_16_bits(held: str) -> None:
    model, wanted = halved(llama(), held)
    found = check_ways(model, ROWS, ORDER, wanted)
    assert found == CheckResult(wanted)
    assert shares_exactly(model, ROWS, ORDER, wanted)
    assert with_chunks(model, ROWS, ORDER, wanted, 10_000_000).chunked


def off_by(model: Any, apart: float, when: Callable[[Any], bool]) -> None:
    """Let a model's logits of token 7 be too high by `apart` in calls of some kind."""
    inner = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        out = inner(*args, **kwargs)
        if when(kwargs):
            out.logits = out.logits + apart * torch.linspace(-3, 3, out.logits.shape[-1])
        return out

    model.forward = forward


@pytest.mark.parametrize("held", ["autocast", "weights"])
def test_flat_rows_that_are_wrong_by_a_hundredth_are_refused(held: str) -> None:
    model, wanted = halved(llama(), held)
    off_by(model, 0.01, lambda given: given.get("position_ids") is not None)
    found = check_ways(model, ROWS, ORDER, wanted)
    assert not found.way.packing
    assert "differs" in found.problem


@pytest.mark.parametrize("held", ["autocast", "weights"])
def test_a_gradient_that_is_wrong_by_a_hundredth_is_refused(held: str) -> None:
    model, wanted = halved(llama(), held)

    class Louder(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, hidden: Any) -> Any:
            return hidden.view_as(hidden)

        @staticmethod
        def backward(ctx: Any, *above: Any) -> Any:
            return above[0] * 1.01

    flat: list[bool] = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: flat.append(kwargs.get("position_ids") is not None), with_kwargs=True
    )
    model.model.layers[1].register_forward_hook(
        lambda module, args, out: Louder.apply(out) if flat[-1] else out
    )
    found = check_ways(model, ROWS, ORDER, wanted)
    assert not found.way.packing
    assert "gradient" in found.problem


@pytest.mark.parametrize("held", ["autocast", "weights"])
def test_a_shared_beginning_that_is_wrong_by_a_hundredth_is_refused(held: str) -> None:
    model, wanted = halved(llama(), held)
    model.set_attn_implementation(attention.NAME)
    off_by(model, 0.01, lambda given: given.get("segment_layout") is not None)
    assert not shares_exactly(model, ROWS, ORDER, wanted)


@pytest.mark.parametrize("held", ["autocast", "weights"])
def test_chunks_that_are_wrong_by_a_thousandth_are_refused(
    held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.compute import chunked_loss

    model, wanted = halved(llama(), held)
    inner = chunked_loss.sum_chunked_losses
    monkeypatch.setattr(chunked_loss, "sum_chunked_losses", lambda *args: inner(*args) * 1.001)
    assert not with_chunks(model, ROWS, ORDER, wanted, 10_000_000).chunked


@pytest.mark.parametrize("held", ["autocast", "weights"])
def test_a_gradient_of_chunks_that_is_wrong_is_refused(held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.compute import chunked_loss

    model, wanted = halved(llama(), held)
    inner = chunked_loss.ChunkedLoss.backward
    monkeypatch.setattr(
        chunked_loss.ChunkedLoss,
        "backward",
        staticmethod(lambda ctx, *above: inner(ctx, above[0] * 1.01)),
    )
    assert not with_chunks(model, ROWS, ORDER, wanted, 10_000_000).chunked


@pytest.mark.parametrize("held", ["autocast", "weights"])
def test_stored_states_that_lose_a_little_are_refused(held: str, tmp_path: Any) -> None:
    def kept(model: Any, way: ForwardWay) -> str:
        model.requires_grad_(False)
        model.model.layers[-1].requires_grad_(True)
        model.set_attn_implementation(attention.NAME)
        causal = objective(way)
        cache, problem = prefix_cache.make_prefix_cache(
            model, ROWS, way, torch.device("cpu"), tmp_path, ORDER, lambda *_: None, causal.compute_losses, 2
        )
        if cache is not None:
            cache.close()
        return problem

    assert not kept(*halved(llama(), held))
    model, way = halved(llama(), held)
    inner, seen = model.model.layers[2].forward, []
    model.model.layers[0].register_forward_hook(lambda module, args, out: seen.append(out))

    def looks_back(hidden: Any, *args: Any, **kwargs: Any) -> Any:
        back = seen[-1].float().mean()  # of the pass before, where the layers below were not computed
        return inner(hidden * (1 + 0.02 * len(seen) + back * 0), *args, **kwargs)

    model.model.layers[2].forward = looks_back
    assert "cannot be used" in kept(model, way)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_low_rank_products_that_are_wrong_by_a_hundredth_are_left_to_peft(
    weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model

    def adapted() -> Any:
        model = get_peft_model(llama().to(weights), LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
        return model

    assert low_rank.count_quick_lora(low_rank.quicken_lora(adapted())) == 6
    inner = low_rank.LowRankLinear.apply
    monkeypatch.setattr(low_rank.LowRankLinear, "apply", lambda *args: inner(*args) * 1.01)
    assert low_rank.count_quick_lora(low_rank.quicken_lora(adapted())) == 0


def test_float32_leaves_no_trace() -> None:
    model = llama().to(torch.bfloat16)
    model.lm_head.weight = model.model.embed_tokens.weight
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = {name: tensor.data_ptr() for name, tensor in model.named_parameters()}
    precision = torch.get_float32_matmul_precision()
    assert not computes_in_float32(model, None)
    with compute_in_float32(model):
        assert computes_in_float32(model, None)
        assert not computes_in_float32(model, torch.bfloat16)
    assert torch.get_float32_matmul_precision() == precision
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert places == {name: tensor.data_ptr() for name, tensor in model.named_parameters()}


def test_without_room_for_float32_the_bound_is_what_16_bits_round(monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.compute import precision

    monkeypatch.setattr(precision, "measure_free_memory", lambda device: 1000)
    model, wanted = halved(llama(), "weights")
    assert "not enough memory" in find_float32_problem(model, torch.device("cpu"))
    found = check_ways(model, ROWS, ORDER, wanted)
    assert found.way == wanted
    assert "not enough memory" in found.unsure
    one = checker(model, ROWS, ORDER)
    (reference,) = one.list_references(wanted)
    assert not reference.exact
    assert 0.002 <= reference.bounds.loss < 0.05  # of 0.1 before
    off_by(model, 0.05, lambda given: given.get("position_ids") is not None)
    assert not check_ways(model, ROWS, ORDER, wanted).way.packing


def test_an_attention_that_takes_16_bits_only_is_compared_in_them() -> None:
    model, wanted = halved(llama(), "weights")
    inner = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        if model.dtype == torch.float32:
            raise ValueError("only fp16 and bf16 are supported")
        return inner(*args, **kwargs)

    model.forward = forward
    found = check_ways(model, ROWS, ORDER, wanted)
    assert found.way == wanted
    assert "only fp16" in found.unsure


def test_memory_that_runs_out_in_float32_leaves_16_bits() -> None:

    model, _wanted = halved(llama(), "weights")
    inner = model.forward
    tried: list[tuple[bool, int]] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        full = model.dtype == torch.float32
        tried.append((full, kwargs["input_ids"].shape[1]))
        if full:
            raise torch.OutOfMemoryError("no more")
        return inner(*args, **kwargs)

    model.forward = forward
    causal, voice = prepared(model, ROWS, [ORDER], 100, "bfloat16")
    assert causal.way.packing
    assert any("16 bits" in line and "memory ran out" in line for line in voice.said)


def test_rows_alone_are_compared_by_every_objective_that_takes_padding() -> None:
    """The bound of 16 bits is measured with padded rows; an objective that refuses them gets the widest."""
    model, wanted = halved(llama(), "weights")
    causal = objective(wanted)

    def one_only(model: Any, micro: Any, way: ForwardWay) -> Any:
        if len(micro.lengths) > 1:
            raise ValueError("one example at a time")
        return causal.compute_plain_losses(model, micro, way)

    one = Checker(model, ROWS, ORDER, torch.device("cpu"), 0, causal.compute_losses, one_only, float32=False)
    found = find_fastest_way(one, wanted)
    assert found.way == wanted
    assert partial(np.isclose, 0.1)(one.list_references(wanted)[0].bounds.loss)
