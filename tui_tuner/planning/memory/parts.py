"""The parts of one decoder or encoder layer: linear layers, norms and prefix, and which are trained.

`layer_steps`, `attention_steps` and `mlp` have the order in which they compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.joint import simulate_joint_layers
from tui_tuner.planning.memory.linear import Matrix
from tui_tuner.planning.memory.meter import SINGLE, Parameter, Tape, Tensor
from tui_tuner.planning.memory.prompt_tokens import measure_prefix_size
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.sublayers import make_sublayers

SHARED = "shared."  # before the names of an expert that every token passes
# Tokens of the busiest expert against an equal share. What a router chooses is not known before; this is what
# the two measured runs of Mixtral-8x7B come down to whose peak lies there.
BUSIEST = 2.0


def group_experts(experts: int, per_token: int) -> list[tuple[int, float]]:
    """Group experts for the simulation of a loop over them: how many at a time, and their share of tokens.

    The last is the busiest alone. Before it come halves of what is left, so that few stand for many and none
    of them peaks above the last: of each, at least as much is still to come.
    """
    # No expert can get more than one row of each token
    busiest = min(1.0 / per_token, BUSIEST / experts)
    groups, left = [], experts - 1
    while left:
        together = 1 if experts <= 8 else max(1, left // 2)
        groups.append((together, (1 - busiest) * together / (experts - 1)))
        left -= together
    return [*groups, (1, busiest)]


def name_expert_matrix(name: str, group: int) -> str:
    """Return the name of an expert group's matrix among those of a layer."""
    return f"{name}.{group}"


class LayerParts:
    """The parts of one layer; `trained` says whether anything in it has a gradient."""

    def __init__(self, setup: Setup, trained: bool) -> None:
        self.setup, self.trained = setup, trained
        facts = setup.facts
        self.family = facts.family
        self.tokens = float(setup.total_tokens)
        self.full = setup.trains_weights and trained
        # Only transformers 4 loops over experts; 5 computes all in one product
        apart = facts.has_experts and not setup.stack.fused_experts
        self.groups = group_experts(facts.experts, facts.experts_per_token) if apart else []
        self.linears = {
            name: Matrix(setup, linear, trained=trained, full=self.full)
            for name, linear in self._list_shapes()
        }
        self.names = list(self.linears)
        self.inner: Tensor | None = None  # between the matrices of the feed-forward block
        self.sublayers = make_sublayers(setup, trained)
        self.parameters: list[Parameter] = [own for one in self.linears.values() for own in one.parameters]
        self.parameters += [own for one in self.sublayers.values() for own in one.parameters]
        self._together = self._same_input()
        self._waiting: dict[str, Tensor] = {}
        self.prefix = self._prefix_parameter()
        self.norms = [self._norm_parameter(facts.hidden) for _ in range(max(2, self.family.norms))]
        self.query_norm, self.key_norm = self._head_norms()
        self.low_norms = [self._norm_parameter(size) for size in (facts.low_rank_query, facts.low_rank_key)]

    def _list_shapes(self) -> Iterator[tuple[str, Linear]]:
        """Yield the layer's matrices by unique names: experts and the shared one have the same in a model."""
        for linear in self.setup.facts.layer_linears:
            if linear.group == "expert" and self.groups:
                for number, (together, _share) in enumerate(self.groups):
                    yield name_expert_matrix(linear.name, number), replace(linear, copies=together)
            else:
                yield (SHARED if linear.group == "shared" else "") + linear.name, linear

    def _head_norms(self) -> tuple[Parameter | None, Parameter | None]:
        """Return the norms of queries and keys."""
        facts, kind = self.setup.facts, self.family.qk_norm
        if not kind:
            return None, None
        sizes = (facts.head_dim,) * 2 if kind == "head" else (facts.query_dim, facts.kv_dim)
        query, key = (self._norm_parameter(size) for size in sizes)
        return query, key

    def _norm_parameter(self, size: int) -> Parameter | None:
        if not size or (not self.full and not self.setup.trains_norms):
            return None
        if self.family.norm == "plain" or not self.trained:
            return None
        copied = self.setup.form is Form.NORMS  # trained in float32, next to the model's own
        width = self.setup.adapter if copied else self.setup.norm
        parameter = Parameter(size, width, shape=(size,))
        self.parameters.append(parameter)
        return parameter

    def _prefix_parameter(self) -> Parameter | None:
        size = measure_prefix_size(self.setup) if self.trained else 0.0
        if not size:
            return None
        parameter = Parameter(size, SINGLE)
        self.parameters.append(parameter)
        return parameter

    @property
    def normed_after(self) -> bool:
        """Return whether norms are after the sums, as in BERT."""
        return self.family.encoder and self.family.norm_bias

    def run_linear(self, tape: Tape, x: Tensor, name: str) -> Tensor:
        """Simulate a linear layer. The first of those that are computed together computes all of them."""
        if not self.linears[name].is_joint:
            return self.linears[name](tape, x)
        if name not in self._waiting:
            together = next((names for names in self._together if name in names), (name,))
            found = simulate_joint_layers(tape, x, [self.linears[one] for one in together])
            self._waiting = dict(zip(together, found, strict=True))
            del found
        return self._waiting.pop(name)

    def _same_input(self) -> list[tuple[str, ...]]:
        """Group the names of matrices of a module with the same input and the same kind of adapter."""
        # Latent attention reads the hidden states in its first projections only
        latent = ("q_a_proj", "q_proj", "kv_a_proj_with_mqa")
        mlp = self.family.mlp[:-1]
        sets = [latent if self.setup.facts.low_rank_key else self.family.attention[:-1], mlp]
        sets.append(tuple(SHARED + name for name in mlp))
        # a decoder's keys and values of the source; its queries read something else
        sets.append(self.family.cross[1:3])
        return [
            tuple(name for name in names if name in self.linears and self.linears[name].is_joint)
            for names in sets
        ]

    def run_sublayer(self, tape: Tape, branch: str, hidden: Tensor, residual: Tensor) -> Tensor:
        """The adapter behind a branch, if it has one."""
        found = self.sublayers.get(branch)
        return hidden if found is None else found.adapt_output(tape, hidden, residual)

    def output_name(self) -> str:
        """Return the name of the projection after attention."""
        return next(n for n in reversed(self.names) if self.linears[n].shape.group == "attention")
