"""Launches and memory traffic of a layer on a GPU, part by part: a table, counted with empty tensors.

A part launches operations and reads and writes memory in them, apart from products of matrices, which
`step` weighs by their arithmetic. There is a figure for each part as transformers and PEFT compute it, and
one for the way in which this program does on a GPU (`compute.kernels`, `compute.low_rank`), as
`training.tracing.launches` counts both in the installed versions; bytes are those of each operation's inputs
and results, told apart by models of other widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import add
from typing import Self

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.setup import Setup


@dataclass(frozen=True)
class Kernels:
    """The parts that are computed in fewer operations than by the libraries."""

    norm: bool = True
    rotary: bool = True
    gated: bool = True
    lora: bool = True


OURS, LIBRARIES = Kernels(), Kernels(False, False, False, False)


class Figures:
    """A base for dataclasses whose figures are added and multiplied one by one."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, vars(self).values(), vars(other).values()))

    def multiply_by(self, count: float) -> Self:
        """Return these figures times a count."""
        return type(self)(*(one * count for one in vars(self).values()))


@dataclass(frozen=True)
class Cost(Figures):
    """Launches of a forward and of a backward pass, and the bytes that they move apart from products."""

    forward: float = 0.0
    back: float = 0.0
    bytes_forward: float = 0.0
    bytes_back: float = 0.0

    def scale_bytes(self, elements: float) -> Cost:
        """The same over so many elements, where the bytes are of one."""
        return Cost(self.forward, self.back, self.bytes_forward * elements, self.bytes_back * elements)


# Each part as the libraries compute it, and as this program does on a GPU
RMS_NORM, OWN_RMS, TRAINED_RMS = Cost(8, 14, 36, 88), Cost(1, 1, 4, 6), Cost(0, 2, 0, 8)
LAYER_NORM, TRAINED_LAYER = Cost(1, 1, 4, 6), Cost(0, 1, 0, 4)
ROTARY, OWN_ROTARY = Cost(10, 22, 20, 36), Cost(6, 14, 12, 20)
GATED, OWN_GATED = Cost(2, 3, 10, 18), Cost(2, 4, 10, 22)
PLAIN, WRITTEN_OUT = Cost(1, 1, 4, 6), Cost(8, 12, 40, 60)
JOIN, SUMMED = Cost(1, 1, 6, 6), Cost(0, 1, 0, 6)  # a residual; a gradient more where one is read twice
ATTENTION, EAGER = Cost(1, 3, 8, 16), Cost(6, 10, 8, 16)
SCORES = Cost(0, 0, 24, 30)  # of each pair that eager attention keeps
MIXTURE = Cost(19, 24, 40, 60)
SCALED = Cost(1, 1, 4, 4)
PRODUCT, TRAINED_PRODUCT = Cost(1, 1), Cost(0, 1)
MASTER = Cost(1, 1, 6, 6)  # under autocast a float32 weight is cast, and its gradient back
CAST = Cost(1, 1, 6, 6)  # and likewise what a norm gives
WIDENED = Cost(2, 1, 12, 12)  # a layer norm, and a power, that autocast computes in float32
# Of one step of autograd for adapters that read the same: for the group, and for each of its matrices.
# Dropout gives each matrix an input of its own
GROUP, MEMBER, DROPPED = Cost(1, 2), Cost(1, 2), Cost(1, 2, 5, 11)


@dataclass(frozen=True)
class MatrixCost:
    """Of one matrix: launches forward and back, and bytes by element of its input, output and weights."""

    launches: tuple[float, float]
    inputs: tuple[float, float] = (0, 0)
    outputs: tuple[float, float] = (0, 0)
    weights: tuple[float, float] = (0, 0)

    def count_cost(self, linear: Linear, rows: float) -> Cost:
        """Return the cost of this matrix over so many rows."""
        sizes = [
            rows * (self.inputs[way] * linear.inputs + self.outputs[way] * linear.outputs)
            + self.weights[way] * linear.weights
            for way in (0, 1)
        ]
        return Cost(*self.launches, *sizes)


