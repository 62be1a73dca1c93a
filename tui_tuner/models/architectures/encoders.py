"""Describe encoders by `model_type`, and their weights beyond the matrices that all encoders have.

Read from the modelling code of transformers 5.23 (`models/*/modeling_*.py`, `configuration_*.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.models.architectures.family import LAYER_NORM, Family, Linear

BERT = replace(
    LAYER_NORM,
    encoder=True,
    dropout=0.1,
    dropout_field="hidden_dropout_prob",
    attention_dropout=0.1,
    attention_dropout_field="attention_probs_dropout_prob",
    learned_positions=True,
    tied=True,
    pooled=True,
    text_head="linear",
    token_head="classifier",
    attention=("query", "key", "value", "attention.output.dense"),
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
_ROBERTA = replace(
    BERT,
    pooled=False,
    text_head="dense",
    padded_positions=True,
    defaults={**BERT.defaults, "vocab_size": 50265},
)
# `disentangled`: attention to positions, with its own weights; its memory is not modelled
_DEBERTA = replace(
    BERT,
    pooled=False,
    text_head="context",
    disentangled=True,
    verified=False,
    attention=("in_proj", "attention.output.dense"),
    defaults={**BERT.defaults, "vocab_size": 50265, "type_vocab_size": 0},
)

ENCODERS: dict[str, Family] = {
    "bert": BERT,
    "ernie": BERT,
    "electra": replace(
        BERT,
        pooled=False,
        text_head="dense",
        projects=True,
        defaults={
            **BERT.defaults,
            "hidden_size": 256,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "embedding_size": 128,
        },
    ),
    "albert": replace(
        BERT,
        projects=True,
        shared=True,
        verified=False,
        dropout=0.0,
        attention_dropout=0.0,
        attention=("query", "key", "value", "attention.dense"),
        mlp=("ffn", "ffn_output"),
        activation="gelu_new",
        defaults={
            **BERT.defaults,
            "hidden_size": 4096,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "vocab_size": 30000,
            "embedding_size": 128,
        },
    ),
    "roberta": _ROBERTA,
    "data2vec-text": replace(_ROBERTA, defaults=BERT.defaults),
    "xlm-roberta": replace(_ROBERTA, defaults={**BERT.defaults, "vocab_size": 250002}),
    "camembert": replace(_ROBERTA, defaults={**BERT.defaults, "vocab_size": 30522}),
    "mpnet": replace(
        _ROBERTA,
        attention=("q", "k", "v", "o"),
        relative=True,
        verified=False,
        defaults={**BERT.defaults, "vocab_size": 30527, "type_vocab_size": 0},
    ),
    "deberta": _DEBERTA,
    "deberta-v2": replace(
        _DEBERTA,
        attention=("query_proj", "key_proj", "value_proj", "attention.output.dense"),
        defaults={
            **_DEBERTA.defaults,
            "hidden_size": 1536,
            "num_hidden_layers": 24,
            "num_attention_heads": 24,
            "intermediate_size": 6144,
            "vocab_size": 128100,
        },
    ),
    "distilbert": replace(
        BERT,
        pooled=False,
        text_head="before",
        dropout_field="dropout",
        attention_dropout_field="attention_dropout",
        attention=("q_lin", "k_lin", "v_lin", "out_lin"),
        mlp=("lin1", "lin2"),
        aliases={
            "hidden_size": ("hidden_size", "dim"),
            "num_hidden_layers": ("num_hidden_layers", "n_layers"),
            "num_attention_heads": ("num_attention_heads", "n_heads"),
            "intermediate_size": ("hidden_dim",),
        },
        defaults={**BERT.defaults, "num_hidden_layers": 6, "type_vocab_size": 0},
    ),
    "modernbert": Family(
        encoder=True,
        tied=True,
        norm="layer",
        norm_bias=False,
        first_norm=False,
        attention=("Wqkv", "Wo"),
        mlp=("Wi", "Wo"),
        text_head="prediction",
        token_head="prediction",
        span_head="prediction",
        defaults={
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "intermediate_size": 1152,
            "vocab_size": 50368,
            "max_position_embeddings": 8192,
        },
    ),
}


@dataclass(frozen=True)
class ExtraWeights:
    """Weights of an encoder that have no counterpart in a decoder.

    Attributes:
        embedding: Width of the embeddings if it differs from that of the layers; else 0.
        positions: Rows of the table of positions.
        linears: More matrices in each layer.
        in_layer: Parameters in each layer outside of matrices.
        outside: Parameters outside of the layers, without norms.
        norms: Parameters of norms outside of the layers.
        layers: Number of layers with their own weights if others share them; else 0.
    """

    embedding: int = 0
    positions: int = 0
    linears: tuple[Linear, ...] = ()
    in_layer: int = 0
    outside: int = 0
    norms: int = 0
    layers: int = 0


NOTHING = ExtraWeights()  # what decoders have


def find_extra_weights(
    kind: str, family: Family, raw: Mapping[str, Any], hidden: int, heads: int, positions: int
) -> ExtraWeights:
    """Return the further weights that an encoder of this `model_type` has by its config.

    Args:
        raw: The config.json; fields that it leaves out have the defaults of transformers.
        positions: `max_position_embeddings`.
    """
    if family.stacked:
        return _stack_weights(family, raw, hidden, heads, positions)
    if not family.encoder:
        return NOTHING
    table = positions if family.learned_positions else 0
    if family.disentangled:
        return _disentangled_weights(kind, raw, hidden, heads, positions)
    if family.projects:
        width = _read_whole(raw, "embedding_size", family.defaults["embedding_size"])
        # ALBERT has the projection even if both widths are equal; ELECTRA only if they differ.
        always = family.shared
        projection = (width + 1) * hidden if always or width != hidden else 0
        own = 0
        if family.shared:
            own = _read_whole(raw, "num_hidden_groups", 1) * _read_whole(raw, "inner_group_num", 1)
        narrower = width if width != hidden else 0
        return ExtraWeights(embedding=narrower, positions=table, outside=projection, layers=own)
    # One table of distances between keys and queries serves all layers.
    if kind == "mpnet":
        return ExtraWeights(
            positions=table, outside=heads * _read_whole(raw, "relative_attention_num_buckets", 32)
        )
    return ExtraWeights(positions=table)


def _stack_weights(
    family: Family, raw: Mapping[str, Any], hidden: int, heads: int, positions: int
) -> ExtraWeights:
    """Count the tables of positions and distances of one stack of an encoder-decoder, and a second norm."""
    table = _read_whole(raw, "relative_attention_num_buckets", 32) * heads if family.relative else 0
    each = family.tables == "layer"
    return ExtraWeights(
        positions=positions + family.position_offset if family.learned_positions else 0,
        in_layer=table if each else 0,
        outside=0 if each else table,
        norms=2 * hidden if len(family.stack_norms) > 1 else 0,
    )


def _disentangled_weights(
    kind: str, raw: Mapping[str, Any], hidden: int, heads: int, positions: int
) -> ExtraWeights:
    """Count DeBERTa's weights for attention between contents and relative positions (arXiv 2006.03654)."""
    width = _read_whole(raw, "embedding_size", hidden)
    outside = width * hidden if width != hidden else 0
    relative = bool(raw.get("relative_attention", False))
    kinds = raw.get("pos_att_type") or ()
    # Published configs have both a list and a text such as "c2p|p2c".
    kinds = [part.strip() for part in kinds.split("|")] if isinstance(kinds, str) else list(kinds)
    linears: list[Linear] = []
    in_layer = norms = 0
    if kind == "deberta":
        in_layer = 2 * hidden  # biases of queries and values
        if raw.get("talking_head"):
            linears += [
                Linear(f"head_{name}_proj", heads, heads, False, "other") for name in ("logits", "weights")
            ]
        key, query = ("pos_proj", False), ("pos_q_proj", True)
    else:
        key, query = ("pos_key_proj", True), ("pos_query_proj", True)
        norms = 2 * hidden if "layer_norm" in str(raw.get("norm_rel_ebd", "none")).lower() else 0
        kernel = _read_whole(raw, "conv_kernel_size", 0)
        if kernel > 0:
            outside += hidden * hidden * kernel // max(1, _read_whole(raw, "conv_groups", 1)) + 3 * hidden
    # With shared keys version 2 projects positions by the matrices for contents, so there are no further
    # ones.
    if relative and not (kind == "deberta-v2" and raw.get("share_att_key")):
        wanted = [(key, "c2p"), (query, "p2c")]
        linears += [
            Linear(name, hidden, hidden, bias, "other") for (name, bias), part in wanted if part in kinds
        ]
    if relative:
        most = _read_whole(raw, "max_relative_positions", -1)
        buckets = _read_whole(raw, "position_buckets", -1) if kind == "deberta-v2" else -1
        # The table covers distances in both directions, hence twice.
        outside += 2 * (buckets if buckets > 0 else most if most > 0 else positions) * hidden
    return ExtraWeights(
        embedding=width if width != hidden else 0,
        positions=positions if raw.get("position_biased_input", True) else 0,
        linears=tuple(linears),
        in_layer=in_layer,
        outside=outside,
        norms=norms,
    )


def _read_whole(raw: Mapping[str, Any], name: str, default: int) -> int:
    value = raw.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
