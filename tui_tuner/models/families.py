"""How architectures differ, by `model_type`: names of their matrices, norms, biases and defaults.

Read from the modelling code of transformers 5.23 (`models/*/modeling_*.py`, `configuration_*.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

SEPARATE = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Family:
    """What a config.json does not say because the architecture fixes it.

    `norm_after` that norms stand behind attention and MLP instead of before them;
    `norm_late` that RMSNorm's weights are applied before it casts back from float32;
    `dropout_field` holds the rate of dropout behind attention and MLP, `dropout` where it is left out,
    and likewise that of attention itself;
    `norm` is rms, layer or plain (no parameters); `norms` counts them in a layer; `parallel` means that
    attention and MLP read the same norm; `multipliers` that activations are scaled (Granite);
    `scaled_logits`, `softcap` that logits are; `qk_norm` is "", head or full;
    `aliases` are the names that a config may have for a field: of several that are there the first holds.
    """

    attention: tuple[str, ...] = SEPARATE
    mlp: tuple[str, ...] = GATED
    gated: bool = True
    norm: str = "rms"
    norm_bias: bool = True
    norms: int = 2
    qk_norm: str = ""
    tied: bool = False
    encoder: bool = False
    moe: bool = False
    latent: bool = False
    learned_positions: bool = False
    norm_after: bool = False
    norm_late: bool = False
    dropout: float = 0.0
    dropout_field: str = ""
    attention_dropout: float = 0.0
    attention_dropout_field: str = "attention_dropout"
    activation: str = ""
    parallel: bool = False
    multipliers: bool = False
    scaled_logits: bool = False
    softcap: bool = False
    attention_bias: bool = False
    output_bias: bool | None = None
    attention_bias_field: str = "attention_bias"
    mlp_bias: bool = False
    head_bias: bool = False
    position_offset: int = 0
    shared_field: str = ""
    shared_gate: bool = False
    verified: bool = True
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)


GENERIC = Family(verified=False)
_LAYER_NORM = Family(norm="layer", mlp=("fc1", "fc2"), gated=False, attention_bias=True, mlp_bias=True)
_GPT2_NAMES = {
    "hidden_size": ("hidden_size", "n_embd"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "intermediate_size": ("n_inner",),
    "max_position_embeddings": ("max_position_embeddings", "n_positions"),
}
_BERT = replace(
    _LAYER_NORM,
    encoder=True,
    dropout=0.1,
    dropout_field="hidden_dropout_prob",
    learned_positions=True,
    tied=True,
    attention=("query", "key", "value", "dense"),
    mlp=("intermediate.dense", "output.dense"),
    defaults={
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    },
)
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
        _LAYER_NORM,
        attention=("q_proj", "k_proj", "v_proj", "dense"),
        norms=1,
        parallel=True,
        activation="gelu_new",
        head_bias=True,
    ),
    "gpt2": replace(
        _LAYER_NORM,
        attention=("c_attn", "attn.c_proj"),
        mlp=("c_fc", "mlp.c_proj"),
        tied=True,
        activation="gelu_new",
        dropout=0.1,
        dropout_field="resid_pdrop",
        attention_dropout=0.1,
        attention_dropout_field="attn_pdrop",
        learned_positions=True,
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
        _LAYER_NORM,
        attention=("query_key_value", "dense"),
        mlp=("dense_h_to_4h", "dense_4h_to_h"),
        parallel=True,
    ),
    "opt": replace(
        _LAYER_NORM,
        attention=("q_proj", "k_proj", "v_proj", "out_proj"),
        dropout=0.1,
        dropout_field="dropout",
        tied=True,
        learned_positions=True,
        position_offset=2,
        aliases={"intermediate_size": ("ffn_dim",)},
    ),
    "starcoder2": replace(
        _LAYER_NORM, tied=True, mlp=("c_fc", "c_proj"), defaults={"num_key_value_heads": 2}
    ),
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
    "bert": _BERT,
    "electra": replace(_BERT, verified=False),
    "roberta": replace(_BERT, defaults={**_BERT.defaults, "vocab_size": 50265}),
    "xlm-roberta": replace(_BERT, defaults={**_BERT.defaults, "vocab_size": 250002}),
    "camembert": replace(_BERT, defaults={**_BERT.defaults, "vocab_size": 30522}),
    "distilbert": replace(
        _BERT,
        attention=("q_lin", "k_lin", "v_lin", "out_lin"),
        mlp=("lin1", "lin2"),
        aliases={
            "hidden_size": ("hidden_size", "dim"),
            "num_hidden_layers": ("num_hidden_layers", "n_layers"),
            "num_attention_heads": ("num_attention_heads", "n_heads"),
            "intermediate_size": ("hidden_dim",),
        },
        defaults={**_BERT.defaults, "num_hidden_layers": 6, "type_vocab_size": 0},
    ),
    "modernbert": Family(
        encoder=True,
        tied=True,
        norm="layer",
        norm_bias=False,
        attention=("Wqkv", "Wo"),
        mlp=("Wi", "Wo"),
        defaults={
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "intermediate_size": 1152,
            "vocab_size": 50368,
        },
    ),
}
