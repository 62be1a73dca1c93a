"""The numbers that a GGUF file says about a model: key -> value, from its config."""

from __future__ import annotations

from typing import Any

from tui_tuner.exporting.gguf.families import Family
from tui_tuner.exporting.gguf.rope import Rope

EPSILON, RMS_EPSILON = "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"


def list_model_values(family: Family, config: Any, rope: Rope) -> dict[str, Any]:
    """List what llama.cpp reads about a model: key without the name of the architecture -> value."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    found: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        "attention.head_count": heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None) or heads,
    }
    if family.architecture == "gpt2":
        return found | {EPSILON: float(config.layer_norm_epsilon)}
    found |= {
        RMS_EPSILON: float(config.rms_norm_eps),
        "attention.key_length": size,
        "attention.value_length": size,
        "rope.dimension_count": _count_rotated(config, size),
    }
    found |= {f"rope.{name}": value for name, value in rope.values.items()}
    if family.full_every:
        found["attention.sliding_window"] = config.sliding_window
        # false for the layers that see the whole text
        found["attention.sliding_window_pattern"] = [kind != "full_attention" for kind in config.layer_types]
    elif family.architecture == "phi3":
        found["attention.sliding_window"] = config.sliding_window or 0
        found["rope.scaling.original_context_length"] = config.original_max_position_embeddings
    if family.architecture == "gemma2":
        found["attn_logit_softcapping"] = float(config.attn_logit_softcapping)
    if family.architecture in ("gemma2", "gemma3") and config.final_logit_softcapping is not None:
        found["final_logit_softcapping"] = float(config.final_logit_softcapping)
    if family.experts:
        found |= {
            "expert_count": config.num_experts,
            "expert_used_count": config.num_experts_per_tok,
            "expert_feed_forward_length": config.moe_intermediate_size,
        }
    return found


def _count_rotated(config: Any, size: int) -> int:
    told = getattr(config, "rope_parameters", None) or {}
    return int(size * (told.get("partial_rotary_factor") or 1.0))
