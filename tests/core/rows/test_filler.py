"""Filler at the end of a row changes no loss, no gradient and no count, for any kind of model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.core import ways
from tests.core.attention.test_gpu_path import Card
from tests.core.kinds.test_router_loss import MIXTURES, mixture, models_own
from tests.core.speed import test_prefix_cache as states
from tests.core.speed.test_shared_prefix import two_prompts
from tests.core.test_architectures import EXPERTS, SHAPE
from tests.core.test_loss import FAST, SomeRows, gradients, load
from tui_tuner.compute import attention, shared_prefix
from tui_tuner.compute.attention.kernel_choice import Kernel
from tui_tuner.compute.forward import ForwardWay, MicroBatch, MicroSize, build_forward_inputs, lay_flat_row
from tui_tuner.compute.noise import EmbeddingNoise
from tui_tuner.compute.rows.filler import fill_row
from tui_tuner.compute.rows.row_layout import RowLayout

FILLED = replace(FAST, filled=True)
STOCK = replace(FAST, segments=False)
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "gpt2": {},
    "phi3": {},
    "olmo2": {},
    "mistral": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma2": {"sliding_window": 8},
    "qwen3_moe": EXPERTS,
}
LENGTHS = [17, 5, 40, 9]


def made(kind: str, **more: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_attention()
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SHAPE, **KINDS.get(kind, {}), **more})
    return AutoModelForCausalLM.from_config(config).train()


def computed(model: Any, micro: MicroBatch, way: ForwardWay) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    losses = ways.token_losses(model, micro, way)
    losses.sum().backward()
    return losses.detach(), gradients(model)


def assert_same(model: Any, one: MicroBatch, other: MicroBatch, way: ForwardWay) -> None:
    losses, found = computed(model, one, way)
    wanted_losses, wanted = computed(model, other, way)
    torch.testing.assert_close(losses, wanted_losses, atol=2e-6, rtol=1e-6)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-6 * float(gradient.abs().max()), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_the_row_alone(kind: str) -> None:
    model = made(kind, attention_dropout=0.0, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
    micro = lay_flat_row(SomeRows(LENGTHS, 300), range(4))
    filled = fill_row(micro, 160)  # more than the examples have: their beginnings come twice
    stock = model.config._attn_implementation
    capped = kind == "gemma2"  # no fused kernel caps scores: its rows keep the model's own attention
    for way in (STOCK,) if capped else (FAST, STOCK):
        model.set_attn_implementation(attention.NAME if way.segments else "eager" if capped else stock)
        assert_same(model, filled, micro, way)


def test_a_filled_row_counts_its_examples_only() -> None:
    rows = SomeRows(LENGTHS, 300)
    micro = lay_flat_row(rows, [2, 0, 1])
    filled = fill_row(micro, 128)
    assert filled.input_ids.shape == filled.position_ids.shape == filled.keep.shape == (1, 128)
    assert filled.example_tokens == 62 and filled.trained_tokens == micro.trained_tokens
    assert filled.lengths == micro.lengths and filled.rows == micro.rows
    assert filled.filler == [(2, 40), (0, 17), (1, 5), (2, 4)]
    assert filled.segment_lengths == [40, 17, 5, 40, 17, 5, 4] and sum(filled.segment_lengths) == 128
    assert torch.equal(filled.places, micro.places) and not filled.keep[:, 62:].any()
    starts = (filled.position_ids[0] == 0).nonzero().flatten().tolist()
    assert starts == [0, 40, 57, 62, 102, 119, 124]
    assert torch.equal(filled.input_ids[:, 62:124], micro.input_ids)
    assert fill_row(micro, 62) is micro and fill_row(micro, 10) is micro


@pytest.mark.parametrize("segments", [True, False])
def test_examples_and_filler_do_not_see_each_other(tiny_model: Path, segments: bool) -> None:
    model = load(tiny_model, attention.NAME if segments else "sdpa")
    way = replace(FAST, segments=segments)
    filled = fill_row(lay_flat_row(SomeRows(LENGTHS, 300), range(4)), 100)
    other = filled.input_ids.clone()
    other[:, 71:] = other[:, 71:].roll(1)
    changed = replace(filled, input_ids=other)
    with torch.no_grad():
        before = ways.token_losses(model, filled, way)
        assert torch.equal(ways.token_losses(model, changed, way), before)
        hidden = model(**forward_inputs(model, filled, way), output_hidden_states=True).hidden_states[-1]
        other[:, :71] = other[:, :71].roll(1)
        other[:, 71:] = filled.input_ids[:, 71:]
        moved = replace(filled, input_ids=other)
        again = model(**forward_inputs(model, moved, way), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(again[:, 71:], hidden[:, 71:], atol=1e-6, rtol=0)
    assert not torch.allclose(again[:, :71], hidden[:, :71])
    # what is computed for filler is what the examples it repeats have
    torch.testing.assert_close(hidden[:, 71:100], hidden[:, 22:51], atol=1e-5, rtol=0)


def forward_inputs(model: Any, micro: MicroBatch, way: ForwardWay) -> dict[str, Any]:
    return build_forward_inputs(model, micro, way) | {"use_cache": False}


def test_beginnings_that_are_shared_are_filled_too(tiny_model: Path) -> None:
    model = load(tiny_model).train()
    shared = shared_prefix.lay_shared(two_prompts(), range(9))
    assert shared.layout is not None
    filled = fill_row(shared, 256)
    assert sum(one.length for one in filled.layout.segments) == 256
    assert filled.layout.segments[-1].prefix == 0
    assert_same(model, filled, shared, replace(FAST, shared=True))


def test_stored_states_are_read_for_filler_too(tiny_model: Path, tmp_path: Path) -> None:
    model = states.load(tiny_model).train()
    rows = states.SomeRows([9, 30, 14, 6, 22])
    cache = states.filled(model, rows, tmp_path)
    try:
        for micro in (lay_flat_row(rows, [3, 1, 4]), shared_prefix.lay_shared(rows, [3, 1, 4])):
            filled = fill_row(micro, 160)
            ways.summed_loss(model, micro, FAST).backward()
            wanted = gradients(model)
            with cache.read_states(filled):
                ways.summed_loss(model, filled, FAST).backward()
            for name, gradient in gradients(model).items():
                torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-4)
    finally:
        cache.close()


def test_states_are_stored_from_filled_rows(tiny_model: Path, tmp_path: Path) -> None:
    from tui_tuner.compute.prefix_cache import PrefixCache, check_prefix_states

    model = states.load(tiny_model)
    rows = states.SomeRows([9, 30, 14, 6, 22])
    found = []
    for way in (FAST, FILLED):
        cache = PrefixCache(model, rows, way, torch.device("cpu"), states.frozen(model))
        cache.fill_store(tmp_path / str(way.filled), lambda done, total: None)
        assert not check_prefix_states(cache, [3, 0, 2], ways.token_losses)
        found.append(cache.store.clone())
        cache.close()
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_noise_knows_the_lengths_of_filler(tiny_model: Path) -> None:
    model = load(tiny_model).train()
    filled = fill_row(lay_flat_row(SomeRows(LENGTHS, 300), range(4)), 128)
    quiet = model.get_input_embeddings()(filled.input_ids)
    noise = EmbeddingNoise(model, alpha=5.0)
    noise.micro = filled
    difference = (model.get_input_embeddings()(filled.input_ids) - quiet).abs()[0]
    for part, length in zip(difference.split(filled.segment_lengths), filled.segment_lengths, strict=True):
        assert float(part.detach().max()) <= 5.0 / (length * quiet.shape[-1]) ** 0.5 + 1e-6


@pytest.mark.parametrize("kind", MIXTURES)
def test_the_routers_loss_looks_at_no_filler(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = mixture(kind)
    rows = SomeRows([17, 9, 23], 300)
    causal, _voice = ways.prepared(model, rows, [[0, 1, 2]], 200)
    model.train()
    expected = models_own(model, rows)
    expected.backward()
    wanted = gradients(model)
    causal.way = replace(causal.way, filled=True)
    causal.laying = RowLayout(0, 200)
    (micro,) = causal.lay_batches(rows, [0, 1, 2], MicroSize(3, 128))
    assert micro.input_ids.shape[1] == 64 and micro.filler
    masks: list[Any] = []

    def no_mask(*args: Any, **kwargs: Any) -> Any:
        masks.append(kwargs)

    monkeypatch.setattr("transformers.masking_utils.sdpa_mask", no_mask)
    loss = causal.sum_losses(model, micro) / micro.trained_tokens
    loss.backward()
    assert not masks  # of T x T places
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("kind", MIXTURES)
def test_a_run_that_fills_its_rows_keeps_the_routers_loss(
    kind: str, segments: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the model's own attention computes, nothing tells its router what is filler: there is none."""
    monkeypatch.setattr("tui_tuner.objectives.objective.fills_rows", lambda _device: True)
    monkeypatch.setattr("tui_tuner.compute.attention.replaces_attention", lambda *_args: segments)
    rows = SomeRows([17, 9, 23], 300)
    causal, voice = ways.prepared(mixture(kind), rows, [[0, 1, 2]], 200)
    assert causal.way.router and causal.way.segments == segments, voice.said
    assert causal.way.filled == segments and len(causal.way_state()) == 3 + segments
    (micro,) = causal.lay_batches(rows, [0, 1, 2], MicroSize(3, 128))
    assert bool(micro.filler) == segments


