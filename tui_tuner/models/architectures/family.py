"""Define the facts that an architecture fixes beyond its config.json; `families` has one per `model_type`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# It weighs the shared expert's output (Qwen2-MoE).
SHARED_GATE = "shared_expert_gate"
SEPARATE = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Linear:
    """A matrix in a layer. `group` is attention, mlp, expert, shared or router; `copies` counts experts."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False
    group: str = "mlp"
    copies: int = 1

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.copies

    @property
    def parameters(self) -> int:
        return self.weights + (self.outputs * self.copies if self.bias else 0)


@dataclass(frozen=True)
class Family:
    """Facts that a config.json leaves out because the architecture fixes them.

    `norm_after` means that norms follow attention and MLP instead of preceding them;
    `norm_late` means that RMSNorm's weights are applied before it casts back from float32;
    `dropout_field` names the dropout rate after attention and MLP, `dropout` is its default,
    and likewise for attention itself;
    `norm` is rms, layer or plain (no parameters); `norms` counts them in a layer, `first_norm` that the
    first layer has that before attention; `parallel` means that
    attention and MLP read the same norm; `multipliers` that activations are scaled (Granite);
    `scaled_logits`, `softcap` that logits are; `qk_norm` is "", head or full;
    `pooled` that a text's first position passes a layer of its own (a pooler) on the way to a head;
    `padded_positions` that learned positions begin after the padding token's id; `projects` that
    embeddings may be narrower than the layers, `shared` that layers use the same weights, `disentangled` that
    positions have their own weights in attention, `relative` that a table adds distances to scores;
    `stacked` that it is one of two stacks, of which `source` is the encoder's family, in that of a decoder,
    and `cross` the decoder's attention to what the encoder found; such a stack has norms before its first and
    after its last layer (`stack_norms`), `norm_sums` that those in its layers follow the sums, and `tables`
    whether each stack or each layer has a table of distances; `ties_anyway` that the head of a new model is
    tied, whatever its config says, `scaled_states` that states are scaled before the head, and
    `logits_bias` that numbers are added to the logits that are no weights;
    `text_head`, `token_head`, `span_head` are how the heads are made (`heads`), `no_heads` those that
    transformers has no class for; `takes_prefix` that its layers take keys and values from outside;
    `aliases` are the names that a config may use for a field; if several are present, the first counts.
    """

    attention: tuple[str, ...] = SEPARATE
    mlp: tuple[str, ...] = GATED
    gated: bool = True
    norm: str = "rms"
    norm_bias: bool = True
    norms: int = 2
    first_norm: bool = True
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
    padded_positions: bool = False
    pooled: bool = False
    projects: bool = False
    shared: bool = False
    disentangled: bool = False
    text_head: str = "score"
    token_head: str = "score"
    span_head: str = "qa_outputs"
    no_heads: tuple[str, ...] = ()
    takes_prefix: bool = True
    relative: bool = False
    stacked: bool = False
    source: Family | None = None
    cross: tuple[str, ...] = ()
    norm_sums: bool = False
    stack_norms: tuple[str, ...] = ("last",)
    tables: str = "stack"
    ties_anyway: bool = False
    scaled_states: bool = False
    logits_bias: bool = False
    shared_field: str = ""
    shared_gate: bool = False
    verified: bool = True
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)

    @property
    def counts_places(self) -> bool:
        """Return whether attention depends on distances within a row, whatever the position ids are."""
        return self.relative or self.disentangled


GENERIC = Family(verified=False)
LAYER_NORM = Family(norm="layer", mlp=("fc1", "fc2"), gated=False, attention_bias=True, mlp_bias=True)