FOUR_BITS = MatrixCost((3, 3), weights=(2.6, 2.6))
EIGHT_BITS = MatrixCost((6, 3), (14, 1), (6, 1), (1, 3))
# Adapters as PEFT computes them: in 16 bits, in float32, and over quantised matrices
HALVES, WHOLES = MatrixCost((8, 10), (12, 18), (10, 4)), MatrixCost((6, 9), (6, 12), (24, 20))
OVER_FOUR, OVER_EIGHT = MatrixCost((7, 8), (0, 6), (14, 4)), MatrixCost((6, 8), (0, 6), (10, 4))
DORA = MatrixCost((23, 23), (40, 50), (45, 45))
APART = Cost(1, 1, 9, 9)  # dropout before an adapter


def compute_layer_cost(
    setup: Setup, tokens: float, length: float, trained: bool, kernels: Kernels = OURS
) -> Cost:
    """Return the cost of one layer over so many tokens at once.

    Args:
        length: Tokens that see each other.
        trained: Whether anything in it, or below it, has a gradient; otherwise its pass back is nothing.
        kernels: What computes the parts.
    """
    # Other stacks run the libraries' code, without this program's kernels
    if setup.stack.foreign:
        kernels = LIBRARIES
    found = _cost_between(setup, tokens, length, trained, kernels)
    for linear in setup.facts.layer_linears:
        found = found + _cost_matrix(
            setup, linear, tokens * compute_expert_share(setup.facts, linear), trained
        )
    if trained and setup.rank:
        found = found + _cost_adapters(setup, tokens, kernels)
    # Layers below all trained ones have no backward pass
    return found if trained else Cost(found.forward, 0.0, found.bytes_forward, 0.0)


def compute_expert_share(facts: ModelFacts, linear: Linear) -> float:
    """Return how many rows one token gives to each copy of a matrix: below 1 for experts."""
    return facts.experts_per_token / facts.experts if linear.group == "expert" and facts.experts else 1.0


def _cost_between(setup: Setup, tokens: float, length: float, trained: bool, kernels: Kernels) -> Cost:
    """Cost everything in a layer except the matrices."""
    facts, family = setup.facts, setup.facts.family
    wide = 2.0 if _is_mixed(setup) else 1.0  # float32 between the layers
    own = setup.trains_weights and trained
    rms = family.norm == "rms"
    norm = (OWN_RMS if kernels.norm else RMS_NORM) if rms else LAYER_NORM
    if own:
        norm = norm + (Cost(0, 1) if rms and kernels.norm else TRAINED_RMS if rms else TRAINED_LAYER)
    spread = wide if kernels.norm else 1.0  # the libraries' norms are float32 anyway
    found = norm.scale_bytes(tokens * facts.hidden * spread).multiply_by(max(1, family.norms))
    # Norms and rotations of queries and keys are as wide as these, not as the hidden states
    heads = facts.query_dim + facts.kv_dim
    if family.qk_norm:
        found = found + norm.scale_bytes(tokens * heads / 2).multiply_by(2)
    if not (family.learned_positions or family.encoder):
        rotary = OWN_ROTARY if kernels.rotary else ROTARY
        found = found + rotary.scale_bytes(tokens * heads * (1.6 if wide > 1 else 1.0))
    if setup.attention == "eager":
        pairs = tokens if setup.is_flat else length  # masked ones are computed too
        found = (
            found
            + EAGER.scale_bytes(tokens * facts.query_dim)
            + SCORES.scale_bytes(tokens * pairs * facts.heads)
        )
    else:
        found = found + ATTENTION.scale_bytes(tokens * heads)
    found = found + JOIN.scale_bytes(tokens * facts.hidden * wide).multiply_by(2)
    grouped = kernels.lora and trained and _is_grouped(setup)
    if not grouped:
        found = found + SUMMED.scale_bytes(tokens * facts.hidden).multiply_by(
            max(0, len(facts.layer_linears) - 4)
        )
    if family.multipliers:
        found = found + SCALED.scale_bytes(tokens * facts.hidden).multiply_by(2)
    widened = setup.autocast and family.norm == "layer"
    if widened:
        found = found + WIDENED.scale_bytes(tokens * facts.hidden).multiply_by(family.norms)
        if trained and setup.rank:  # what adapters read is float32, too
            found = found + CAST.scale_bytes(tokens * facts.hidden).multiply_by(len(facts.layer_linears))
    if widened or _is_mixed(setup):
        found = found + CAST.scale_bytes(tokens * facts.hidden).multiply_by(len(facts.layer_linears) - 2)
    return found + _cost_activation(facts, tokens, kernels, setup.autocast)


