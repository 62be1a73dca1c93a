"""Small configs of architectures, by `model_type`: what differs in them differs in its sizes too."""

from __future__ import annotations

from typing import Any

BASE = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "vocab_size": 101,
    "max_position_embeddings": 60,
}
GROUPED = {**BASE, "hidden_size": 32, "num_key_value_heads": 2, "head_dim": 8}
NARROW = {**BASE, "embedding_size": 16}
APART = {**BASE, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
ENCODERS: dict[str, dict[str, Any]] = {
    "bert": BASE,
    "distilbert": {
        "dim": 24,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 40,
        "vocab_size": 101,
        "max_position_embeddings": 60,
    },
    "roberta": BASE,
    "xlm-roberta": BASE,
    "albert": {**NARROW, "num_hidden_groups": 1},
    "electra": NARROW,
    "deberta": {**APART, "pooler_hidden_size": 24},
    "deberta-v2": {
        **APART,
        "pooler_hidden_size": 24,
        "position_buckets": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "conv_kernel_size": 3,
    },
    "mpnet": BASE,
    "modernbert": BASE,
    "ernie": BASE,
    "data2vec-text": BASE,
    "camembert": BASE,
}
PLAIN = {name: value for name, value in BASE.items() if name != "max_position_embeddings"}
DECODERS: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "mistral": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "gemma": GROUPED,
    "gemma2": GROUPED,
    "gemma3_text": GROUPED,
    "phi3": GROUPED,
    "smollm3": GROUPED,
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": 101, "n_positions": 60},
    "gpt_neox": BASE,
    "opt": {**BASE, "ffn_dim": 40, "word_embed_proj_dim": 24},
    "stablelm": GROUPED,
    "olmo2": GROUPED,
    "mixtral": {**GROUPED, "num_local_experts": 3},
}
