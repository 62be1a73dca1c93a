"""One layer of an encoder or a decoder of two stacks, line by line as in transformers' modelling code.

Read from transformers 5.23 (`models/t5/modeling_t5.py`, `models/bart/modeling_bart.py` and those that follow
them). Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror,
because what a caller still holds is part of the peak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tui_tuner.planning.memory.meter import SINGLE, Buffer, Tape, Tensor
from tui_tuner.planning.memory.ops import (
    simulate_activation,
    simulate_addition,
    simulate_dropout,
    simulate_multiplication,
    simulate_norm,
)
from tui_tuner.planning.memory.parts import LayerParts

OWN, CROSS, FEED = "attention", "cross", "feed"  # branches of a layer, which may have an adapter behind them


@dataclass(frozen=True)
class Surroundings:
    """What all layers of a stack read beside their own input.

    Args:
        bias: Of T5, what is added to the scores for the distance of two positions [heads, length, length].
        states: What the encoder found, [source tokens, hidden]; None in the encoder itself.
        cross_bias: Of T5, the same zeros for every layer's attention to the source.
    """

    bias: Tensor | None = None
    states: Tensor | None = None
    cross_bias: Tensor | None = None

    def list_tensors(self) -> tuple[Tensor, ...]:
        """Return the tensors, of which those with a node get gradients."""
        return tuple(one for one in (self.bias, self.states, self.cross_bias) if one is not None)


class StackLayer(LayerParts):
    """One layer: its own attention, a decoder's attention to the source, and the feed-forward block."""

    def __call__(self, tape: Tape, x: Tensor, around: Surroundings) -> Tensor:
        states = around.states
        x = self._run_branch(tape, x, 0, partial(self._attend, tape, states=None, bias=around.bias), OWN)
        if states is None:
            return self._run_branch(tape, x, 1, partial(self._feed, tape), FEED)
        reading = partial(self._attend, tape, states=states, bias=around.cross_bias)
        x = self._run_branch(tape, x, 1, reading, CROSS)
        return self._run_branch(tape, x, 2, partial(self._feed, tape), FEED)

    def _run_branch(
        self, tape: Tape, x: Tensor, place: int, branch: Callable[[Tensor], Tensor], name: str
    ) -> Tensor:
        """Run a branch with its norm, before it or after the sum, its dropout and the residual."""
        residual = x
        inner = x if self.family.norm_sums else simulate_norm(tape, x, self.setup, self.norms[place])
        found = branch(inner)
        del inner
        found = self.run_sublayer(tape, name, found, residual)
        found = simulate_dropout(tape, found, self.setup.facts.dropout)
        total = simulate_addition(tape, residual, found)
        del found
        return simulate_norm(tape, total, self.setup, self.norms[place]) if self.family.norm_sums else total

    def _attend(self, tape: Tape, x: Tensor, states: Tensor | None, bias: Tensor | None) -> Tensor:
        """Attention to the layer's own input, or to what the encoder found."""
        names = self.family.attention if states is None else self.family.cross
        query = self.run_linear(tape, x, names[0])
        read = x if states is None else states
        key, value = self.run_linear(tape, read, names[1]), self.run_linear(tape, read, names[2])
        del read
        out = self._run_kernel(tape, (query, key, value), bias, states is not None)
        query = key = value = x
        return self.run_linear(tape, out, names[3])

    def _run_kernel(
        self, tape: Tape, parts: tuple[Tensor, Tensor, Tensor], bias: Tensor | None, crosses: bool
    ) -> Tensor:
        setup, facts = self.setup, self.setup.facts
        query, key, value = parts
        keys = setup.source_length if crosses else setup.length
        pairs = float(setup.batch * setup.length * keys)
        padded = crosses or facts.encoder  # what is written is not masked: nothing comes after it
        if setup.attention == "eager":
            return self._write_scores(tape, parts, bias, facts.heads * pairs, padded)
        mask: Tensor | None = None
        if bias is not None:
            mask = self._mask_bias(tape, bias, facts.heads * pairs if padded else bias.count, query.width)
        elif padded and setup.attention != "flash":
            mask = Tensor(Buffer(tape.meter, pairs * query.width), pairs, query.width, None)
        rows = query.count / facts.head_dim
        out = Buffer(tape.meter, query.count * query.width)
        saved = [query.buffer, key.buffer, value.buffer, Buffer(tape.meter, SINGLE * rows), out]
        inputs = [query, key, value]
        if mask is not None:
            saved.append(mask.buffer)
            inputs += [mask] if mask.node else []
        # FlashAttention 2's backward pass accumulates dq in float32 and keeps a float32 row sum
        extra = SINGLE * (query.count + rows)
        return tape.run_op(query.count, query.width, tuple(inputs), tuple(saved), extra=extra, view=out)

    def _mask_bias(self, tape: Tape, bias: Tensor, count: float, width: int) -> Tensor:
        """Simulate `create_position_bias_mask`: what is added to the scores of every sequence."""
        spread = count * bias.width if count != bias.count else 0.0  # before it is summed over sequences
        mask = tape.run_op(count, bias.width, (bias,), extra=spread)
        # heads come last in the table that the bias is read from
        mask = tape.run_op(count, bias.width, (), same=(mask,))
        return tape.cast(mask, width)

    def _write_scores(
        self,
        tape: Tape,
        parts: tuple[Tensor, Tensor, Tensor],
        bias: Tensor | None,
        count: float,
        padded: bool,
    ) -> Tensor:
        """Simulate `eager_attention_forward`."""
        query, key, value = parts
        width = query.width
        scores = tape.run_op(count, width, (query, key), (query.buffer, key.buffer))
        scores = tape.run_op(count, width, (scores,))
        if bias is not None:
            spread = count * bias.width if count != bias.count else 0.0
            width = max(width, bias.width)
            scores = tape.run_op(count, width, (scores, bias), extra=spread)
        if padded or bias is None:
            scores = tape.run_op(count, width, (), same=(scores,))
        soft = SINGLE if self.setup.autocast else width
        made = Buffer(tape.meter, count * soft)
        weights = tape.run_op(count, soft, (scores,), (made,), view=made)
        del scores, made
        weights = simulate_dropout(tape, weights, self.setup.facts.attention_dropout)
        weights = tape.cast(weights, query.width)
        out = tape.run_op(query.count, query.width, (weights, value), (weights.buffer, value.buffer))
        return tape.run_op(query.count, query.width, (out,))

    def _feed(self, tape: Tape, x: Tensor) -> Tensor:
        """Simulate the feed-forward block: T5 has a dropout inside of it, and BART none."""
        names, setup = self.family.mlp, self.setup
        first = self.run_linear(tape, x, names[0])
        inner = self._activate(tape, first)
        del first
        if len(names) == 3:
            up = self.run_linear(tape, x, names[1])
            inner = simulate_multiplication(tape, inner, up)
            del up
        if self.family.relative:
            inner = simulate_dropout(tape, inner, setup.facts.dropout)
            # T5 keeps its second matrix in float32 where it may, and says so by a cast
            inner = tape.cast(inner, setup.weight) if setup.quantization == "none" else inner
        return self.run_linear(tape, inner, names[-1])

    def _activate(self, tape: Tape, x: Tensor) -> Tensor:
        if self.setup.facts.activation != "relu":
            return simulate_activation(tape, x, self.setup)
        made = Buffer(tape.meter, x.count * x.width)  # it keeps its result
        return tape.run_op(x.count, x.width, (x,), (made,), view=made)
