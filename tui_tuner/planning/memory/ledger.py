"""The ledger: peak of each phase of a training step, with the rows that make it up."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from tui_tuner.locales import N_
from tui_tuner.planning.memory.meter import Meter, Parameter, Tape, Tensor, simulate_checkpointed_layer
from tui_tuner.planning.memory.ops import simulate_dropout
from tui_tuner.planning.memory.programs import (
    count_embedding_uses,
    list_layer_kinds,
    make_program_layer,
    narrow_layer_setup,
    simulate_program_loss,
)
from tui_tuner.planning.memory.prompt_tokens import prepend_tokens
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.static import (
    count_optimizer_states,
    count_setup_temporary,
    list_static_rows,
    list_trained_tensors,
)
from tui_tuner.planning.memory.two_stacks.two_stack_step import simulate_two_stacks

# Names of phases and of what memory is for are the same in every language in a plan, and are translated where
# they are shown.
FORWARD, LOSS, LAST, FIRST, STEP = (
    N_("forward"),
    N_("loss"),
    N_("backward, last layer"),
    N_("backward, first layer"),
    N_("optimizer step"),
)
PARTS = (
    N_("weights"),
    N_("quantisation constants"),
    N_("adapters"),
    N_("gradients"),
    N_("optimizer states"),
    N_("activations"),
    N_("activation gradients"),
    N_("checkpoints"),
    N_("logits and loss"),
    N_("16-bit copies of weights"),
    N_("dequantised weights"),
    N_("norms of weights"),
    N_("int8 products"),
    N_("temporary"),
    N_("workspace"),
)
MIDDLE = "backward, between"
DECODER, ENCODER = N_("backward, decoder"), N_("backward, encoder")  # of a model with both
MOST_STACKED = 24  # layers of each that are simulated one by one
ON_DEVICE = 2  # inputs of layers that stay where the others go to the host (compute/gradient_checkpointing)


@dataclass(frozen=True)
class Phase:
    """One phase of a step: bytes by row, which sum to its peak."""

    name: str
    rows: dict[str, float]

    @property
    def total_bytes(self) -> float:
        return sum(self.rows.values())


@dataclass(frozen=True)
class Ledger:
    """All phases of a step. `static` is what stays between steps, in bytes."""

    phases: tuple[Phase, ...]
    static: dict[str, float]

    @property
    def peak_phase(self) -> Phase:
        """Return the phase with the highest total."""
        return max(self.phases, key=lambda phase: phase.total_bytes)


MOST_WHOLE = 64  # layers that are simulated one by one where they must be
Simulated = dict[Hashable, dict[str, dict[str, float]]]


def make_ledger(setup: Setup, seen: Simulated | None = None) -> Ledger:
    """Simulate a step with two and three layers and extend the line to all of them.

    Layers are alike, so each row of each phase grows by the same amount with every further layer.
    Evaluations have no phase of their own: they take as many tokens at once, keep nothing for a backward
    pass, and compute the loss in the same chunks.

    Args:
        seen: Simulations of one model and software stack, which a search keeps: what differs only in
            optimizer or workspace is not simulated again.
    """
    static = list_static_rows(setup)
    if seen is None:
        moving = _simulate_layers(setup)
    else:
        key = tuple(getattr(setup, name) for name in _SIMULATED)
        if key not in seen:
            seen[key] = _simulate_layers(setup)
        moving = seen[key]
    phases = [Phase(name, _add_rows(static, rows)) for name, rows in moving.items()]
    phases.append(Phase(STEP, _add_rows(static, _step_rows(setup))))
    return Ledger(tuple(phases), {row: size for row, size in static.items() if size})


_STATIC_ONLY = {
    "kind",
    "facts",
    "stack",
    "double_quant",
    "optimizer",
    "optimizer_rank",
    "foreach",
    "workspace",
    "states",
}
_SIMULATED = tuple(name for name in Setup.__dataclass_fields__ if name not in _STATIC_ONLY)


def _simulate_layers(setup: Setup) -> dict[str, dict[str, float]]:
    """Return the peaks of the phases over all trained layers, without static memory."""
    if setup.facts.source is not None:
        return _simulate_stacks(setup, setup.facts.source.layers, setup.facts.layers)
    # Frozen layers below keep nothing, so they are left out of the line
    kinds, counts = list_layer_kinds(setup)[1], choose_simulated_layers(setup)
    if len(counts) == 1:
        return _simulate_step(setup, kinds)
    step = counts[1] - counts[0]
    few = _choose_layers(kinds, counts[0])
    base = _simulate_step(setup, few)
    peaks = {phase: dict(rows) for phase, rows in base.items()}
    for dense in set(kinds):
        more = _simulate_step(setup, (few[0], *[dense] * step, *few[1:]))
        share = (kinds.count(dense) - few.count(dense)) / step
        for phase in [phase for phase in peaks if phase in more]:
            rows, start, longer = peaks[phase], base[phase], more[phase]
            # A row may be missing in either simulation: what is not in memory at the peak is not in its
            # breakdown
            for row in {**start, **longer}:
                grown = share * (longer.get(row, 0.0) - start.get(row, 0.0))
                rows[row] = rows.get(row, 0.0) + grown
    return peaks


def _simulate_stacks(setup: Setup, encoder: int, decoder: int) -> dict[str, dict[str, float]]:
    """Return the peaks of the phases of an encoder-decoder; beyond some layers each they grow by a line."""

    def simulate(layers: tuple[int, int]) -> dict[str, dict[str, float]]:
        meter = Meter()
        meter.accumulating = setup.accumulate
        simulate_two_stacks(setup, meter, (FORWARD, LOSS, DECODER, ENCODER), layers)
        return meter.peaks

    few = min(encoder, MOST_STACKED), min(decoder, MOST_STACKED)
    base = simulate(few)
    peaks = {phase: dict(rows) for phase, rows in base.items()}
    shorter = ((few[0] - 1, few[1]), encoder - few[0]), ((few[0], few[1] - 1), decoder - few[1])
    for more, further in shorter:
        less = simulate(more) if further else base
        for phase, rows in peaks.items():
            for row, size in base[phase].items():
                rows[row] += further * (size - less.get(phase, {}).get(row, 0.0))
    return peaks


def _choose_layers(kinds: tuple[bool, ...], count: int) -> tuple[bool, ...]:
    """Choose so many layers to stand for all: the first, and the last ones, one of them with experts if any
    layer but the first has, as the backward pass may peak there."""
    last = [kinds[-1]]
    if kinds[-1] and not all(kinds[1:]):
        last = [False, True]
    between = [kinds[-1]] * max(0, count - 1 - len(last))
    return (kinds[0], *between, *last)


def choose_simulated_layers(setup: Setup) -> tuple[int, ...]:
    """Return the numbers of layers to simulate and extrapolate from; one number if there are few layers.

    Where every second layer keeps what it computed, two layers are what repeats; where inputs go to the host,
    the last layers differ from the others. All of them where autocast keeps a copy of each trained weight
    until the hidden states are there: what needs most then changes with the number of layers.
    """
    trained = setup.trained_layers
    if setup.facts.source is not None:
        return (setup.facts.source.layers + setup.facts.layers,)
    if setup.trains_weights and setup.autocast and setup.weight != setup.compute and trained <= MOST_WHOLE:
        return (trained,)
    if setup.every_second:
        return (trained,) if trained <= 5 else (4 + trained % 2, 6 + trained % 2)
    if setup.offload and setup.stack.program_name == "transformers":
        return (trained,) if trained <= 5 else (4, 5)
    return (trained,) if trained <= 3 else (2, 3)


def _add_rows(left: dict[str, float], right: dict[str, float]) -> dict[str, float]:
    rows = {row: left.get(row, 0.0) + right.get(row, 0.0) for row in {**left, **right}}
    return {row: size for row, size in rows.items() if abs(size) >= 1}


def _step_rows(setup: Setup) -> dict[str, float]:
    # Accumulated gradients already count as static; an optimizer in the backward pass has freed its own
    kept = setup.accumulate or setup.in_backward
    gradients = 0.0 if kept else sum(t.count * t.width * t.copies for t in list_trained_tensors(setup))
    # The first step creates the states while all gradients are still there
    made = 0.0 if setup.states else count_optimizer_states(setup)
    return {"gradients": gradients, "temporary": count_setup_temporary(setup), "optimizer states": made}


def _simulate_step(setup: Setup, kinds: tuple[bool, ...]) -> dict[str, dict[str, float]]:
    """Simulate a step over trained layers of these kinds (True for a dense layer of a mixture), and return
    the peaks of its phases without the static memory."""
    meter = Meter()
    meter.accumulating = setup.accumulate
    tape = Tape(meter)
    facts = setup.facts
    meter.enter_phase(FORWARD)
    count = float(setup.total_tokens * facts.hidden)
    table = Parameter(float(facts.embedding_parameters), setup.embedding, count_embedding_uses(setup))
    table.tied = facts.tied
    if setup.trains_table:
        hidden = tape.run_op(count, setup.embedding, (), parameters=((table, table.count * table.width),))
    else:
        hidden = tape.make_source(count, setup.embedding, grad=setup.embedding_grad)
    # The embeddings' gradient outlives the backward pass, like that of every parameter
    meter.held.append(table)
    if setup.virtual_tokens and not setup.prefix:
        hidden = prepend_tokens(setup, tape, hidden)
    if setup.elsewhere or setup.own:
        hidden = _use_unplaced(setup, tape, hidden)
    if facts.family.multipliers:
        hidden = tape.run_op(count, hidden.width, (hidden,))
    hidden = simulate_dropout(tape, hidden, facts.dropout)
    # One of each kind is enough, as they keep nothing for a backward pass
    for dense in set(list_layer_kinds(setup)[0]):  # layers below the trained ones
        hidden = make_program_layer(narrow_layer_setup(setup, dense), False)(tape, hidden)
    for index, dense in enumerate(kinds):
        above = len(kinds) - 1 - index
        hidden = _run_layer(narrow_layer_setup(setup, dense), tape, hidden, above)
        # either of two may need most where every second is checkpointed, or only the lower one has experts
        last = above == 0 or (above == 1 and (setup.every_second or (kinds[-1] and not dense)))
        name = FIRST if index == 0 else LAST if last else MIDDLE
        tape.marks[len(tape.nodes)] = name  # the backward pass of this layer begins here
    meter.enter_phase(LOSS)
    # Handed over in a list: an argument would stay referenced by this frame, and never leave the peak
    holder = [hidden]
    del hidden
    result, gradient = simulate_program_loss(setup, tape, holder, table)
    meter.cache.clear()
    tape.backward(result, gradient)
    peaks = meter.peaks
    peaks.pop(MIDDLE, None)
    return peaks


def _use_unplaced(setup: Setup, tape: Tape, hidden: Tensor) -> Tensor:
    """Simulate trained tensors of which only the size is known. They are used below all layers, so gradients
    pass through every layer: the most that they can need."""
    parameters = [Parameter(size, setup.adapter) for size in setup.elsewhere]
    parameters += [Parameter(setup.own, setup.weight)] if setup.own else []
    tape.meter.held += parameters
    grads = tuple((one, one.count * one.width) for one in parameters)
    return tape.run_op(hidden.count, hidden.width, (hidden,), (hidden.buffer,), parameters=grads)


def _run_layer(setup: Setup, tape: Tape, hidden: Tensor, above: int) -> Tensor:
    """Run a trained layer that has so many above it."""
    layer = make_program_layer(setup, True)
    # Its parameters, and later their gradients, live as long as the model
    tape.meter.held.append(layer)
    if setup.checkpointing and not (setup.every_second and above % 2 == 0):
        # The last layers' inputs are needed at once in the backward pass, so moving them away would only cost
        # time
        stays = above < ON_DEVICE and setup.stack.program_name == "transformers"
        return simulate_checkpointed_layer(tape, layer, hidden, setup.offload and not stays)
    return layer(tape, hidden)