@pytest.mark.parametrize("packing", [True, False])
def test_the_check_before_the_first_step_sees_filled_rows(
    packing: bool, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = load(tiny_model), SomeRows(LENGTHS, 300)
    wanted = replace(FILLED, packing=packing, segments=packing)
    checker = ways.checker(model, rows, [1, 3, 0, 2])
    checker.laying = RowLayout(limit=64)
    micro = checker.lay_micro_batch(checker.rows, wanted)
    assert micro.input_ids.shape[-1] == (128 if packing else 40 + 8)
    assert ways.find_fastest_way(checker, wanted).way == wanted


def test_where_filler_is_not_exact_rows_are_as_long_as_they_are(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that reads the whole row, such as one with a norm over it."""
    model, rows = load(tiny_model), SomeRows(LENGTHS, 300)
    norm = model.model.norm

    def leak(_module: Any, inputs: Any, output: Any) -> Any:
        return output + 1e-2 * (inputs[0].shape[1] % 64 == 0)

    hook = norm.register_forward_hook(leak)
    found = ways.check_ways(model, rows, [1, 3, 0, 2], FILLED)
    hook.remove()
    assert found.way == FAST and found.exact and "differs" in found.problem


@pytest.mark.parametrize(
    ("state", "filled"),
    [((), True), ((True, True, True), False), ((True, True, True, True), True)],
    ids=["new", "begun without filler", "begun with it"],
)
def test_a_resumed_run_fills_its_rows_if_it_did(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, state: tuple[bool, ...], filled: bool
) -> None:
    monkeypatch.setattr("tui_tuner.objectives.objective.fills_rows", lambda _device: True)
    rows = SomeRows(LENGTHS, 300)
    causal, voice = ways.prepared(load(tiny_model), rows, [[0, 1, 2, 3]], 256, state=state, usual=[71, 71])
    assert causal.way == replace(FAST, filled=filled, virtual=causal.way.virtual)
    assert causal.way_state() == [True] * (3 + filled)
    (micro,) = causal.lay_batches(rows, range(4), MicroSize(4, 256))
    assert micro.input_ids.shape[1] == (128 if filled else 71)
    assert any("one of 4 lengths" in line and "44.5%" in line for line in voice.said) == filled
    causal.laying.share_beginnings(0.5)
    assert causal.laying.list_step_sizes(256) == (64, 128, 192, 256)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_an_encoder_sees_no_filler(kind: str) -> None:
    from transformers import AutoConfig, AutoModel

    attention.register_attention()
    torch.manual_seed(0)
    more = {"cls_token_id": 1, "sep_token_id": 2} if kind == "modernbert" else {}
    model = AutoModel.from_config(AutoConfig.for_model(kind, **{**SHAPE, **more})).eval()
    model.set_attn_implementation(attention.NAME)
    rows = SomeRows(LENGTHS, 300)
    micro = lay_flat_row(rows, range(4))
    with torch.no_grad():
        alone = [model(input_ids=torch.from_numpy(rows.ids[row]).long()[None])[0][0] for row in range(4)]
        found = model(**build_forward_inputs(model, fill_row(micro, 128), FAST))[0][0, :71]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_filled_rows_go_through_the_kernels_of_a_gpu(
    shared: bool, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_model).train()
    micro = (
        shared_prefix.lay_shared(two_prompts(), range(9)) if shared else lay_flat_row(two_prompts(), range(9))
    )
    assert (micro.layout is not None) == shared
    losses, wanted = computed(model, micro, FAST)
    card = Card(monkeypatch)
    filled = fill_row(micro, 384)
    found_losses, found = computed(model, filled, FAST)
    assert card.calls and Kernel.EACH not in card.calls
    torch.testing.assert_close(found_losses, losses, atol=2e-6, rtol=1e-6)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-6 * float(gradient.abs().max()), rtol=1e-5)
