"""Shapes of a model from its `config.json`, without weights, torch or transformers.

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
from tui_tuner.errors import ModelError, name_error_field
from tui_tuner.locales import _
from tui_tuner.models.architectures.encoders import NOTHING, ExtraWeights, find_extra_weights
from tui_tuner.models.architectures.families import FAMILIES, describe_unknown_architecture, find_model_family
from tui_tuner.models.architectures.family import Family, Linear
from tui_tuner.models.architectures.layer_matrices import LayerMatrices
from tui_tuner.models.architectures.older_code import check_older_code
from tui_tuner.models.growing.grown_facts import grow_facts
from tui_tuner.models.lookup import count_elements, find_hub_config, has_module, read_config_json
from tui_tuner.models.sizes import MOST_PARAMETERS, ConfigNumbers, check_sizes
from tui_tuner.text import one_line


@dataclass(frozen=True)
class ModelFacts(LayerMatrices):
    """Shapes of a model. Sizes are numbers of elements; `name` is what to call it on a screen.

    Those of an encoder-decoder are of its decoder, and `source` has those of its encoder, whose `vocab` is 0
    if both read the same embeddings. `new_rows` are embeddings of new tokens that are trained alone.
    """

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
    beside: ExtraWeights = NOTHING
    activation: str = ""
    dropout: float = 0.0
    attention_dropout: float = 0.0
    weights_dtype: str = ""
    verified: bool = True
    why_unverified: str = ""
    uncounted: str = ""
    new_pooler: bool = False
    source: ModelFacts | None = None
    new_rows: int = 0
    raw: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @property
    def encoder(self) -> bool:
        return self.family.encoder

    @property
    def positions_end(self) -> bool:
        """Return whether positions are a table, which limits how long a text can be."""
        if self.encoder or self.family.stacked:
            return bool(self.beside.positions)
        return self.family.learned_positions

    @property
    def stacks(self) -> tuple[ModelFacts, ...]:
        """Return the stacks of layers in the order of computation: one, or an encoder's and a decoder's."""
        return (self,) if self.source is None else (self.source, self)

    @property
    def has_experts(self) -> bool:
        return self.experts > 0

    @property
    def dense_layers(self) -> int:
        """Return how many layers of a mixture have no experts (`dense_places`, counted from 0)."""
        return len(self.dense_places)

    @cached_property
    def without_experts(self) -> ModelFacts:
        """Return the same model as if all its layers were dense."""
        return dataclasses.replace(self, experts=0, dense_places=())

    @cached_property
    def layer_linears(self) -> tuple[Linear, ...]:
        """Return the matrices of one layer (a sparse one, where a model mixes dense and sparse layers)."""
        mlp = self.list_experts() if self.has_experts else self.list_mlp(self.ffn)
        return (*self.beside.linears, *self.list_attention(), *self.list_cross_attention(), *mlp)

    @cached_property
    def layer_parameters(self) -> int:
        matrices = sum(linear.parameters for linear in self.layer_linears)
        return matrices + self.norm_parameters + self.beside.in_layer

    @property
    def norm_parameters(self) -> int:
        per = self.hidden * (2 if self.family.norm == "layer" and self.family.norm_bias else 1)
        count = 0 if self.family.norm == "plain" else self.family.norms * per
        if self.family.qk_norm == "head":
            count += 2 * self.head_dim
        elif self.family.qk_norm == "full":
            count += self.query_dim + self.kv_dim
        if self.low_rank_key:
            # Latent attention norms the compressed keys and the compressed query, each over its own rank.
            count += self.low_rank_key + self.low_rank_query
        return count

    @property
    def embedding_width(self) -> int:
        """Return the width of the embeddings, which a projection may widen to `hidden`."""
        return self.beside.embedding or self.hidden

    @property
    def own_layers(self) -> int:
        """Count the layers with their own weights: fewer than `layers` if layers share them (ALBERT)."""
        return min(self.layers, self.beside.layers or self.layers)

    @property
    def token_parameters(self) -> int:
        return self.vocab * self.embedding_width

    @property
    def embedding_parameters(self) -> int:
        """Count token embeddings, with learned positions and token types where there are any."""
        learned = self.beside.positions
        if self.family.learned_positions and not (self.family.encoder or self.family.stacked):
            # `max_positions` is what texts may use; the stored table also has the rows before the offset.
            learned = self.max_positions + self.family.position_offset
        return self.token_parameters + (learned + self.token_types) * self.embedding_width

    @property
    def head_parameters(self) -> int:
        """Count the parameters of the language-model head; 0 where it is tied to the embeddings."""
        if self.family.encoder and self.family.stacked:
            return 0  # the decoder writes
        if self.family.encoder:
            # The head that guesses hidden tokens: a dense layer, a norm, and the embeddings again with a bias
            wide = self.embedding_width
            norm = 3 * wide if self.family.norm_bias else wide  # and the dense layer's bias
            return self.hidden * wide + self.vocab + norm
        bias = self.vocab if self.family.head_bias else 0
        return bias if self.tied else self.vocab * self.hidden + bias

    @property
    def final_norm(self) -> int:
        """Count the parameters of the norm after the layers, or of an encoder's norm before them."""
        if self.family.norm == "plain" or not self.family.stack_norms:
            return 0
        if self.family.encoder and self.family.norm_bias and not self.family.stacked:
            # DeBERTa norms after the projection of its embeddings, the other encoders before it.
            wide = self.hidden if self.family.disentangled else self.embedding_width
            return 2 * wide
        return self.hidden * (2 if self.family.norm == "layer" and self.family.norm_bias else 1)

    @cached_property
    def body_parameters(self) -> int:
        """Count all parameters except those of a head."""
        dense = 0
        if self.has_experts and self.dense_layers:
            attention = sum(linear.parameters for linear in self.list_attention())
            one = (
                attention
                + sum(linear.parameters for linear in self.list_mlp(self.ffn))
                + self.norm_parameters
            )
            # All layers are counted as sparse below, so a dense layer adds the (negative) difference.
            dense = self.dense_layers * (one - self.layer_parameters)
        layers = self.own_layers * self.layer_parameters + dense
        rest = self.beside.outside + self.beside.norms + self.final_norm
        source = 0 if self.source is None else self.source.body_parameters
        return source + layers + self.embedding_parameters + rest

    @cached_property
    def parameters(self) -> int:
        return self.body_parameters + self.head_parameters


