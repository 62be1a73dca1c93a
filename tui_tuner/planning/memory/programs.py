"""Which model code runs: transformers (with PEFT), or a program with model code of its own.

A program is part of the stack, by name and version; see `stack.PROGRAMS`.
"""

from __future__ import annotations

from collections.abc import Iterator

from tui_tuner.planning.memory.head import loss
from tui_tuner.planning.memory.layers import Layer
from tui_tuner.planning.memory.lit_gpt import LitLayer, lit_loss
from tui_tuner.planning.memory.meter import Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.torchtune import PIECES, TuneLayer, tune_loss

ProgramLayer = Layer | LitLayer | TuneLayer


def layer_of(setup: Setup, trained: bool) -> ProgramLayer:
    """A layer of the model as the program writes it."""
    kinds: dict[str, type[LitLayer] | type[TuneLayer]] = {"lit-gpt": LitLayer, "torchtune": TuneLayer}
    kind = kinds.get(setup.stack.program)
    return kind(setup, trained) if kind else Layer(setup, trained)


def loss_of(setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter) -> tuple[Tensor, Buffer | None]:
    """From the last layer to the loss, as the program writes it; see `head.loss`."""
    if setup.stack.program == "lit-gpt":
        return lit_loss(setup, tape, holder, table)
    if setup.stack.program == "torchtune":
        return tune_loss(setup, tape, holder, table)
    return loss(setup, tape, holder, table)


def quantised_head(setup: Setup) -> bool:
    """Whether the output head is quantised like every other linear layer."""
    return setup.stack.program == "lit-gpt" and setup.quantization != "none" and not setup.facts.tied


def quantised_tensors(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """(elements, outputs, copies) of each matrix that is held in 4 or 8 bits."""
    facts = setup.facts
    for matrix in layer_of(setup, False).linears.values():
        if matrix.quantised:
            copies = matrix.shape.copies
            yield matrix.count / copies, matrix.shape.outputs, facts.layers * copies
    if quantised_head(setup):
        yield float(facts.vocab * facts.hidden), facts.vocab, 1


def table_uses(setup: Setup) -> int:
    """Gradients that the embeddings get before an optimizer in the backward pass steps; 0 keeps them."""
    if not setup.in_backward:
        return 0
    pieces = PIECES if setup.logits == "chunked" and setup.stack.program == "torchtune" else 1
    return 1 + pieces if setup.facts.tied else 1
