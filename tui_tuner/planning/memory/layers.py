"""One decoder or encoder layer, line by line as in transformers' modelling code and PEFT's layers.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.planning.memory.attention import attention
from tui_tuner.planning.memory.meter import Tape, Tensor
from tui_tuner.planning.memory.mlp import mixture, mlp
from tui_tuner.planning.memory.ops import add, dropout, norm
from tui_tuner.planning.memory.parts import LayerParts


class Layer(LayerParts):
    """One decoder or encoder layer: its parts in the order in which they compute."""

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        if self.family.parallel:
            return self._parallel(tape, x)
        if self.family.encoder and self.family.norm_bias:
            return self._post_norm(tape, x)
        residual = x
        sandwich = self.family.norms == 4
        after = self.family.norm_after
        hidden = x if after else norm(tape, x, self.setup, self.norms[0])
        hidden = attention(self, tape, hidden)
        if after:
            hidden = norm(tape, hidden, self.setup, self.norms[0])
        if sandwich:
            hidden = norm(tape, hidden, self.setup, self.norms[1])
        hidden = self._join(tape, residual, hidden)
        residual = hidden
        if not after:
            hidden = norm(tape, hidden, self.setup, self.norms[-1])
        hidden = mixture(self, tape, hidden) if self.setup.facts.moe else mlp(self, tape, hidden)
        if after:
            hidden = norm(tape, hidden, self.setup, self.norms[-1])
        if sandwich:
            hidden = norm(tape, hidden, self.setup, self.norms[2])
        return self._join(tape, residual, hidden)

    def _join(self, tape: Tape, residual: Tensor, hidden: Tensor) -> Tensor:
        if self.family.multipliers:
            hidden = tape.op(hidden.count, hidden.width, (hidden,))
        return add(tape, residual, dropout(tape, hidden, self.setup.facts.dropout))

    def _parallel(self, tape: Tape, x: Tensor) -> Tensor:
        hidden = norm(tape, x, self.setup, self.norms[0])
        attended = attention(self, tape, hidden)
        if self.family.norms > 1:  # a norm of its own for each (GPT-NeoX)
            hidden = norm(tape, x, self.setup, self.norms[1])
        fed = mlp(self, tape, hidden)
        return add(tape, add(tape, attended, fed), x)

    def _post_norm(self, tape: Tape, x: Tensor) -> Tensor:
        attended = dropout(tape, attention(self, tape, x), self.setup.facts.dropout)
        hidden = norm(tape, add(tape, attended, x), self.setup, self.norms[0])
        del attended
        fed = dropout(tape, mlp(self, tape, hidden), self.setup.facts.dropout)
        return norm(tape, add(tape, fed, hidden), self.setup, self.norms[1])
