"""Floating-point operations: by hand, for all kinds of models and methods, and as torch counts them."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tui_tuner.config.schema import RunConfig
from tui_tuner.methods import attach
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import count_run_work
from tui_tuner.planning.flops import Segment, count_flops, find_peak_flops, list_layer_windows
from tui_tuner.planning.gpus import Card, find_gpu_card, make_gpu_card
from tui_tuner.planning.hardware import Gpu

SHAPE = {
    "model_type": "llama",
    "hidden_size": 48,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 160,
    "tie_word_embeddings": False,
}
LAYER = 48 * 48 * 2 + 2 * 48 * 24 + 3 * 48 * 96  # weights of one layer
PAIR = 4 * 48  # operations for a pair of positions, forward


def method(kind="lora", **more):
    return RunConfig.model_validate({"method": {"kind": kind, **more}}).method


def cost(kind="lora", shape=SHAPE, stored=0, **more):
    return count_flops(read_config_facts(shape), method(kind, **more), stored=stored)


def adapter(rank=16):
    sides = [(48, 48), (48, 24), (48, 24), (48, 48), (48, 96), (48, 96), (96, 48)]
    return sum(rank * (into + out) for into, out in sides)


BY_HAND = [
    ("full", {}, 6 * 6 * LAYER, 6, 6 * 3 * PAIR),
    ("lora", {}, 6 * (4 * LAYER + 6 * adapter()), 4, 6 * 3 * PAIR),
    ("dora", {}, 6 * (4 * LAYER + 6 * adapter()), 4, 6 * 3 * PAIR),
    ("lora", {"rank": 4}, 6 * (4 * LAYER + 6 * adapter(4)), 4, 6 * 3 * PAIR),
    ("lora", {"targets": ["q_proj"]}, 6 * (4 * LAYER + 6 * 16 * 96), 4, 6 * 3 * PAIR),
    ("lora", {"layers": 2}, 4 * 2 * LAYER + 2 * (4 * LAYER + 6 * adapter()), 4, 4 * PAIR + 2 * 3 * PAIR),
    (
        "lora",
        {"layers": 2, "train_embeddings": True},
        4 * 4 * LAYER + 2 * (4 * LAYER + 6 * adapter()),
        6,
        6 * 3 * PAIR,
    ),
    ("freeze", {"layers": 1}, 5 * 2 * LAYER + 6 * LAYER, 4, 5 * PAIR + 3 * PAIR),
    ("loha", {}, 6 * 6 * LAYER, 4, 6 * 3 * PAIR),
    ("vera", {}, 6 * 4 * (LAYER + adapter()), 4, 6 * 3 * PAIR),
    ("ia3", {}, 6 * 4 * LAYER, 4, 6 * 3 * PAIR),
    ("prompt_tuning", {}, 6 * 4 * LAYER, 4, 6 * 3 * PAIR),
]


@pytest.mark.parametrize(("kind", "fields", "token", "head", "pair"), BY_HAND)
def test_a_token_a_target_and_a_pair_by_hand(kind, fields, token, head, pair):
    found = cost(kind, **fields)
    assert found.token == pytest.approx(token)
    assert found.target == head * 160 * 48
    assert found.pairs == {None: pair}


def test_a_step_adds_up_its_sequences():
    found = cost("full")
    assert found.count_step([10, 30], 12) == pytest.approx(
        40 * found.token + 12 * found.target + 18 * PAIR * (10 * 10 / 2 + 30 * 30 / 2)
    )
    assert found.count_step([], 0) == 0


def test_a_shared_beginning_is_computed_once():
    found = cost()
    apart, shared = [100, 100, 100], [Segment(80), *[Segment(20, before=80)] * 3]
    saved = found.count_step(apart, 9) - found.count_step(shared, 9)
    pairs = 3 * 100 * 100 / 2 - (80 * 80 / 2 + 3 * (20 * 80 + 20 * 20 / 2))
    assert saved == pytest.approx(160 * found.token + pairs * found.pairs[None])


def test_virtual_tokens_lengthen_a_sequence_and_prefixes_only_what_it_sees():
    prompt, prefix, plain = (
        cost("prompt_tuning", virtual_tokens=8),
        cost("prefix_tuning", virtual_tokens=8),
        cost("ia3"),
    )
    assert prompt.count_step([32, 10], 5) == plain.count_step([40, 18], 5)
    extra = prefix.count_step([32], 5) - plain.count_step([32], 5)
    assert extra == pytest.approx(32 * 8 * plain.pairs[None])


def test_layers_whose_output_is_stored_cost_nothing():
    whole, stored = cost("lora", layers=2), cost("lora", layers=2, stored=4)
    assert whole.token - stored.token == 4 * 2 * LAYER
    assert stored.count_recomputed([10], True) == whole.count_recomputed([10], True)


def test_checkpointing_repeats_the_forward_pass_where_gradients_go():
    found = cost("full")
    assert found.count_recomputed([10], True) == pytest.approx(found.count_step([10], 0) / 3)
    assert found.count_recomputed([10], "offload") == 2 * found.count_recomputed([10], "every_second")
    assert found.count_recomputed([10], False) == found.count_recomputed([10], "auto") == 0
    top = cost("freeze", layers=1)
    assert top.count_recomputed([10], True) == pytest.approx(10 * 2 * LAYER + 50 * PAIR)


MIXTURE = {**SHAPE, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}


def test_of_a_mixture_the_experts_that_are_asked_count():
    found = cost("full", MIXTURE)
    attention = 48 * 48 * 2 + 2 * 48 * 24
    assert found.token == pytest.approx(6 * 6 * (attention + 48 * 8 + 2 * 3 * 48 * 96))


def test_layers_of_a_mixture_without_experts_are_where_the_config_says():
    shape = {
        **SHAPE, "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2,
        "moe_intermediate_size": 32, "mlp_only_layers": [0, 3], "head_dim": 12,
    }  # fmt: skip
    facts = read_config_facts(shape)
    assert facts.dense_places == (0, 3)
    attention = 48 * 48 * 2 + 2 * 48 * 24
    dense, sparse = 3 * 48 * 96, 48 * 4 + 2 * 3 * 48 * 32
    assert cost("full", shape).token == pytest.approx(6 * (6 * attention + 2 * dense + 4 * sparse))
    # backward passes the top two layers only, of which none is dense
    top = cost("freeze", shape, layers=2)
    assert top.token == pytest.approx(
        2 * (6 * attention + 2 * dense + 4 * sparse) + 4 * 2 * (attention + sparse)
    )


WINDOWS = [
    ({"model_type": "llama"}, [None] * 6),
    ({"model_type": "mistral", "sliding_window": 4}, [4] * 6),
    ({"model_type": "mistral", "sliding_window": None}, [None] * 6),
    ({"model_type": "gemma2", "sliding_window": 4}, [4, None] * 3),
    ({"model_type": "gemma3_text", "sliding_window": 4}, [4] * 5 + [None]),
    ({"model_type": "gemma3_text", "sliding_window": 4, "sliding_window_pattern": 3}, [4, 4, None] * 2),
    ({"model_type": "qwen2", "sliding_window": 4}, [None] * 6),
    ({"model_type": "qwen2", "sliding_window": 4, "use_sliding_window": False}, [None] * 6),
    (
        {"model_type": "qwen2", "sliding_window": 4, "use_sliding_window": True, "max_window_layers": 4},
        [None] * 4 + [4] * 2,
    ),
    (
        {
            "model_type": "qwen3",
            "sliding_window": 4,
            "layer_types": ["full_attention", "sliding_attention"] * 3,
        },
        [None, 4] * 3,
    ),
]


@pytest.mark.parametrize(("shape", "windows"), WINDOWS)
def test_windows_of_layers(shape, windows):
    assert list_layer_windows(read_config_facts({**SHAPE, **shape})) == windows


@pytest.mark.parametrize("window", [1, 4, 9, 10, 11, 50])
@pytest.mark.parametrize(("tokens", "before"), [(10, 0), (10, 3), (3, 40), (40, 3)])
def test_a_window_caps_what_a_position_sees(window, tokens, before):
    found = cost("full", {**SHAPE, "model_type": "mistral", "sliding_window": window})
    pairs = found._count_pairs(tokens, before, window)
    places = (before + (place + 0.5) for place in range(tokens))  # half of its own position is seen
    assert pairs == pytest.approx(sum(min(place, window) for place in places), abs=0.5)


def test_an_encoder_reads_both_ways():
    shape = {k: v for k, v in SHAPE.items() if k not in ("num_key_value_heads", "tie_word_embeddings")}
    found = cost("full", {**shape, "model_type": "bert"})
    assert found.count_step([10], 0) - 10 * found.token == pytest.approx(10 * 10 * 18 * PAIR)


@pytest.mark.parametrize("kind", ["full", "lora", "freeze"])
@pytest.mark.parametrize("tied", [False, True])
def test_torch_counts_the_same_in_a_real_step(kind, tied):
    """It counts all pairs of positions, and no input gradient of the first matrices beside an adapter."""
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {**SHAPE, "tie_word_embeddings": tied, "attn_implementation": "eager"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape), attn_implementation="eager")
    layers = {"layers": 2} if kind == "freeze" else {}
    config = RunConfig.model_validate({"method": {"kind": kind, **layers}})
    model = attach(model, config)
    length, rows, targets = 24, 3, 31
    ids = torch.randint(0, 160, (rows, length))
    counter = FlopCounterMode(display=False)
    with counter:
        hidden = model.get_base_model().model(ids)[0] if kind == "lora" else model.model(ids)[0]
        head = model.get_output_embeddings()
        head(hidden.reshape(-1, 48)[:targets]).float().logsumexp(-1).sum().backward()
    found = count_flops(read_config_facts(shape), config.method)
    expected = found.count_step([length] * rows, targets) + rows * length**2 / 2 * sum(found.pairs.values())
    if kind == "lora":  # elsewhere the embeddings, or the norm before the lowest trained layer, ask for it
        expected -= rows * length * 2 * (48 * 48 + 2 * 48 * 24 + 16 * 3 * 48)
    assert counter.get_total_flops() == pytest.approx(
        expected, rel=0.004
    )  # rotary positions are a product too


def test_the_plan_counts_the_same():
    data = DataFacts(rows=100, tokens=5_000, supervised=2_000)
    asked = {"model": {"name": "any"}, "training": {"epochs": 1, "batch_size": 10}}
    facts = read_config_facts(SHAPE)
    for kind in ("full", "lora", "prompt_tuning"):
        for checkpointing in (False, True, "every_second"):
            asked["training"]["gradient_checkpointing"] = checkpointing
            config = RunConfig.model_validate({**asked, "method": {"kind": kind}})
            found = count_flops(facts, config.method)
            expected = found.count_step([50] * 100, 2_000)
            expected += found.count_recomputed([50] * 100, checkpointing)
            assert count_run_work(config, facts, data).flops == pytest.approx(expected)


def test_eight_billion_weights_as_everybody_counts_them():
    facts = read_config_facts(find_catalog_config("meta-llama/Llama-3.1-8B"), "8b")
    lora, full = count_flops(facts, method()), count_flops(facts, method("full"))
    assert full.count_step([256] * 16, 4096) == pytest.approx(6 * 7.5e9 * 4096, rel=0.02)
    assert lora.count_step([256] * 16, 4096) == pytest.approx(4 * 7.5e9 * 4096, rel=0.02)


@pytest.mark.parametrize(
    ("name", "total", "card", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 79.2, "H100", 989),
        ("NVIDIA H100 PCIe", 79.2, "H100", 756),
        ("NVIDIA H100 NVL", 93.1, "H100", 835),
        ("NVIDIA H200", 140.0, "H200", 989),
        ("NVIDIA A100-SXM4-80GB", 79.3, "A100-80", 312),
        ("NVIDIA A100-SXM4-40GB", 39.5, "A100-40", 312),
        ("Tesla V100-SXM2-32GB", 31.7, "V100-32", 125),
        ("Tesla V100-PCIE-16GB", 15.8, "V100-16", 112),
        ("Tesla T4", 14.6, "T4", 65),
        ("NVIDIA L4", 22.0, "L4", 121),
        ("NVIDIA L40", 44.5, "L40S", 181),
        ("NVIDIA L40S", 44.5, "L40S", 362),
        ("NVIDIA GeForce RTX 4090", 23.6, "RTX 4090", 165),
        ("NVIDIA RTX 6000 Ada Generation", 47.5, "RTX 6000 Ada", 364),
        ("NVIDIA B200", 178.0, "B200", 2250),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9.8, "", 0),
        ("NVIDIA H20", 96.0, "", 0),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 15.7, "", 0),
        ("NVIDIA GeForce MX150", 2.0, "", 0),
    ],
)
def test_the_names_that_drivers_give(name, total, card, tflops):
    found = make_gpu_card(Gpu(0, name, total, total, (9, 0)))
    assert (found.name, found.total, found.tflops) == (name, total, tflops)
    if card:
        assert found.bandwidth == find_gpu_card(card).bandwidth


PEAKS = [
    ("H100", "bfloat16", False, 989e12),
    ("H100", "float16", False, 989e12),
    ("H100", "float32", False, None),
    ("H100", "float32", True, 494.5e12),
    ("T4", "float16", False, 65e12),
    ("T4", "bfloat16", False, None),
    ("T4", "float32", True, None),
    ("24GiB", "bfloat16", False, None),
]


@pytest.mark.parametrize(("card", "dtype", "tf32", "peak"), PEAKS)
def test_peaks_that_a_data_sheet_tells(card, dtype, tf32, peak):
    assert find_peak_flops(find_gpu_card(card), dtype, tf32) == peak


def test_a_processor_has_no_peak():
    assert find_peak_flops(Card("RAM", 16, 16, 0, 0, 0, (0, 0), cpu=True), "bfloat16") is None
