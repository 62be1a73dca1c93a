"""What a training step would launch on a GPU: counted through tensors without data, and held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.speed.layer_costs import LIBRARIES, OURS, Kernels, compute_layer_cost

LLAMA = "meta-llama/Llama-3.1-8B"
LORA: dict[str, Any] = {"targets": frozenset(["all-linear"])}
QLORA = {**LORA, "quantization": "nf4"}
FULL = {"kind": "full", "whole_model": True, "rank": 0, "autocast": False}
CHECKPOINTING = {"checkpointing": True}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}

Count = Callable[[Setup, bool], Counter[str]]


def setup(name: str, **changes: Any) -> Setup:
    facts = read_config_facts(find_catalog_config(name) or GPT2, name)
    return Setup(facts, find_installed_stack(), 4, 1024, logits="supervised", **changes)


@pytest.mark.parametrize(
    ("changes", "launches", "casts", "products"),
    [
        (LORA, 232, 64, 56),
        ({**LORA, **CHECKPOINTING}, 322, 96, 76),
        (QLORA, 253, 36, 56),
        (FULL, 117, 8, 21),
    ],
)
def test_what_the_libraries_launch_as_they_are(
    layer_launches: Count, changes: dict[str, Any], launches: int, casts: int, products: int
) -> None:
    """transformers and peft alone: what all savings are measured against."""
    found = layer_launches(setup(LLAMA, **changes), False)
    assert (sum(found.values()), found["cast"], found["product"]) == (launches, casts, products)


@pytest.mark.parametrize(
    ("changes", "products"),
    [(LORA, 47), ({**LORA, **CHECKPOINTING}, 65), (QLORA, 47), ({**LORA, "dropout": 0.1}, 56)],
)
def test_lora_costs_no_casts_and_few_products(
    layer_launches: Count, changes: dict[str, Any], products: int
) -> None:
    """Two products a layer, its A's shared with those that read the same input, and three of the way back."""
    found = layer_launches(setup(LLAMA, **changes), True)
    norms = (
        12 if "checkpointing" in changes else 8
    )  # at most: those of the norms, where no kernel replaces them
    assert found["product"] == products and found.get("cast", 0) <= norms


@pytest.mark.parametrize(
    ("name", "changes", "most"),
    [
        (LLAMA, LORA, 130),
        (LLAMA, {**LORA, **CHECKPOINTING}, 180),
        (LLAMA, QLORA, 0.6 * 253),
        (LLAMA, FULL, 90),
        ("Qwen/Qwen3-8B", LORA, 130),
        ("Qwen/Qwen3-8B", {**QLORA, **CHECKPOINTING}, 240),
        ("google/gemma-7b", LORA, 130),
        ("microsoft/phi-4", {**LORA, **CHECKPOINTING}, 180),
    ],
)
def test_a_layer_launches_at_most(
    layer_launches: Count, name: str, changes: dict[str, Any], most: float
) -> None:
    assert sum(layer_launches(setup(name, **changes), True).values()) <= most


@pytest.mark.parametrize(
    ("kernels", "name", "changes"),
    [
        (LIBRARIES, LLAMA, LORA),
        (LIBRARIES, LLAMA, {**QLORA, "kind": "dora", "form": Form.MAGNITUDES}),
        (LIBRARIES, "mistralai/Mixtral-8x7B-v0.1", LORA),
        (OURS, LLAMA, LORA),
        (OURS, LLAMA, QLORA),
        (OURS, LLAMA, {**LORA, "quantization": "int8", "dropout": 0.1}),
        (OURS, LLAMA, FULL),
        (OURS, "Qwen/Qwen3-8B", {"targets": frozenset(["q_proj", "v_proj"])}),
        (OURS, "gpt2", LORA),
    ],
)
def test_the_table_says_what_a_count_says(
    layer_launches: Count, kernels: Kernels, name: str, changes: dict[str, Any]
) -> None:
    """`planning.speed.layer_costs`, which the time of a step is predicted by."""
    counted = setup(name, **changes)
    cost = compute_layer_cost(counted, counted.total_tokens, counted.length, True, kernels)
    launches = sum(layer_launches(counted, kernels is OURS).values())
    assert cost.forward + cost.back == pytest.approx(launches, rel=0.15)
