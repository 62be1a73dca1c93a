"""Describe how architectures differ, by `model_type`: names of matrices, norms, biases and defaults.

Read from the modelling code of transformers 5.23 (`models/*/modeling_*.py`, `configuration_*.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tui_tuner.locales import _
from tui_tuner.models.architectures.encoder_decoders import BART, ENCODER_DECODERS, fit_to_config
from tui_tuner.models.architectures.encoders import BERT, ENCODERS
from tui_tuner.models.architectures.family import GENERIC, LAYER_NORM, Family
from tui_tuner.text import one_line

_GPT2_NAMES = {
    "hidden_size": ("hidden_size", "n_embd"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "intermediate_size": ("n_inner",),
    "max_position_embeddings": ("max_position_embeddings", "n_positions"),
}
_MIXTRAL = Family(
    moe=True,
    mlp=("w1", "w3", "w2"),
    aliases={
        "num_experts": ("num_experts", "num_local_experts"),
        "experts_per_token": ("num_experts_per_tok",),
    },
    defaults={"num_experts": 8, "num_key_value_heads": 8},
)
_QWEN_MOE: dict[str, tuple[str, ...]] = {
    "experts_per_token": ("num_experts_per_tok",),
    "expert_size": ("moe_intermediate_size",),
}
_DEEPSEEK = Family(
    moe=True,
    latent=True,
    shared_field="n_shared_experts",
    verified=False,
    aliases={**_QWEN_MOE, "num_experts": ("num_experts", "n_routed_experts")},
    defaults={
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "num_experts": 64,
        "expert_size": 1407,
        "n_shared_experts": 2,
    },
)

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(defaults={"num_key_value_heads": 8}),
    "ministral": Family(),
    "smollm3": Family(tied=True),
    "mixtral": _MIXTRAL,
    "qwen2": Family(attention_bias=True, output_bias=False),
    "qwen2_moe": Family(
        moe=True,
        attention_bias=True,
        output_bias=False,
        shared_field="shared_expert_intermediate_size",
        shared_gate=True,
        aliases=_QWEN_MOE,
        defaults={
            "num_experts": 60,
            "experts_per_token": 4,
            "expert_size": 1408,
            "shared_expert_intermediate_size": 5632,
        },
        verified=False,
    ),
    "qwen3": Family(qk_norm="head", defaults={"head_dim": 128}),
    "qwen3_moe": Family(
        moe=True,
        qk_norm="head",
        aliases={**_QWEN_MOE, "num_experts": ("num_local_experts", "num_experts")},
        defaults={"num_experts": 128, "experts_per_token": 8, "expert_size": 768},
    ),
    "gemma": Family(tied=True, norm_late=True, defaults={"head_dim": 256}),
    "gemma2": Family(tied=True, norm_late=True, norms=4, softcap=True, defaults={"head_dim": 256}),
    "gemma3_text": Family(tied=True, norm_late=True, norms=4, qk_norm="head", defaults={"head_dim": 256}),
    "phi3": Family(attention=("qkv_proj", "o_proj"), mlp=("gate_up_proj", "down_proj")),
    "phi": replace(
        LAYER_NORM,
        attention=("q_proj", "k_proj", "v_proj", "dense"),
        norms=1,
        parallel=True,
        activation="gelu_new",
        head_bias=True,
    ),
    "gpt2": replace(
        LAYER_NORM,
        attention=("c_attn", "attn.c_proj"),
        mlp=("c_fc", "mlp.c_proj"),
        tied=True,
        activation="gelu_new",
        dropout=0.1,
        dropout_field="resid_pdrop",
        attention_dropout=0.1,
        attention_dropout_field="attn_pdrop",
        learned_positions=True,
        token_head="classifier",
        aliases=_GPT2_NAMES,
        defaults={
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "vocab_size": 50257,
            "max_position_embeddings": 1024,
        },
    ),
    "gpt_neox": replace(
        LAYER_NORM,
        attention=("query_key_value", "dense"),
        mlp=("dense_h_to_4h", "dense_4h_to_h"),
        parallel=True,
        token_head="classifier",
    ),
    "opt": replace(
        LAYER_NORM,
        attention=("q_proj", "k_proj", "v_proj", "out_proj"),
        dropout=0.1,
        dropout_field="dropout",
        tied=True,
        learned_positions=True,
        position_offset=2,
        aliases={"intermediate_size": ("ffn_dim",)},
    ),
    "starcoder2": replace(LAYER_NORM, tied=True, mlp=("c_fc", "c_proj"), defaults={"num_key_value_heads": 2}),
    "stablelm": Family(norm="layer", attention_bias_field="use_qkv_bias", output_bias=False),
    "olmo": Family(norm="plain", norms=2),
    "olmo2": Family(qk_norm="full", norm_after=True),
    "olmo3": Family(qk_norm="full", norm_after=True),
    "olmoe": Family(
        moe=True,
        qk_norm="full",
        aliases={
            "num_experts": ("num_local_experts", "num_experts"),
            "experts_per_token": ("num_experts_per_tok",),
        },
        defaults={"num_experts": 64, "experts_per_token": 8},
        verified=False,
    ),
    "granite": Family(multipliers=True, scaled_logits=True),
    # transformers stacks the experts of GraniteMoE in two tensors with names of their own.
    "granitemoe": replace(
        _MIXTRAL,
        multipliers=True,
        scaled_logits=True,
        mlp=("input_linear", "output_linear"),
        verified=False,
        aliases={**_MIXTRAL.aliases, "num_experts": ("num_local_experts",)},
        defaults={"num_experts": 8},
    ),
    "cohere": Family(norm="layer", norm_bias=False, norms=1, parallel=True, tied=True, scaled_logits=True),
    "cohere2": Family(norm="layer", norm_bias=False, norms=1, parallel=True, tied=True, scaled_logits=True),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": replace(
        _DEEPSEEK,
        aliases={**_QWEN_MOE, "num_experts": ("num_local_experts", "n_routed_experts")},
        defaults={
            **_DEEPSEEK.defaults,
            "num_experts": 256,
            "experts_per_token": 8,
            "expert_size": 2048,
            "n_shared_experts": 1,
            "first_k_dense_replace": 3,
        },
    ),
    **ENCODERS,
    **ENCODER_DECODERS,
}

# Heads that transformers 5.23 has no class for (`models/auto/modeling_auto.py`)
_NO_HEADS = {
    "gemma": ("span",),
    "gemma2": ("span",),
    "gemma3_text": ("token", "span"),
    "phi3": ("span",),
    "phi": ("span",),
    "opt": ("token",),
    "starcoder2": ("span",),
    "stablelm": ("span",),
    "olmo": ("token", "span"),
    "olmo2": ("token", "span"),
    "olmo3": ("token", "span"),
    "olmoe": ("text", "token", "span"),
    "granite": ("text", "token", "span"),
    "granitemoe": ("text", "token", "span"),
    "cohere": ("text", "token", "span"),
    "cohere2": ("text", "token", "span"),
    "deepseek_v2": ("token", "span"),
    "deepseek_v3": ("span",),
}
FAMILIES |= {kind: replace(FAMILIES[kind], no_heads=heads) for kind, heads in _NO_HEADS.items()}

# Encoders of transformers 5.23 whose layers take no `past_key_values`
_NO_PREFIX = ("distilbert", "albert", "deberta", "deberta-v2", "mpnet", "modernbert")
# Prefix tuning works through cached keys and values, so it cannot reach these.
FAMILIES |= {kind: replace(FAMILIES[kind], takes_prefix=False) for kind in _NO_PREFIX}


def find_model_family(kind: str, config: Mapping[str, Any]) -> Family:
    """Return the family of a `model_type`, or the one to treat an unknown architecture as.

    An unknown one is treated as a BERT if `config` names a masked language model, as a BART if it says that
    it is an encoder-decoder, else as a Llama.
    """
    if kind in FAMILIES:
        return fit_to_config(FAMILIES[kind], config)
    if config.get("is_encoder_decoder") is True:
        return replace(BART, verified=False)
    named = config.get("architectures")
    # The class of the published head is the only hint for an unknown model_type.
    masked = isinstance(named, list) and any("MaskedLM" in str(name) for name in named)
    return replace(BERT, verified=False) if masked else GENERIC


def describe_unknown_architecture(kind: str, family: Family) -> str:
    """Describe what an architecture without an entry in the table is treated as."""
    if family.source is not None:
        return _(
            "the architecture {name} is not in the table, so it is treated as a BART", name=one_line(kind, 60)
        )
    if family.encoder:
        return _(
            "the architecture {name} is not in the table, so it is treated as a BERT", name=one_line(kind, 60)
        )
    return _(
        "the architecture {name} is not in the table, so it is treated as a Llama", name=one_line(kind, 60)
    )
