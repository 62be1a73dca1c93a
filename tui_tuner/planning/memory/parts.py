"""What one decoder or encoder layer is made of: its linear layers, norms and prefix, and which are trained.

In which order they compute is `layers.Layer`, with `attention` and `mlp`.
"""

from __future__ import annotations

from tui_tuner.planning.memory.linear import Matrix
from tui_tuner.planning.memory.meter import SINGLE, Parameter, Tape, Tensor
from tui_tuner.planning.memory.prompts import layer_size
from tui_tuner.planning.memory.setup import Setup


class LayerParts:
    """The parts of one layer; `trained` says whether anything in it has a gradient."""

    def __init__(self, setup: Setup, trained: bool) -> None:
        self.setup, self.trained = setup, trained
        facts = setup.facts
        self.family = facts.family
        self.tokens = float(setup.tokens)
        self.full = setup.full and trained
        matrices = [Matrix(setup, linear, trained=trained, full=self.full) for linear in facts.linears]
        self.parameters: list[Parameter] = [own for matrix in matrices for own in matrix.parameters]
        self.linears = {matrix.shape.name: matrix for matrix in matrices}
        self.names = [linear.name for linear in facts.linears]
        self.prefix = self._prefix_parameter()
        self.norms = [self._norm_parameter(facts.hidden) for _ in range(max(2, self.family.norms))]
        self.query_norm, self.key_norm = self._head_norms()

    def _head_norms(self) -> tuple[Parameter | None, Parameter | None]:
        """Those of queries and keys."""
        facts, kind = self.setup.facts, self.family.qk_norm
        if not kind:
            return None, None
        sizes = (facts.head_dim,) * 2 if kind == "head" else (facts.query_dim, facts.kv_dim)
        query, key = (self._norm_parameter(size) for size in sizes)
        return query, key

    def _norm_parameter(self, size: int) -> Parameter | None:
        if not self.full and self.setup.variant != "ln":
            return None
        if self.family.norm == "plain" or not self.trained:
            return None
        parameter = Parameter(size, self.setup.norm)
        self.parameters.append(parameter)
        return parameter

    def _prefix_parameter(self) -> Parameter | None:
        size = layer_size(self.setup) if self.trained else 0.0
        if not size:
            return None
        parameter = Parameter(size, SINGLE)
        self.parameters.append(parameter)
        return parameter

    def linear(self, tape: Tape, x: Tensor, name: str) -> Tensor:
        """A linear layer by its name."""
        return self.linears[name](tape, x)

    def output_name(self) -> str:
        """The projection behind attention."""
        return next(n for n in reversed(self.names) if self.linears[n].shape.group == "attention")
