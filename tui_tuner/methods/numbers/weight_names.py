"""What the weights of a model are probably called, from its shapes alone: for `method.pattern` before a run.

Families call the same parts by other names, and a table of all would be as long as transformers. So each
weight has several names here, and a pattern that fits one of them means it. The exact number is counted on
the model.
"""

from __future__ import annotations

from collections.abc import Iterator

from tui_tuner.methods.name_pattern import choose_names
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts

_STACKS = ("model.layers", "transformer.h", "gpt_neox.layers", "model.decoder.layers")
_BLOCKS = {
    "attention": ("self_attn.", "attention.", "attn.", ""),
    "mlp": ("mlp.", ""),
    "shared": ("mlp.shared_expert.", ""),
    "expert": ("mlp.experts.", "block_sparse_moe.experts."),
    "router": ("mlp.", "block_sparse_moe."),
}
_NORMS = ("input_layernorm", "post_attention_layernorm", "ln_1", "ln_2", "attention.output.LayerNorm")
_EMBEDDINGS = ("model.embed_tokens.weight", "transformer.wte.weight", "gpt_neox.embed_in.weight")


def count_named(facts: ModelFacts, pattern: str, decides: bool = False) -> int:
    """Return about how many of a model's own numbers a pattern means; 0 if it fits no name known here.

    Args:
        decides: The model has a task's head, and not the one that writes.
    """
    weights = [one for one in _list_weights(facts) if not (decides and "lm_head.weight" in one[0])]
    meant = set(choose_names(pattern, (name for names, _count in weights for name in names)))
    return sum(count for names, count in weights if meant.intersection(names))


def _list_weights(facts: ModelFacts) -> Iterator[tuple[list[str], int]]:
    """Yield (names, elements) of each weight: of embeddings, of each layer, and of the head that writes."""
    base = facts.model_type.replace("-", "_")
    stacks = (f"{base}.encoder.layer", f"{base}.transformer.layer") if facts.encoder else _STACKS
    embeddings = (f"{base}.embeddings.word_embeddings.weight",) if facts.encoder else _EMBEDDINGS
    yield list(embeddings), facts.token_parameters
    for place in range(facts.own_layers):
        inside = facts.without_experts if place in facts.dense_places else facts
        for linear in inside.layer_linears:
            yield from _name_linear(linear, [f"{stack}.{place}" for stack in stacks])
        norms = [f"{stack}.{place}.{norm}.weight" for stack in stacks for norm in _NORMS]
        yield norms, facts.norm_parameters
    if facts.head_parameters and not facts.tied:
        yield ["lm_head.weight", "embed_out.weight"], facts.head_parameters


def _name_linear(linear: Linear, layers: list[str]) -> Iterator[tuple[list[str], int]]:
    blocks = ("attention.self.", *_BLOCKS.get(linear.group, ("",)))
    names = [f"{layer}.{block}{linear.name}" for layer in layers for block in blocks]
    yield [f"{name}.weight" for name in names], linear.weights
    if linear.bias:
        yield [f"{name}.bias" for name in names], linear.outputs * linear.copies
