"""List the matrices of one layer, as an architecture names and shapes them."""

from __future__ import annotations

from dataclasses import replace

from tui_tuner.models.architectures.family import SHARED_GATE, Family, Linear


class LayerMatrices:
    """The matrices of one layer, from the sizes that `ModelFacts` has."""

    family: Family
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    attention_bias: bool
    mlp_bias: bool
    experts: int
    expert_ffn: int
    shared_ffn: int
    low_rank_query: int
    low_rank_key: int
    rope_dim: int
    value_dim: int

    @property
    def query_dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        return self.kv_heads * self.head_dim

    def list_cross_attention(self) -> tuple[Linear, ...]:
        """List the matrices by which a decoder reads what its encoder found; none in other models."""
        own = self.list_attention() if self.family.cross else ()
        return tuple(replace(one, name=name) for one, name in zip(own, self.family.cross, strict=True))

    def list_attention(self) -> tuple[Linear, ...]:
        hidden, query, kv = self.hidden, self.query_dim, self.kv_dim
        names, bias = self.family.attention, self.attention_bias
        out_bias = bias if self.family.output_bias is None else self.family.output_bias
        if self.low_rank_key:
            return self._list_latent_attention()
        if len(names) == 2:
            # DeBERTa's biases of query and value are apart from the fused matrix, and counted in `beside`.
            fused_bias = bias and not self.family.disentangled
            fused = Linear(names[0], hidden, query + 2 * kv, fused_bias, "attention")
            return (fused, Linear(names[1], query, hidden, out_bias, "attention"))
        return (
            Linear(names[0], hidden, query, bias, "attention"),
            Linear(names[1], hidden, kv, bias, "attention"),
            Linear(names[2], hidden, kv, bias, "attention"),
            Linear(names[3], query, hidden, out_bias, "attention"),
        )

    def _list_latent_attention(self) -> tuple[Linear, ...]:
        """List the matrices of multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""
        query = self.heads * self.head_dim
        found = []
        if self.low_rank_query:
            found.append(Linear("q_a_proj", self.hidden, self.low_rank_query, False, "attention"))
            found.append(Linear("q_b_proj", self.low_rank_query, query, False, "attention"))
        else:
            found.append(Linear("q_proj", self.hidden, query, False, "attention"))
        # Heads share the rotary part of their keys, which comes with the compressed matrix.
        up = self.heads * (self.head_dim - self.rope_dim + self.value_dim)
        found += [
            Linear("kv_a_proj_with_mqa", self.hidden, self.low_rank_key + self.rope_dim, False, "attention"),
            Linear("kv_b_proj", self.low_rank_key, up, False, "attention"),
            Linear("o_proj", self.heads * self.value_dim, self.hidden, False, "attention"),
        ]
        return tuple(found)

    def list_mlp(self, size: int, group: str = "mlp", copies: int = 1) -> tuple[Linear, ...]:
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

    def list_experts(self) -> tuple[Linear, ...]:
        router = Linear("gate", self.hidden, self.experts, False, "router")
        shared = self.list_mlp(self.shared_ffn, "shared") if self.shared_ffn else ()
        if shared and self.family.shared_gate:
            shared = (*shared, Linear(SHARED_GATE, self.hidden, 1, False, "shared"))
        return (router, *self.list_mlp(self.expert_ffn, "expert", self.experts), *shared)
