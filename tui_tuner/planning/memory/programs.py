"""Which model code runs: transformers (with PEFT), or a program with model code of its own.

A program is part of the stack, by name and version; see `stack.PROGRAMS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tui_tuner.locales import _
from tui_tuner.planning.memory.head import loss
from tui_tuner.planning.memory.layers import Layer
from tui_tuner.planning.memory.lit_gpt import ADAPTERS, LitLayer, lit_loss
from tui_tuner.planning.memory.meter import HALF, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.torchtune import PIECES, TuneLayer, tune_loss

ProgramLayer = Layer | LitLayer | TuneLayer


def missing(setup: Setup) -> str:
    """What the program asked for does not have, or was not read for; transformers is taken in its place."""
    facts, family, name = setup.facts, setup.facts.family, setup.stack.program
    if name == "transformers":
        return ""
    own = ("", *ADAPTERS) if name == "lit-gpt" else ("",)
    if setup.method not in ("lora", "full") or setup.variant not in own:
        return _("{name} was not looked at for {kind}", name=name, kind=setup.variant or setup.method)
    plain = not (facts.moe or facts.low_rank_key or family.encoder or family.learned_positions)
    known = plain and family.norms <= 2 and not family.qk_norm and not family.norm_after
    if name == "torchtune":
        known = known and family.norm == "rms" and len(family.attention) == 4 and len(family.mlp) == 3
    else:
        known = known and (len(family.mlp) == 3 or not family.gated)
    return "" if known else _("{name} was not looked at for {kind}", name=name, kind=facts.model_type)


def program_of(setup: Setup) -> str:
    """The program whose code is followed."""
    return "transformers" if missing(setup) else setup.stack.program


def as_program(setup: Setup) -> Setup:
    """The same run in the program's own way: weights and adapters in 16 bits, no autocast, loss in pieces."""
    program = program_of(setup)
    if program == "transformers":
        return setup
    return replace(
        setup,
        autocast=False,
        compute=HALF,
        weight=HALF,
        norm=HALF,
        embedding=HALF,
        adapter=HALF,
        attention="flash",
        expand_keys=False,
        logits="chunked",
        double_quant=setup.double_quant or program == "torchtune",
        foreach=program == "lit-gpt",
    )


def layer_kinds(setup: Setup) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Of each layer, from the first on, whether it is a dense one of a mixture: of the frozen layers below
    the trained ones, and of the trained ones."""
    facts = setup.facts
    kinds = tuple(place in facts.dense_places for place in range(facts.layers))
    below = facts.layers - (setup.layers or facts.layers)
    return kinds[:below], kinds[below:]


def counted(kinds: tuple[bool, ...]) -> list[tuple[bool, int]]:
    """Each kind of layer that there is, and how many."""
    return [(dense, kinds.count(dense)) for dense in sorted(set(kinds))]


def of_kind(setup: Setup, dense: bool) -> Setup:
    """The setup for a dense layer of a mixture, or for any other."""
    return replace(setup, facts=setup.facts.without_experts) if dense else setup


def layer_of(setup: Setup, trained: bool) -> ProgramLayer:
    """A layer of the model as the program writes it."""
    kinds: dict[str, type[LitLayer] | type[TuneLayer]] = {"lit-gpt": LitLayer, "torchtune": TuneLayer}
    kind = kinds.get(program_of(setup))
    return kind(setup, trained) if kind else Layer(setup, trained)


def loss_of(setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter) -> tuple[Tensor, Buffer | None]:
    """From the last layer to the loss, as the program writes it; see `head.loss`."""
    program = program_of(setup)
    if program == "lit-gpt":
        return lit_loss(setup, tape, holder, table)
    if program == "torchtune":
        return tune_loss(setup, tape, holder, table)
    return loss(setup, tape, holder, table)


def quantised_head(setup: Setup) -> bool:
    """Whether the output head is quantised like every other linear layer."""
    return program_of(setup) == "lit-gpt" and setup.quantization != "none" and not setup.facts.tied


def quantised_tensors(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """(elements, outputs, copies) of each matrix that is held in 4 or 8 bits."""
    facts = setup.facts
    for dense, layers in counted(sum(layer_kinds(setup), ())):
        for matrix in layer_of(of_kind(setup, dense), False).linears.values():
            if matrix.quantised:
                copies = matrix.shape.copies
                yield matrix.count / copies, matrix.shape.outputs, layers * copies
    if quantised_head(setup):
        yield float(facts.vocab * facts.hidden), facts.vocab, 1


def table_uses(setup: Setup) -> int:
    """Gradients that the embeddings get before an optimizer in the backward pass steps; 0 keeps them."""
    if not setup.in_backward:
        return 0
    pieces = PIECES if setup.logits == "chunked" and program_of(setup) == "torchtune" else 1
    return 1 + pieces if setup.facts.tied else 1
