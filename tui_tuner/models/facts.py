"""Shapes of a model from its `config.json`: no weights, no torch, no transformers.

Names and defaults follow the configuration classes of transformers 5.23. What a config leaves out has the
default of its class there, so a missing field is only an error where that class has no usable default.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import ModelError, about
from tui_tuner.locales import _
from tui_tuner.models.architectures.encoders import NOTHING, Beside, weights_beside
from tui_tuner.models.architectures.families import FAMILIES, family_of
from tui_tuner.models.architectures.family import SHARED_GATE, Family, Linear
from tui_tuner.models.lookup import config_from_hub, read_config, stored_parameters, stores
from tui_tuner.models.sizes import MOST_PARAMETERS, Numbers, check_sizes
from tui_tuner.text import one_line


@dataclass(frozen=True)
class ModelFacts:
    """Shapes of a model. Sizes are numbers of elements; `name` is what to call it on a screen."""

    name: str
    model_type: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool
    family: Family
    max_positions: int = 0
    attention_bias: bool = False
    mlp_bias: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    dense_places: tuple[int, ...] = ()
    low_rank_query: int = 0
    low_rank_key: int = 0
    rope_dim: int = 0
    value_dim: int = 0
    token_types: int = 0
    beside: Beside = NOTHING
    activation: str = ""
    dropout: float = 0.0
    attention_dropout: float = 0.0
    weights_dtype: str = ""
    verified: bool = True
    why_unverified: str = ""
    uncounted: str = ""
    new_pooler: bool = False
    raw: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @property
    def encoder(self) -> bool:
        """True for models that read both ways (BERT and kin)."""
        return self.family.encoder

    @property
    def positions_end(self) -> bool:
        """Whether positions are a table, beyond which there are none."""
        return bool(self.beside.positions) if self.encoder else self.family.learned_positions

    @property
    def query_dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def moe(self) -> bool:
        return self.experts > 0

    @property
    def dense_layers(self) -> int:
        """How many layers of a mixture have no experts; those of `dense_places`, counted from 0."""
        return len(self.dense_places)

    @cached_property
    def without_experts(self) -> ModelFacts:
        """The same model if all its layers were like the dense ones."""
        return dataclasses.replace(self, experts=0, dense_places=())

    @cached_property
    def linears(self) -> tuple[Linear, ...]:
        """Matrices of one layer (of the sparse kind, where a model mixes dense and sparse layers)."""
        mlp = self._experts() if self.moe else self._mlp(self.ffn)
        return (*self.beside.linears, *self._attention(), *mlp)

    @cached_property
    def layer_parameters(self) -> int:
        """Parameters of one layer, norms included."""
        matrices = sum(linear.parameters for linear in self.linears)
        return matrices + self.norm_parameters + self.beside.in_layer

    @property
    def norm_parameters(self) -> int:
        """Parameters of the norms in one layer."""
        per = self.hidden * (2 if self.family.norm == "layer" and self.family.norm_bias else 1)
        count = 0 if self.family.norm == "plain" else self.family.norms * per
        if self.family.qk_norm == "head":
            count += 2 * self.head_dim
        elif self.family.qk_norm == "full":
            count += self.query_dim + self.kv_dim
        if self.low_rank_key:
            count += self.low_rank_key + self.low_rank_query
        return count

    @property
    def embedding_width(self) -> int:
        """Width of the embeddings, which a projection may widen."""
        return self.beside.embedding or self.hidden

    @property
    def own_layers(self) -> int:
        """Layers that have weights of their own: fewer than there are where layers share them (ALBERT)."""
        return min(self.layers, self.beside.layers or self.layers)

    @property
    def token_parameters(self) -> int:
        """Parameters of the embeddings of tokens."""
        return self.vocab * self.embedding_width

    @property
    def embedding_parameters(self) -> int:
        """Token embeddings, and learned positions and token types where there are any."""
        learned = self.beside.positions
        if self.family.learned_positions and not self.family.encoder:
            learned = self.max_positions + self.family.position_offset
        return self.token_parameters + (learned + self.token_types) * self.embedding_width

    @property
    def head_parameters(self) -> int:
        """Parameters of the output head that writes; 0 where it is tied to the embeddings."""
        if self.family.encoder:
            norm = 3 * self.hidden if self.family.norm_bias else self.hidden  # and the dense layer's bias
            return self.hidden * self.hidden + self.vocab + norm
        bias = self.vocab if self.family.head_bias else 0
        return bias if self.tied else self.vocab * self.hidden + bias

    @property
    def final_norm(self) -> int:
        """Parameters of the norm behind the layers; of an encoder with norms behind them, of that before."""
        if self.family.norm == "plain":
            return 0
        if self.family.encoder and self.family.norm_bias:
            wide = self.hidden if self.family.disentangled else self.embedding_width
            return 2 * wide
        return self.hidden * (2 if self.family.norm == "layer" and self.family.norm_bias else 1)

    @cached_property
    def body_parameters(self) -> int:
        """All parameters but those of a head."""
        dense = 0
        if self.moe and self.dense_layers:
            attention = sum(linear.parameters for linear in self._attention())
            one = attention + sum(linear.parameters for linear in self._mlp(self.ffn)) + self.norm_parameters
            dense = self.dense_layers * (one - self.layer_parameters)
        layers = self.own_layers * self.layer_parameters + dense
        rest = self.beside.outside + self.beside.norms + self.final_norm
        return layers + self.embedding_parameters + rest

    @cached_property
    def parameters(self) -> int:
        """All parameters, with the head that writes."""
        return self.body_parameters + self.head_parameters

    def _attention(self) -> tuple[Linear, ...]:
        hidden, query, kv = self.hidden, self.query_dim, self.kv_dim
        names, bias = self.family.attention, self.attention_bias
        out_bias = bias if self.family.output_bias is None else self.family.output_bias
        if self.low_rank_key:
            return self._latent()
        if len(names) == 2:
            fused_bias = bias and not self.family.disentangled
            fused = Linear(names[0], hidden, query + 2 * kv, fused_bias, "attention")
            return (fused, Linear(names[1], query, hidden, out_bias, "attention"))
        return (
            Linear(names[0], hidden, query, bias, "attention"),
            Linear(names[1], hidden, kv, bias, "attention"),
            Linear(names[2], hidden, kv, bias, "attention"),
            Linear(names[3], query, hidden, out_bias, "attention"),
        )

    def _latent(self) -> tuple[Linear, ...]:
        """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""
        query = self.heads * self.head_dim
        found = []
        if self.low_rank_query:
            found.append(Linear("q_a_proj", self.hidden, self.low_rank_query, False, "attention"))
            found.append(Linear("q_b_proj", self.low_rank_query, query, False, "attention"))
        else:
            found.append(Linear("q_proj", self.hidden, query, False, "attention"))
        up = self.heads * (self.head_dim - self.rope_dim + self.value_dim)
        found += [
            Linear("kv_a_proj_with_mqa", self.hidden, self.low_rank_key + self.rope_dim, False, "attention"),
            Linear("kv_b_proj", self.low_rank_key, up, False, "attention"),
            Linear("o_proj", self.heads * self.value_dim, self.hidden, False, "attention"),
        ]
        return tuple(found)

    def _mlp(self, size: int, group: str = "mlp", copies: int = 1) -> tuple[Linear, ...]:
        names, bias = self.family.mlp, self.mlp_bias
        if len(names) == 3:
            return (
                Linear(names[0], self.hidden, size, bias, group, copies),
                Linear(names[1], self.hidden, size, bias, group, copies),
                Linear(names[2], size, self.hidden, bias, group, copies),
            )
        first = 2 * size if self.family.gated else size
        return (
            Linear(names[0], self.hidden, first, bias, group, copies),
            Linear(names[1], size, self.hidden, bias, group, copies),
        )

    def _experts(self) -> tuple[Linear, ...]:
        router = Linear("gate", self.hidden, self.experts, False, "router")
        shared = self._mlp(self.shared_ffn, "shared") if self.shared_ffn else ()
        if shared and self.family.shared_gate:
            shared = (*shared, Linear(SHARED_GATE, self.hidden, 1, False, "shared"))
        return (router, *self._mlp(self.expert_ffn, "expert", self.experts), *shared)


