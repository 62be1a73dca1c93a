"""From the last layer to the loss of a head that decides: few numbers, over hidden states of every position.

As transformers writes `…ForSequenceClassification`, `…ForTokenClassification` and `…ForQuestionAnswering`. A
head that reads one state of each text gets nothing else of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tui_tuner.models.family import Linear
from tui_tuner.models.head_shapes import Part
from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import dropout, norm
from tui_tuner.planning.memory.setup import Setup

SPAN_HEAD = "qa_outputs"


def tensor_sizes(part: Part) -> Iterator[float]:
    """Elements of each tensor of a module."""
    if part.norm:
        yield float(part.norm)
        return
    yield float(part.matrix.weights)
    if part.matrix.bias:
        yield float(part.matrix.outputs)


def trains(setup: Setup, part: Part) -> bool:
    """Whether a module of the head has a gradient."""
    return setup.method == "full" or part in setup.head_whole


def decide(setup: Setup, tape: Tape, hidden: Tensor) -> Tensor:
    """The outputs and their loss; returns what the backward pass starts from.

    Args:
        hidden: The last states, [tokens, width]; a caller that holds on to them keeps them.
    """
    facts, last = setup.facts, setup.head[-1]
    state = hidden
    del hidden
    if any(part.first for part in setup.head) or not facts.encoder and _of_text(last):
        # gathered: a gradient for every position is made of those of the chosen ones
        state = tape.op(float(setup.batch * facts.hidden), state.width, (state,))
    elif last.matrix.name != SPAN_HEAD:
        state = dropout(tape, state, facts.dropout)
    for place, part in enumerate(setup.head):
        if part.norm:
            parameter = _parameter(tape, setup, float(part.norm), trains(setup, part))
            state = norm(tape, state, setup, parameter)
            continue
        state = _product(setup, tape, state, part)
        if place < len(setup.head) - 1:  # tanh or GELU keeps as much as it gives
            kept = Buffer(tape.meter, state.count * state.width)
            state = tape.op(state.count, state.width, (state,), (kept,), view=kept)
            del kept
    logits = tape.cast(state, SINGLE)
    kept = Buffer(tape.meter, logits.count * SINGLE)
    scores = tape.op(logits.count, SINGLE, (logits,), (kept,), view=kept)
    return tape.op(1, SINGLE, (scores,))


def _of_text(part: Part) -> bool:
    """Whether a decoder's head reads whole texts, of which it needs the last state alone."""
    return part.matrix.name == "score" and not part.matrix.bias


def _parameter(tape: Tape, setup: Setup, count: float, trained: bool) -> Parameter | None:
    if not trained:
        return None
    found = Parameter(count, setup.embedding)
    tape.meter.held.append(found)
    return found


def _product(setup: Setup, tape: Tape, state: Tensor, part: Part) -> Tensor:
    """A linear layer of the head, which is never quantised."""
    matrix: Linear = part.matrix
    width = setup.compute if setup.autocast else max(setup.embedding, state.width)
    inner = tape.cast(state, width)
    grads: tuple[tuple[Parameter, float], ...] = ()
    saved: list[Buffer] = []
    if trains(setup, part):
        sizes = tensor_sizes(part)
        made = [_parameter(tape, setup, size, True) for size in sizes]
        grads = tuple((one, one.count * width) for one in made if one is not None)
        saved.append(inner.buffer)
    if setup.embedding != width:
        saved.append(Buffer(tape.meter, matrix.weights * width, "16-bit copies of weights"))
    return tape.op(inner.count / matrix.inputs * matrix.outputs, width, (inner,), tuple(saved), parameters=grads)