def _is_mixed(setup: Setup) -> bool:
    """Return whether weights are float32 under autocast."""
    return setup.autocast and setup.weight == 4


def _is_grouped(setup: Setup) -> bool:
    """Return whether this program computes adapters with the same input in one step."""
    return bool(setup.rank) and setup.form is Form.LOW_RANK and setup.autocast and not setup.trains_weights


def _cost_activation(facts: ModelFacts, tokens: float, kernels: Kernels, autocast: bool) -> Cost:
    gated = OWN_GATED if kernels.gated else GATED
    if facts.has_experts:
        inner = facts.expert_ffn * facts.experts_per_token
        routing = MIXTURE.scale_bytes(tokens * facts.hidden * max(1, facts.experts_per_token) / 2)
        return gated.scale_bytes(tokens * inner) + routing
    if facts.family.gated:
        return gated.scale_bytes(tokens * facts.ffn)
    # These activations are written out in several operations instead of one kernel
    written = facts.activation in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh") or facts.model_type == "gpt2"
    if written:
        return (WRITTEN_OUT + WIDENED.multiply_by(2) if autocast else WRITTEN_OUT).scale_bytes(
            tokens * facts.ffn
        )
    return PLAIN.scale_bytes(tokens * facts.ffn)


def _cost_matrix(setup: Setup, linear: Linear, rows: float, trained: bool) -> Cost:
    """Cost one matrix without its adapter; experts are grouped products."""
    found = PRODUCT
    if _is_quantised(setup, linear):
        kind = FOUR_BITS if setup.quantization == "nf4" else EIGHT_BITS
        found = found + kind.count_cost(linear, rows * linear.copies)
    if setup.trains_weights and trained:
        found = found + TRAINED_PRODUCT
    if _is_mixed(setup):
        found = found + MASTER.scale_bytes(linear.weights)
    return found


def _is_quantised(setup: Setup, linear: Linear) -> bool:
    return setup.quantization != "none" and setup.stack.quantises_linear(linear)


def _cost_adapters(setup: Setup, tokens: float, kernels: Kernels) -> Cost:
    """Cost all adapters of a layer, except their products, which `step_time` adds."""
    facts = setup.facts
    adapted = [linear for linear in facts.layer_linears if setup.stack.adapts_linear(linear, setup.targets)]
    found = Cost()
    if kernels.lora and _is_grouped(setup):
        # Dropout gives each matrix its own input, which then cannot be grouped
        groups = (
            len(adapted)
            if setup.dropout
            else len({(one.group, one.inputs, _is_last(one)) for one in adapted})
        )
        found = GROUP.multiply_by(groups) + MEMBER.multiply_by(len(adapted))
        for linear in adapted:
            if setup.dropout:
                found = found + DROPPED.scale_bytes(
                    tokens * compute_expert_share(facts, linear) * linear.copies * linear.inputs
                )
        return found
    for linear in adapted:
        kind = HALVES if setup.autocast else WHOLES
        if _is_quantised(setup, linear):
            kind = OVER_FOUR if setup.quantization == "nf4" else OVER_EIGHT
        if setup.form is Form.MAGNITUDES:
            kind = DORA
        rows = tokens * compute_expert_share(facts, linear) * linear.copies
        found = found + kind.count_cost(linear, rows)
        if setup.dropout:
            found = found + APART.scale_bytes(rows * linear.inputs)
    return found


def _is_last(linear: Linear) -> bool:
    """Return whether a matrix is the last of attention or of its block: no other reads the same input."""
    return linear.name.split(".")[-1] in ("o_proj", "down_proj", "out_proj", "c_proj", "fc2", "dense", "w2")
