"""One decoder or encoder layer, line by line as in transformers' modelling code and PEFT's layers.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.planning.memory.attention import attention
from tui_tuner.planning.memory.linear import Matrix
from tui_tuner.planning.memory.meter import SINGLE, Parameter, Tape, Tensor
from tui_tuner.planning.memory.mlp import mixture, mlp
from tui_tuner.planning.memory.ops import add, dropout, norm
from tui_tuner.planning.memory.prompts import layer_size
from tui_tuner.planning.memory.setup import Setup


class Layer:
    """One decoder or encoder layer; `trained` says whether anything in it has a gradient."""

    def __init__(self, setup: Setup, trained: bool) -> None:
        self.setup, self.trained = setup, trained
        facts = setup.facts
        self.family = facts.family
        self.tokens = float(setup.tokens)
        self.full = setup.full and trained
        self.parameters: list[Parameter] = []
        self.linears = {linear.name: Matrix(self, linear) for linear in facts.linears}
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

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        if self.family.parallel:
            return self._parallel(tape, x)
        if self.family.encoder and self.family.norm_bias:
            return self._post_norm(tape, x)
        residual = x
        sandwich = self.family.norms == 4
        after = self.family.norm_after
        hidden = x if after else norm(tape, x, self, self.norms[0])
        hidden = attention(self, tape, hidden)
        if after:
            hidden = norm(tape, hidden, self, self.norms[0])
        if sandwich:
            hidden = norm(tape, hidden, self, self.norms[1])
        hidden = self._join(tape, residual, hidden)
        residual = hidden
        if not after:
            hidden = norm(tape, hidden, self, self.norms[-1])
        hidden = mixture(self, tape, hidden) if self.setup.facts.moe else mlp(self, tape, hidden)
        if after:
            hidden = norm(tape, hidden, self, self.norms[-1])
        if sandwich:
            hidden = norm(tape, hidden, self, self.norms[2])
        return self._join(tape, residual, hidden)

    def _join(self, tape: Tape, residual: Tensor, hidden: Tensor) -> Tensor:
        if self.family.multipliers:
            hidden = tape.op(hidden.count, hidden.width, (hidden,))
        return add(tape, residual, dropout(tape, hidden, self.setup.facts.dropout))

    def _parallel(self, tape: Tape, x: Tensor) -> Tensor:
        hidden = norm(tape, x, self, self.norms[0])
        attended = attention(self, tape, hidden)
        if self.family.norms > 1:  # a norm of its own for each (GPT-NeoX)
            hidden = norm(tape, x, self, self.norms[1])
        fed = mlp(self, tape, hidden)
        return add(tape, add(tape, attended, fed), x)

    def _post_norm(self, tape: Tape, x: Tensor) -> Tensor:
        attended = dropout(tape, attention(self, tape, x), self.setup.facts.dropout)
        hidden = norm(tape, add(tape, attended, x), self, self.norms[0])
        del attended
        fed = dropout(tape, mlp(self, tape, hidden), self.setup.facts.dropout)
        return norm(tape, add(tape, fed, hidden), self, self.norms[1])
