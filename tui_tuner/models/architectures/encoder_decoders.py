"""Describe encoder-decoders by `model_type`: each family is that of the decoder, and names its encoder's.

Read from the modelling code of transformers 5.23 (`models/*/modeling_*.py`, `configuration_*.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tui_tuner.models.architectures.family import Family

_OWN = ("q", "k", "v", "o")
_SIDES = {
    "hidden_size": ("hidden_size", "d_model"),
    "num_attention_heads": ("num_attention_heads", "num_heads"),
    "head_dim": ("head_dim", "d_kv"),
    "intermediate_size": ("intermediate_size", "d_ff"),
    "max_position_embeddings": (
        "no_end_of_positions",
    ),  # distances are put into buckets, however long a text
}
_T5_SIZES = {
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2048,
    "vocab_size": 32128,
    "max_position_embeddings": 0,
}
_MT5_SIZES = {
    **_T5_SIZES,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "intermediate_size": 1024,
    "vocab_size": 250112,
}


def _make_t5(sizes: dict[str, Any], **more: Any) -> Family:
    """Make the family of a T5: no biases, RMSNorm before each part, distances in a table of buckets."""
    encoder = Family(
        encoder=True,
        stacked=True,
        attention=tuple(f"SelfAttention.{name}" for name in _OWN),
        mlp=("wi", "wo"),
        gated=False,
        activation="relu",
        relative=True,
        tied=True,
        ties_anyway=True,
        dropout=0.1,
        dropout_field="dropout_rate",
        attention_dropout=0.1,
        attention_dropout_field="dropout_rate",
        takes_prefix=False,
        aliases={**_SIDES, "num_hidden_layers": ("num_hidden_layers", "num_layers")},
        defaults=sizes,
        **more,
    )
    return replace(
        encoder,
        encoder=False,
        source=encoder,
        norms=3,
        cross=tuple(f"EncDecAttention.{name}" for name in _OWN),
        takes_prefix=True,
        aliases={
            **_SIDES,
            "num_hidden_layers": ("num_decoder_layers", "num_hidden_layers", "num_layers"),
        },
    )


_BART_OWN = ("q_proj", "k_proj", "v_proj", "out_proj")
_BART_SIZES = {
    "hidden_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "vocab_size": 50265,
    "max_position_embeddings": 1024,
}
_MORE_SIZES = {"vocab_size": 58101}


def _make_bart(sizes: dict[str, Any] | None = None, **more: Any) -> Family:
    """Make the family of a BART, whose norms follow the sums unless `norm_sums` is False."""
    encoder = Family(
        encoder=True,
        stacked=True,
        attention=tuple(f"self_attn.{name}" for name in _BART_OWN),
        mlp=("fc1", "fc2"),
        gated=False,
        norm="layer",
        attention_bias=True,
        mlp_bias=True,
        activation="gelu",
        tied=True,
        dropout=0.1,
        dropout_field="dropout",
        takes_prefix=False,
        aliases=_name_bart_sizes("encoder"),
        defaults=_BART_SIZES | (sizes or {}),
        **{"learned_positions": True, "norm_sums": True, "logits_bias": True, **more},
    )
    return replace(
        encoder,
        encoder=False,
        source=encoder,
        norms=3,
        cross=tuple(f"encoder_attn.{name}" for name in _BART_OWN),
        takes_prefix=True,
        aliases=_name_bart_sizes("decoder"),
    )


def _name_bart_sizes(side: str) -> dict[str, tuple[str, ...]]:
    """Return the names that a config uses for the sizes of one side."""
    # the names of other models are for the encoder's in these configs, and are read where nothing else is
    vocabulary = {"vocab_size": ("decoder_vocab_size", "vocab_size")} if side == "decoder" else {}
    return {
        "hidden_size": ("d_model", "hidden_size"),
        "num_hidden_layers": (f"{side}_layers", "num_hidden_layers"),
        "num_attention_heads": (f"{side}_attention_heads", "num_attention_heads"),
        "intermediate_size": (f"{side}_ffn_dim",),
        **vocabulary,
    }


_EMBEDDING: dict[str, Any] = {"stack_norms": ("first",)}
_LAST: dict[str, Any] = {"stack_norms": ("last",)}
_BOTH: dict[str, Any] = {"stack_norms": ("first", "last")}
BART = _make_bart(position_offset=2, **_EMBEDDING)
_PEGASUS = _make_bart(norm_sums=False, **_LAST)

ENCODER_DECODERS: dict[str, Family] = {
    "t5": _make_t5(_T5_SIZES),
    "mt5": _make_t5(_MT5_SIZES),
    "umt5": _make_t5(_MT5_SIZES, tables="layer", verified=False),
    "bart": BART,
    "plbart": replace(BART, verified=False),
    "blenderbot-small": _make_bart(
        {"vocab_size": 50265, "num_hidden_layers": 8}, verified=False, **_EMBEDDING
    ),
    "mbart": _make_bart(norm_sums=False, position_offset=2, **_BOTH),
    "pegasus": _PEGASUS,
    "blenderbot": _make_bart({"vocab_size": 8008}, norm_sums=False, verified=False, **_LAST),
    "m2m_100": _make_bart(
        {"vocab_size": 128112},
        norm_sums=False,
        learned_positions=False,
        logits_bias=False,
        attention_dropout=0.1,
        verified=False,
        **_LAST,
    ),
    "marian": _make_bart(_MORE_SIZES, stack_norms=()),
}


def fit_to_config(family: Family, config: Mapping[str, Any]) -> Family:
    """Return the family with what a T5's config chooses: a gated feed-forward block, and scaled logits."""
    if not family.relative or not family.stacked:
        return family
    kind = str(config.get("feed_forward_proj") or ("gated-gelu" if family.defaults is _MT5_SIZES else "relu"))
    gate, _dash, function = kind.rpartition("-")
    # The original's GELU is that of Mesh TensorFlow
    function = "gelu_new" if kind == "gated-gelu" else function
    changed = replace(family, activation=function)
    if gate == "gated":
        changed = replace(changed, gated=True, mlp=("wi_0", "wi_1", "wo"))
    # T5 1.1 names a head of its own, and no longer scales what goes into it; mT5 never did
    tied = config.get("tie_word_embeddings") is not False
    if config.get("model_type") == "umt5" or (config.get("model_type") == "t5" and tied):
        changed = replace(changed, scaled_states=True)
    return replace(changed, source=fit_to_config(family.source, config)) if family.source else changed
