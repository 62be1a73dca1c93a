"""Mixtures of experts in the ledger: published peaks, weights of every kind of layer, experts one by one."""

from __future__ import annotations

from typing import Any

import pytest

from tui_tuner.models.facts import read_config_facts
from tui_tuner.planning.memory.ledger import make_ledger
from tui_tuner.planning.memory.parts import BUSIEST, group_experts
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import find_installed_stack, make_library_stack
from tui_tuner.planning.memory.static import list_quantised_tensors, list_static_rows

VERSIONS = {"torch": "2.4.1", "transformers": "4.48.1", "peft": "0.14.0", "bitsandbytes": "0.45.1"}
MIXTRAL = {
    "model_type": "mixtral",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
}
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "moe_intermediate_size": 48,
    "num_experts_per_tok": 2,
    "vocab_size": 1000,
    "tie_word_embeddings": False,
}
KINDS = {
    "qwen2_moe": {"num_experts": 8, "shared_expert_intermediate_size": 96, "mlp_only_layers": [1, 3]},
    "qwen3_moe": {"num_experts": 8, "head_dim": 16, "decoder_sparse_step": 3},
    "mixtral": {"num_local_experts": 8},
    "deepseek_v3": {
        "n_routed_experts": 8,
        "n_shared_experts": 2,
        "first_k_dense_replace": 2,
        "num_key_value_heads": 4,
        "q_lora_rank": 32,
        "kv_lora_rank": 32,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "n_group": 1,
        "topk_group": 1,
    },
}


@pytest.mark.parametrize(
    ("batch", "norm", "measured", "apart"),
    # Norms in float32, as PEFT prepares a model: the peak is in the experts of the last layer. In 16 bits it
    # is at the logits, and does not depend on what the router chooses.
    [(4, 4, 39.86, 0.01), (8, 4, 56.39, 0.01), (4, 2, 34.209, 0.001), (8, 2, 45.421, 0.001)],
)
def test_published_peaks_of_mixtral_are_met(batch: int, norm: int, measured: float, apart: float) -> None:
    """GiB allocated on an A100-80 (foundation-model-stack/fms-acceleration, `a100_80gb*.csv`)."""
    setup = Setup(
        read_config_facts(MIXTRAL),
        make_library_stack(VERSIONS),
        batch,
        4096,
        quantization="nf4",
        norm=norm,
        checkpointing=True,
        foreach=True,
        dropout=0.1,
        targets=frozenset(["q_proj", "k_proj", "v_proj", "o_proj"]),
    )
    peak = make_ledger(setup).peak_phase
    assert peak.total_bytes / 2**30 == pytest.approx(measured, rel=apart)
    assert peak.name == ("loss" if norm == 2 else "backward, last layer")


@pytest.mark.parametrize("experts", [1, 2, 8, 9, 60, 128, 256])
def test_groups_of_experts_are_all_of_them(experts: int) -> None:
    per_token = min(4, experts)
    groups = group_experts(experts, per_token)
    assert sum(count for count, _ in groups) == experts and groups[-1][0] == 1
    assert sum(share for _, share in groups) == pytest.approx(1)
    assert groups[-1][1] == pytest.approx(min(1 / per_token, BUSIEST / experts))
    assert len(groups) < 12
    left = 1.0
    for _count, share in groups[:-1]:
        left -= share
        assert share <= left + groups[-1][1] + 1e-9 or experts <= 8


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_the_model(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense layers among sparse ones, and shared experts beside routed ones, in transformers' own classes."""
    torch = pytest.importorskip("torch")
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config: dict[str, Any] = {**SMALL, **KINDS[kind]}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**config))
    wanted = sum(parameter.numel() for parameter in model.parameters())
    linears = [
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    ]
    monkeypatch.setattr("tui_tuner.planning.memory.static.round_up", float)
    facts = read_config_facts({"model_type": kind, **config})
    frozen = list_static_rows(Setup(facts, find_installed_stack(), 1, 16, rank=0, workspace=0.0))
    trained = list_static_rows(
        Setup(facts, find_installed_stack(), 1, 16, whole_model=True, rank=0, workspace=0.0)
    )
    assert frozen["weights"] / 2 == trained["weights"] / 2 == wanted
    quantised = Setup(facts, find_installed_stack(), 1, 16, rank=0, quantization="nf4")
    assert sum(size * copies for size, _outputs, copies in list_quantised_tensors(quantised)) == sum(linears)


def test_older_libraries_quantise_experts_and_newer_ones_do_not() -> None:
    facts = read_config_facts(MIXTRAL)
    older, newer = (
        list_static_rows(Setup(facts, stack, 1, 16, rank=0, quantization="nf4", workspace=0.0))["weights"]
        for stack in (make_library_stack(VERSIONS), find_installed_stack())
    )
    experts = 32 * 8 * 3 * 4096 * 14336
    assert newer - older == pytest.approx(1.5 * experts, rel=1e-4)