def facts_from_config(config: Mapping[str, Any], name: str = "", where: str = "config.json") -> ModelFacts:
    """Read the shapes in a transformers config.

    Args:
        config: The parsed `config.json`. A multimodal config is read through its `text_config`, and marked
            unverified.
        name: What to call the model; the config's own `_name_or_path` otherwise.
        where: Shown in errors.

    Raises:
        ModelError: a field is missing, no number, or absurd.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        hint = _("A transformers config.json names its architecture there.")
        raise ModelError(_("has no `model_type`."), where=where, hint=hint)
    check_sizes(config, where)
    outer = kind
    text = config.get("text_config")
    if isinstance(text, Mapping) and kind not in FAMILIES:
        merged = {**text}
        merged.setdefault("tie_word_embeddings", config.get("tie_word_embeddings"))
        merged.setdefault("model_type", kind)
        config, kind = merged, str(merged["model_type"])
    family = family_of(kind, config)
    values = Numbers(config, family, where)
    facts = _build(values, family, kind, name or str(config.get("_name_or_path") or kind))
    if facts.parameters > MOST_PARAMETERS:
        what = _("describes {count:,} parameters, which no model has.", count=facts.parameters)
        raise ModelError(what, where=where)
    why = uncounted = ""
    if kind not in FAMILIES:
        why = uncounted = _not_in_table(kind, family)
    elif outer != kind:
        why = uncounted = _("only the language part of {name} is counted", name=one_line(outer, 60))
    elif isinstance(config.get("quantization_config"), Mapping):
        why = _("the weights are stored quantised, and are counted as if they were not")
    elif not family.verified:
        why = _("{name} was never measured", name=kind)
    if why:
        facts = dataclasses.replace(facts, verified=False, why_unverified=why, uncounted=uncounted)
    return facts


def _not_in_table(kind: str, family: Family) -> str:
    if family.encoder:
        return _(
            "the architecture {name} is not in the table, so it is taken for a BERT", name=one_line(kind, 60)
        )
    return _(
        "the architecture {name} is not in the table, so it is taken for a Llama", name=one_line(kind, 60)
    )


def _build(values: Numbers, family: Family, kind: str, name: str) -> ModelFacts:
    hidden = values.number("hidden_size")
    heads = values.number("num_attention_heads")
    kv_heads = heads if family.encoder else values.number("num_key_value_heads", heads)
    latent = values.number("kv_lora_rank", 0, 0) if family.latent else 0
    rope_dim = values.number("qk_rope_head_dim", 64, 0) if family.latent else 0
    if family.latent:
        head_dim = values.number("qk_nope_head_dim", 128) + rope_dim
    else:
        head_dim = values.number("head_dim", max(1, hidden // heads))
        if "head_dim" not in family.defaults and not values.config.get("head_dim") and hidden % heads:
            problem = _(
                "hidden_size {hidden} is no multiple of num_attention_heads {heads}.",
                hidden=hidden,
                heads=heads,
            )
            raise ModelError(problem, where=values.where)
    if heads % kv_heads:
        problem = _(
            "num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}.",
            heads=heads,
            kv_heads=kv_heads,
        )
        raise ModelError(problem, where=values.where)
    experts = values.number("num_experts", 0, 0) if family.moe else 0
    dtype = values.config.get("dtype") or values.config.get("torch_dtype") or ""
    ffn = values.number("intermediate_size", 4 * hidden)
    layers = values.number("num_hidden_layers")
    positions = values.number("max_position_embeddings", 2048, 0)
    return ModelFacts(
        name=one_line(name, 200),
        model_type=kind,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=ffn,
        vocab=values.number("vocab_size"),
        tied=values.flag("tie_word_embeddings", family.tied),
        family=family,
        max_positions=positions - _first_position(values) if positions else 0,
        attention_bias=family.attention_bias or values.flag(family.attention_bias_field, False),
        mlp_bias=family.mlp_bias or values.flag("mlp_bias", False),
        experts=experts,
        experts_per_token=values.number("experts_per_token", 2) if experts else 0,
        expert_ffn=values.number("expert_size", ffn) if experts else 0,
        shared_ffn=_shared(values, family) if experts else 0,
        dense_places=_dense(values, layers) if experts else (),
        low_rank_query=values.number("q_lora_rank", 0, 0) if values.config.get("q_lora_rank", latent) else 0,
        low_rank_key=latent,
        rope_dim=rope_dim,
        value_dim=values.number("v_head_dim", 128) if family.latent else 0,
        token_types=values.number("type_vocab_size", 0, 0) if family.encoder else 0,
        beside=weights_beside(kind, family, values.config, hidden, heads, positions),
        raw=dict(values.config),
        activation=str(
            values.config.get("hidden_act")
            or values.config.get("hidden_activation")
            or values.config.get("activation_function")
            or family.activation
        ),
        dropout=_rate(values, family.dropout_field, family.dropout),
        attention_dropout=_rate(values, family.attention_dropout_field, family.attention_dropout),
        weights_dtype=str(dtype).removeprefix("torch."),
    )


def _first_position(values: Numbers) -> int:
    """Rows of the table of positions that no token reads."""
    padding = values.config.get("pad_token_id")
    if not values.family.padded_positions:
        return 0
    known = isinstance(padding, int) and not isinstance(padding, bool) and 0 <= padding < 8
    return int(padding) + 1 if known and padding is not None else 2


def _rate(values: Numbers, field: str, default: float) -> float:
    """A rate of dropout while a model trains."""
    found = values.config.get(field, default)
    return float(found) if isinstance(found, int | float) else default


def _dense(values: Numbers, layers: int) -> tuple[int, ...]:
    """Which layers of a mixture have no experts."""
    first = values.number("first_k_dense_replace", 0, 0)
    step = values.number("decoder_sparse_step", 1)
    named = values.config.get("mlp_only_layers")
    plain = {place for place in named if isinstance(place, int)} if isinstance(named, list) else set()
    return tuple(
        place for place in range(layers) if place < first or place in plain or (place + 1) % step != 0
    )


def _shared(values: Numbers, family: Family) -> int:
    """Inner size of the expert that every token passes."""
    if family.shared_field == "n_shared_experts":
        return values.number("n_shared_experts", 0, 0) * values.number("expert_size", 0, 0)
    return values.number(family.shared_field, 0, 0) if family.shared_field else 0


def load_facts(model: ModelSection, *, network: bool = True) -> ModelFacts:
    """Facts of the model that a config asks for: random weights of a given shape, `demo`, a folder, the
    embedded catalogue, the hub's local cache or, with `network`, the hub itself.

    Raises:
        ModelError: no such model, or its config cannot be used.
        HubError: the hub cannot be reached, or wants an access token.
    """
    with about("model.name" if model.architecture is None else "model.architecture"):
        return _load_facts(model, network)


def _load_facts(model: ModelSection, network: bool) -> ModelFacts:
    if model.architecture is not None:
        shape = {**model.architecture}
        if model.tokenizer == "train":
            shape.setdefault("vocab_size", model.vocabulary)
        return facts_from_config(shape, name=str(shape.get("model_type", "")), where="model.architecture")
    from tui_tuner.models.tiny import own_folder

    own = own_folder(model.name)
    if own is not None:
        return facts_from_config(read_config(own / "config.json"), model.name, f"{model.name}/config.json")
    folder = Path(model.name).expanduser()
    if os.path.isdir(folder):
        path = folder / "config.json"
        return _with_header(facts_from_config(read_config(path), folder.name, one_line(path)), folder)
    from tui_tuner.models.catalog import find

    known = find(model.name)
    if known is not None and model.revision is None:
        return facts_from_config(known, model.name, model.name)
    path = config_from_hub(model, network)
    return facts_from_config(read_config(path), model.name, f"{one_line(model.name)}/config.json")


def _with_header(facts: ModelFacts, folder: Path) -> ModelFacts:
    """Check the shapes against the safetensors header, where weights are there.

    They may have been stored with the head that writes, with one that decides, or with none.
    """
    stored = stored_parameters(folder)
    if stored is None:
        return facts
    if facts.family.pooled and not stores(folder, "pooler"):
        facts = dataclasses.replace(facts, new_pooler=True)
    least, most = facts.body_parameters, facts.parameters
    if facts.encoder:
        most += 2 * facts.hidden * (facts.hidden + 1)  # a pooler, and a layer of a head
    if 0.995 * least <= stored <= 1.005 * most:
        return facts
    why = _(
        "config.json describes {described:,} parameters, but the weights hold {stored:,}",
        described=facts.parameters,
        stored=stored,
    )
    return dataclasses.replace(facts, verified=False, why_unverified=facts.why_unverified or why)
