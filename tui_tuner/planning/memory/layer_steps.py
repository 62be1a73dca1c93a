"""One decoder or encoder layer, line by line as in transformers' modelling code and PEFT's layers.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.planning.memory.attention_steps import simulate_attention
from tui_tuner.planning.memory.meter import Tape, Tensor
from tui_tuner.planning.memory.mlp import simulate_mixture, simulate_mlp
from tui_tuner.planning.memory.ops import simulate_addition, simulate_dropout, simulate_norm
from tui_tuner.planning.memory.parts import LayerParts


class Layer(LayerParts):
    """One decoder or encoder layer: its parts in the order in which they compute."""

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        if self.family.parallel:
            return self._run_parallel(tape, x)
        if self.normed_after:
            return self._post_norm(tape, x)
        # Bound for as long as in the modelling code: the residual stays alive until it is added
        residual = x
        sandwich = self.family.norms == 4
        after = self.family.norm_after
        hidden = x if after else simulate_norm(tape, x, self.setup, self.norms[0])
        hidden = simulate_attention(self, tape, hidden)
        if after:
            hidden = simulate_norm(tape, hidden, self.setup, self.norms[0])
        if sandwich:
            hidden = simulate_norm(tape, hidden, self.setup, self.norms[1])
        hidden = self.run_sublayer(tape, "attention", hidden, residual)
        hidden = self._add_residual(tape, residual, hidden)
        residual = hidden
        if not after:
            hidden = simulate_norm(tape, hidden, self.setup, self.norms[-1])
        hidden = (
            simulate_mixture(self, tape, hidden)
            if self.setup.facts.has_experts
            else simulate_mlp(self, tape, hidden)
        )
        if after:
            hidden = simulate_norm(tape, hidden, self.setup, self.norms[-1])
        if sandwich:
            hidden = simulate_norm(tape, hidden, self.setup, self.norms[2])
        hidden = self.run_sublayer(tape, "feed", hidden, residual)
        return self._add_residual(tape, residual, hidden)

    def _add_residual(self, tape: Tape, residual: Tensor, hidden: Tensor) -> Tensor:
        # Granite scales what each branch adds to the residual
        if self.family.multipliers:
            hidden = tape.run_op(hidden.count, hidden.width, (hidden,))
        return simulate_addition(tape, residual, simulate_dropout(tape, hidden, self.setup.facts.dropout))

    def _run_parallel(self, tape: Tape, x: Tensor) -> Tensor:
        hidden = simulate_norm(tape, x, self.setup, self.norms[0])
        attended = self.run_sublayer(tape, "attention", simulate_attention(self, tape, hidden), x)
        if self.family.norms > 1:  # a norm of its own for each (GPT-NeoX)
            hidden = simulate_norm(tape, x, self.setup, self.norms[1])
        fed = self.run_sublayer(tape, "feed", simulate_mlp(self, tape, hidden), x)
        return simulate_addition(tape, simulate_addition(tape, attended, fed), x)

    def _post_norm(self, tape: Tape, x: Tensor) -> Tensor:
        attended = self.run_sublayer(tape, "attention", simulate_attention(self, tape, x), x)
        attended = simulate_dropout(tape, attended, self.setup.facts.dropout)
        hidden = simulate_norm(tape, simulate_addition(tape, attended, x), self.setup, self.norms[0])
        del attended
        normed = self.sublayers.get("feed") if self._reads_norm() else None
        fed = simulate_mlp(self, tape, hidden)
        if normed is None:
            fed = self.run_sublayer(tape, "feed", fed, hidden)
        fed = simulate_dropout(tape, fed, self.setup.facts.dropout)
        total = simulate_addition(tape, fed, hidden)
        if normed is None:
            hidden = simulate_norm(tape, total, self.setup, self.norms[1])
            self.inner = None
            return hidden
        read = simulate_norm(tape, total, self.setup, self.norms[1])
        update = normed.compute_update(tape, read)
        del read
        again = simulate_addition(tape, total, tape.cast(update, total.width))
        hidden = simulate_norm(tape, again, self.setup, self.norms[1])
        self.inner = None
        return hidden

    def _reads_norm(self) -> bool:
        """Return whether the adapter behind the feed-forward block reads the norm after it (Pfeiffer)."""
        told = self.setup.sublayers
        return told is not None and told.style == "pfeiffer"
