"""The model code that runs: transformers (with PEFT), or a program with its own model code.

A program is part of the stack, by name and version; see `stack.PROGRAMS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tui_tuner.locales import _
from tui_tuner.methods.numbers.terms import Form
from tui_tuner.planning.memory.head import simulate_loss
from tui_tuner.planning.memory.layer_steps import Layer
from tui_tuner.planning.memory.lit_gpt import ADAPTERS, LitLayer, simulate_lit_loss
from tui_tuner.planning.memory.meter import HALF, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.torchtune import PIECES, TuneLayer, simulate_tune_loss

ProgramLayer = Layer | LitLayer | TuneLayer


def explain_program_lack(setup: Setup) -> str:
    """Explain what the requested program lacks (then transformers is simulated); empty if nothing."""
    facts, family, name = setup.facts, setup.facts.family, setup.stack.program_name
    if name == "transformers":
        return ""
    forms = (Form.LOW_RANK, *ADAPTERS) if name == "lit-gpt" else (Form.LOW_RANK,)
    # Their sources were read for LoRA, full fine-tuning and lit-gpt's own adapters only
    other = setup.whole_layers or setup.virtual_tokens or setup.elsewhere or setup.own
    if other or setup.form not in forms:
        return _("{name} has not been verified for {kind}", name=name, kind=setup.kind)
    # Features of models that these programs implement otherwise, or not at all
    plain = not (facts.has_experts or facts.low_rank_key or family.encoder or family.learned_positions)
    known = plain and family.norms <= 2 and not family.qk_norm and not family.norm_after
    if name == "torchtune":
        known = known and family.norm == "rms" and len(family.attention) == 4 and len(family.mlp) == 3
    else:
        known = known and (len(family.mlp) == 3 or not family.gated)
    return "" if known else _("{name} has not been verified for {kind}", name=name, kind=facts.model_type)


def find_simulated_program(setup: Setup) -> str:
    """Return the name of the program whose code is simulated."""
    return "transformers" if explain_program_lack(setup) else setup.stack.program_name


def adapt_setup_to_program(setup: Setup) -> Setup:
    """Adapt a setup to the program: weights and adapters in 16 bits, no autocast, loss in pieces."""
    program = find_simulated_program(setup)
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


def list_layer_kinds(setup: Setup) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """Of each layer, from the first on, whether it is a dense one of a mixture: of the frozen layers below
    the trained ones, and of the trained ones."""
    facts = setup.facts
    kinds = tuple(place in facts.dense_places for place in range(facts.layers))
    below = facts.layers - setup.trained_layers
    return kinds[:below], kinds[below:]


def count_layer_kinds(kinds: tuple[bool, ...]) -> list[tuple[bool, int]]:
    """Count the layers of each kind."""
    return [(dense, kinds.count(dense)) for dense in sorted(set(kinds))]


def narrow_layer_setup(setup: Setup, dense: bool) -> Setup:
    """Return the setup for a dense layer of a mixture, or for any other layer."""
    return replace(setup, facts=setup.facts.without_experts) if dense else setup


def make_program_layer(setup: Setup, trained: bool) -> ProgramLayer:
    """Make a layer of the model as the program implements it."""
    kinds: dict[str, type[LitLayer] | type[TuneLayer]] = {"lit-gpt": LitLayer, "torchtune": TuneLayer}
    kind = kinds.get(find_simulated_program(setup))
    return kind(setup, trained) if kind else Layer(setup, trained)


def simulate_program_loss(
    setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter
) -> tuple[Tensor, Buffer | None]:
    """Simulate the part from the last layer to the loss as in the program; see `head.simulate_loss`."""
    program = find_simulated_program(setup)
    if program == "lit-gpt":
        return simulate_lit_loss(setup, tape, holder, table)
    if program == "torchtune":
        return simulate_tune_loss(setup, tape, holder, table)
    return simulate_loss(setup, tape, holder, table)


def is_head_quantised(setup: Setup) -> bool:
    """Return whether the output head is quantised like every other linear layer."""
    return (
        find_simulated_program(setup) == "lit-gpt" and setup.quantization != "none" and not setup.facts.tied
    )


def list_quantised_tensors(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """Yield (elements, outputs, copies) of each matrix that is held in 4 or 8 bits."""
    facts = setup.facts
    for stack in setup.stacks:
        for dense, layers in count_layer_kinds(sum(list_layer_kinds(stack), ())):
            for matrix in make_program_layer(narrow_layer_setup(stack, dense), False).linears.values():
                if matrix.quantised:
                    copies = matrix.shape.copies
                    yield matrix.count / copies, matrix.shape.outputs, layers * copies
    if is_head_quantised(setup):
        yield float(facts.vocab * facts.hidden), facts.vocab, 1


def count_embedding_uses(setup: Setup) -> int:
    """Return after how many gradients an optimizer in the backward pass steps the embeddings; 0 for none."""
    if not setup.in_backward:
        return 0
    # A head in pieces adds a gradient for each piece; a tied table gets one more from the embeddings
    pieces = PIECES if setup.logits == "chunked" and find_simulated_program(setup) == "torchtune" else 1
    return 1 + pieces if setup.facts.tied else 1
