"""One decoder or encoder layer, line by line as in transformers' modelling code and PEFT's layers.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.planning.memory.attention_steps import run_attention
from tui_tuner.planning.memory.meter import Tape, Tensor
from tui_tuner.planning.memory.mlp import run_mixture, run_mlp
from tui_tuner.planning.memory.ops import add_tensors, run_dropout, run_norm
from tui_tuner.planning.memory.parts import LayerParts


class Layer(LayerParts):
    """One decoder or encoder layer: its parts in the order in which they compute."""

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        if self.family.parallel:
            return self._run_parallel(tape, x)
        if self.family.encoder and self.family.norm_bias:
            return self._post_norm(tape, x)
        # Bound for as long as in the modelling code: the residual stays alive until it is added
        residual = x
        sandwich = self.family.norms == 4
        after = self.family.norm_after
        hidden = x if after else run_norm(tape, x, self.setup, self.norms[0])
        hidden = run_attention(self, tape, hidden)
        if after:
            hidden = run_norm(tape, hidden, self.setup, self.norms[0])
        if sandwich:
            hidden = run_norm(tape, hidden, self.setup, self.norms[1])
        hidden = self._add_residual(tape, residual, hidden)
        residual = hidden
        if not after:
            hidden = run_norm(tape, hidden, self.setup, self.norms[-1])
        hidden = (
            run_mixture(self, tape, hidden) if self.setup.facts.has_experts else run_mlp(self, tape, hidden)
        )
        if after:
            hidden = run_norm(tape, hidden, self.setup, self.norms[-1])
        if sandwich:
            hidden = run_norm(tape, hidden, self.setup, self.norms[2])
        return self._add_residual(tape, residual, hidden)

    def _add_residual(self, tape: Tape, residual: Tensor, hidden: Tensor) -> Tensor:
        # Granite scales what each branch adds to the residual
        if self.family.multipliers:
            hidden = tape.run_op(hidden.count, hidden.width, (hidden,))
        return add_tensors(tape, residual, run_dropout(tape, hidden, self.setup.facts.dropout))

    def _run_parallel(self, tape: Tape, x: Tensor) -> Tensor:
        hidden = run_norm(tape, x, self.setup, self.norms[0])
        attended = run_attention(self, tape, hidden)
        if self.family.norms > 1:  # a norm of its own for each (GPT-NeoX)
            hidden = run_norm(tape, x, self.setup, self.norms[1])
        fed = run_mlp(self, tape, hidden)
        return add_tensors(tape, add_tensors(tape, attended, fed), x)

    def _post_norm(self, tape: Tape, x: Tensor) -> Tensor:
        attended = run_dropout(tape, run_attention(self, tape, x), self.setup.facts.dropout)
        hidden = run_norm(tape, add_tensors(tape, attended, x), self.setup, self.norms[0])
        del attended
        fed = run_dropout(tape, run_mlp(self, tape, hidden), self.setup.facts.dropout)
        return run_norm(tape, add_tensors(tape, fed, hidden), self.setup, self.norms[1])