def read_config_facts(config: Mapping[str, Any], name: str = "", where: str = "config.json") -> ModelFacts:
    """Read the shapes in a transformers config.

    Args:
        config: The parsed `config.json`. A multimodal config is read through its `text_config`, and marked
            unverified.
        name: What to call the model; the config's own `_name_or_path` otherwise.
        where: Shown in errors.

    Raises:
        ModelError: a field is missing, not a number, or absurd.
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
        # Multimodal configs keep this flag outside of `text_config`, where the language part would miss it.
        merged.setdefault("tie_word_embeddings", config.get("tie_word_embeddings"))
        merged.setdefault("model_type", kind)
        config, kind = merged, str(merged["model_type"])
    family = find_model_family(kind, config)
    values = ConfigNumbers(config, family, where)
    facts = _build_facts(values, family, kind, name or str(config.get("_name_or_path") or kind))
    if family.source is not None:
        facts = dataclasses.replace(facts, source=_build_source(values, family.source, facts))
    if facts.parameters > MOST_PARAMETERS:
        what = _("describes {count:,} parameters, more than any model has.", count=facts.parameters)
        raise ModelError(what, where=where)
    why = uncounted = ""
    if kind not in FAMILIES:
        why = uncounted = describe_unknown_architecture(kind, family)
    elif outer != kind:
        why = uncounted = _("only the language part of {name} is counted", name=one_line(outer, 60))
    elif isinstance(config.get("quantization_config"), Mapping):
        why = _("the weights are stored quantised but are counted as if they were not")
    elif not family.verified:
        why = _("{name} has never been measured", name=kind)
    if why:
        facts = dataclasses.replace(facts, verified=False, why_unverified=why, uncounted=uncounted)
    return facts


def _build_facts(values: ConfigNumbers, family: Family, kind: str, name: str) -> ModelFacts:
    hidden = values.read_number("hidden_size")
    heads = values.read_number("num_attention_heads")
    kv_heads = heads if family.encoder else values.read_number("num_key_value_heads", heads)
    latent = values.read_number("kv_lora_rank", 0, 0) if family.latent else 0
    rope_dim = values.read_number("qk_rope_head_dim", 64, 0) if family.latent else 0
    if family.latent:
        head_dim = values.read_number("qk_nope_head_dim", 128) + rope_dim
    else:
        head_dim = values.read_number("head_dim", max(1, hidden // heads))
        # A head_dim that the config states need not be hidden / heads (Gemma, Qwen3).
        if "head_dim" not in family.defaults and not values.config.get("head_dim") and hidden % heads:
            problem = _(
                "hidden_size {hidden} is not a multiple of num_attention_heads {heads}.",
                hidden=hidden,
                heads=heads,
            )
            raise ModelError(problem, where=values.where)
    if heads % kv_heads:
        problem = _(
            "num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}.",
            heads=heads,
            kv_heads=kv_heads,
        )
        raise ModelError(problem, where=values.where)
    experts = values.read_number("num_experts", 0, 0) if family.moe else 0
    dtype = values.config.get("dtype") or values.config.get("torch_dtype") or ""
    ffn = values.read_number("intermediate_size", 4 * hidden)
    layers = values.read_number("num_hidden_layers")
    positions = values.read_number("max_position_embeddings", 2048, 0)
    return ModelFacts(
        name=one_line(name, 200),
        model_type=kind,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        ffn=ffn,
        vocab=values.read_number("vocab_size"),
        tied=values.read_flag("tie_word_embeddings", family.tied),
        family=family,
        max_positions=positions - _first_position(values) if positions else 0,
        attention_bias=family.attention_bias or values.read_flag(family.attention_bias_field, False),
        mlp_bias=family.mlp_bias or values.read_flag("mlp_bias", False),
        experts=experts,
        experts_per_token=values.read_number("experts_per_token", 2) if experts else 0,
        expert_ffn=values.read_number("expert_size", ffn) if experts else 0,
        shared_ffn=_shared_size(values, family) if experts else 0,
        dense_places=_find_dense_layers(values, layers) if experts else (),
        low_rank_query=values.read_number("q_lora_rank", 0, 0)
        if values.config.get("q_lora_rank", latent)
        else 0,
        low_rank_key=latent,
        rope_dim=rope_dim,
        value_dim=values.read_number("v_head_dim", 128) if family.latent else 0,
        token_types=values.read_number("type_vocab_size", 0, 0) if family.encoder else 0,
        beside=find_extra_weights(kind, family, values.config, hidden, heads, positions),
        raw=dict(values.config),
        activation=str(
            values.config.get("hidden_act")
            or values.config.get("hidden_activation")
            or values.config.get("activation_function")
            or family.activation
        ),
        dropout=_read_rate(values, family.dropout_field, family.dropout),
        attention_dropout=_read_rate(values, family.attention_dropout_field, family.attention_dropout),
        weights_dtype=str(dtype).removeprefix("torch."),
    )


def _build_source(values: ConfigNumbers, family: Family, decoder: ModelFacts) -> ModelFacts:
    """Read the shapes of the encoder of an encoder-decoder."""
    own = ConfigNumbers(values.config, family, values.where)
    found = _build_facts(own, family, decoder.model_type, decoder.name)
    # Marian may have embeddings for each side; all others share them.
    apart = values.read_flag("share_encoder_decoder_embeddings", True) is False
    return dataclasses.replace(found, vocab=found.vocab if apart else 0)


def _first_position(values: ConfigNumbers) -> int:
    padding = values.config.get("pad_token_id")
    if not values.family.padded_positions:
        return 0
    # RoBERTa and kin count positions from the padding id + 1; their usual padding id is 1.
    known = isinstance(padding, int) and not isinstance(padding, bool) and 0 <= padding < 8
    return int(padding) + 1 if known and padding is not None else 2


def _read_rate(values: ConfigNumbers, field: str, default: float) -> float:
    found = values.config.get(field, default)
    return float(found) if isinstance(found, int | float) else default


def _find_dense_layers(values: ConfigNumbers, layers: int) -> tuple[int, ...]:
    first = values.read_number("first_k_dense_replace", 0, 0)
    step = values.read_number("decoder_sparse_step", 1)
    named = values.config.get("mlp_only_layers")
    plain = {place for place in named if isinstance(place, int)} if isinstance(named, list) else set()
    return tuple(
        place for place in range(layers) if place < first or place in plain or (place + 1) % step != 0
    )


def _shared_size(values: ConfigNumbers, family: Family) -> int:
    """Return the inner size of the shared expert, which every token passes; 0 without one."""
    if family.shared_field == "n_shared_experts":
        return values.read_number("n_shared_experts", 0, 0) * values.read_number("expert_size", 0, 0)
    return values.read_number(family.shared_field, 0, 0) if family.shared_field else 0


def load_facts(model: ModelSection, *, network: bool = True) -> ModelFacts:
    """Return the shapes of the model that a config names: random weights of a given shape, `demo`, a folder,
    the embedded catalogue, the hub's local cache or, with `network`, the hub itself.

    Raises:
        ModelError: no such model, or its config cannot be used.
        HubError: the hub cannot be reached, or wants an access token.
    """
    check_older_code(model)
    with name_error_field("model.name" if model.architecture is None else "model.architecture"):
        return grow_facts(_load_facts(model, network), model)


def _load_facts(model: ModelSection, network: bool) -> ModelFacts:
    if model.architecture is not None:
        shape = {**model.architecture}
        # A new T5 is tied in any case; published ones whose config says no have a head of their own.
        if find_model_family(str(shape.get("model_type")), shape).ties_anyway:
            shape.pop("tie_word_embeddings", None)
        if model.tokenizer == "train":
            shape.setdefault("vocab_size", model.vocabulary)
        return read_config_facts(shape, name=str(shape.get("model_type", "")), where="model.architecture")
    from tui_tuner.models.tiny import find_tiny_folder

    own = find_tiny_folder(model.name)
    if own is not None:
        return read_config_facts(
            read_config_json(own / "config.json"), model.name, f"{model.name}/config.json"
        )
    folder = Path(model.name).expanduser()
    if os.path.isdir(folder):
        path = folder / "config.json"
        return _with_header(read_config_facts(read_config_json(path), folder.name, one_line(path)), folder)
    from tui_tuner.models.catalog import find_catalog_config

    known = find_catalog_config(model.name)
    # The catalogue describes the main revision; another one may have other shapes.
    if known is not None and model.revision is None:
        return read_config_facts(known, model.name, model.name)
    path = find_hub_config(model, network)
    return read_config_facts(read_config_json(path), model.name, f"{one_line(model.name)}/config.json")


def _with_header(facts: ModelFacts, folder: Path) -> ModelFacts:
    """Compare the shapes with the safetensors header of a folder, if it has weights."""
    stored = count_elements(folder)
    if stored is None:
        return facts
    if facts.family.ties_anyway and not facts.tied and not has_module(folder, "lm_head"):
        facts = dataclasses.replace(facts, tied=True)
    if facts.family.pooled and not has_module(folder, "pooler"):
        facts = dataclasses.replace(facts, new_pooler=True)
    least, most = facts.body_parameters, facts.parameters
    if facts.encoder:
        most += 2 * facts.hidden * (facts.hidden + 1)  # a pooler, and a layer of a head
    # Half a percent covers buffers that some releases store with the weights.
    if 0.995 * least <= stored <= 1.005 * most:
        return facts
    why = _(
        "config.json describes {described:,} parameters, but the weights hold {stored:,}",
        described=facts.parameters,
        stored=stored,
    )
    return dataclasses.replace(facts, verified=False, why_unverified=facts.why_unverified or why)
