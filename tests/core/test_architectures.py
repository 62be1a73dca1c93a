"""The way to the loss that is chosen for each kind of model is exact."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest
import torch

from tests.core.test_loss import FAST, SomeRows
from tests.core.ways import check_ways, summed_loss
from tui_tuner.compute import attention
from tui_tuner.compute.forward import ForwardWay, lay_flat_row, lay_padded_rows

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "qwen3": ({}, True),
    "gpt2": ({}, True),
    "gpt_neox": ({}, True),
    "phi3": ({}, True),
    "gemma3_text": ({"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}, True),
    "gemma2": ({"sliding_window": 8}, True),
    "qwen3_moe": (EXPERTS, True),
    "llama4_text": ({"attention_chunk_size": 8, "num_local_experts": 2}, True),
    "lfm2": ({"layer_types": ["conv", "full_attention"]}, False),
    "mamba": ({}, False),
    "rwkv": ({"attention_hidden_size": 64}, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_way_is_exact(kind: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    attention.register_attention()
    torch.manual_seed(0)
    more, packs = KINDS[kind]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SHAPE, **more)).eval()
    rows = SomeRows([17, 5, 40, 9], 300)
    found = check_ways(model, rows, [1, 0, 3, 2], FAST)
    assert found.exact
    if kind == "llama4_text" and metadata.version("transformers") < "5.23":
        packs = found.way.packing  # older versions count its chunks over a whole row
    assert found.way.packing == packs, found.problem
    assert bool(found.problem) == (found.way != FAST)
    with torch.no_grad():
        single = ForwardWay(packing=False, compact=False, segments=False)
        truth = sum(summed_loss(model, lay_padded_rows(rows, [row], 0), single) for row in range(4))
        together = lay_flat_row(rows, range(4)) if packs else lay_padded_rows(rows, list(range(4)), 0)
        assert float(summed_loss(model, together, found.way)) == pytest.approx(float(truth), abs=1e-4)
