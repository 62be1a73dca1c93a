"""What a layer launches and moves on a GPU, part by part: a table, counted through tensors without data.

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

from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.setup import Setup


@dataclass(frozen=True)
class Kernels:
    """Which parts are computed in fewer operations than the libraries do by themselves."""

    norm: bool = True
    rotary: bool = True
    gated: bool = True
    lora: bool = True


OURS, LIBRARIES = Kernels(), Kernels(False, False, False, False)


class Figures:
    """A dataclass of figures that are added, and multiplied, one by one."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(add, vars(self).values(), vars(other).values()))

    def times(self, count: float) -> Self:
        """So many of it."""
        return type(self)(*(one * count for one in vars(self).values()))


@dataclass(frozen=True)
class Cost(Figures):
    """Launches of a pass forward and of one back, and the bytes that they move beside products."""

    forward: float = 0.0
    back: float = 0.0
    bytes_forward: float = 0.0
    bytes_back: float = 0.0

    def wide(self, elements: float) -> Cost:
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
class Sided:
    """Of one matrix: launches forward and back, and bytes by element of its input, output and weights."""

    launches: tuple[float, float]
    inputs: tuple[float, float] = (0, 0)
    outputs: tuple[float, float] = (0, 0)
    weights: tuple[float, float] = (0, 0)

    def cost(self, linear: Linear, rows: float) -> Cost:
        """Over so many rows."""
        sizes = [
            rows * (self.inputs[way] * linear.inputs + self.outputs[way] * linear.outputs)
            + self.weights[way] * linear.weights
            for way in (0, 1)
        ]
        return Cost(*self.launches, *sizes)


FOUR_BITS = Sided((3, 3), weights=(2.6, 2.6))
EIGHT_BITS = Sided((6, 3), (14, 1), (6, 1), (1, 3))
# Adapters as PEFT computes them: in 16 bits, in float32, and over quantised matrices
HALVES, WHOLES = Sided((8, 10), (12, 18), (10, 4)), Sided((6, 9), (6, 12), (24, 20))
OVER_FOUR, OVER_EIGHT = Sided((7, 8), (0, 6), (14, 4)), Sided((6, 8), (0, 6), (10, 4))
DORA = Sided((23, 23), (40, 50), (45, 45))
APART = Cost(1, 1, 9, 9)  # dropout before an adapter


def layer_cost(setup: Setup, tokens: float, length: float, trained: bool, kernels: Kernels = OURS) -> Cost:
    """One layer over so many tokens at once.

    Args:
        length: Tokens that see each other.
        trained: Whether anything in it, or below it, has a gradient; otherwise its pass back is nothing.
        kernels: What computes the parts.
    """
    if setup.stack.foreign:
        kernels = LIBRARIES
    found = _between(setup, tokens, length, trained, kernels)
    for linear in setup.facts.linears:
        found = found + _matrix(setup, linear, tokens * share_of(setup.facts, linear), trained)
    if trained and setup.rank:
        found = found + _adapters(setup, tokens, kernels)
    return found if trained else Cost(found.forward, 0.0, found.bytes_forward, 0.0)


def share_of(facts: ModelFacts, linear: Linear) -> float:
    """Rows of a matrix (of each of its copies) for a token."""
    return facts.experts_per_token / facts.experts if linear.group == "expert" and facts.experts else 1.0


def _between(setup: Setup, tokens: float, length: float, trained: bool, kernels: Kernels) -> Cost:
    """All but the matrices."""
    facts, family = setup.facts, setup.facts.family
    wide = 2.0 if _mixed(setup) else 1.0  # float32 between the layers
    own = setup.full and trained
    rms = family.norm == "rms"
    norm = (OWN_RMS if kernels.norm else RMS_NORM) if rms else LAYER_NORM
    if own:
        norm = norm + (Cost(0, 1) if rms and kernels.norm else TRAINED_RMS if rms else TRAINED_LAYER)
    spread = wide if kernels.norm else 1.0  # the libraries' norms are float32 anyway
    found = norm.wide(tokens * facts.hidden * spread).times(max(1, family.norms))
    heads = facts.query_dim + facts.kv_dim
    if family.qk_norm:
        found = found + norm.wide(tokens * heads / 2).times(2)
    if not (family.learned_positions or family.encoder):
        rotary = OWN_ROTARY if kernels.rotary else ROTARY
        found = found + rotary.wide(tokens * heads * (1.6 if wide > 1 else 1.0))
    if setup.attention == "eager":
        pairs = tokens if setup.flat else length  # masked ones are computed too
        found = found + EAGER.wide(tokens * facts.query_dim) + SCORES.wide(tokens * pairs * facts.heads)
    else:
        found = found + ATTENTION.wide(tokens * heads)
    found = found + JOIN.wide(tokens * facts.hidden * wide).times(2)
    grouped = kernels.lora and trained and _grouped(setup)
    if not grouped:
        found = found + SUMMED.wide(tokens * facts.hidden).times(max(0, len(facts.linears) - 4))
    if family.multipliers:
        found = found + SCALED.wide(tokens * facts.hidden).times(2)
    widened = setup.autocast and family.norm == "layer"
    if widened:
        found = found + WIDENED.wide(tokens * facts.hidden).times(family.norms)
        if trained and setup.rank:  # what adapters read is float32, too
            found = found + CAST.wide(tokens * facts.hidden).times(len(facts.linears))
    if widened or _mixed(setup):
        found = found + CAST.wide(tokens * facts.hidden).times(len(facts.linears) - 2)
    return found + _activation(facts, tokens, kernels, setup.autocast)


def _mixed(setup: Setup) -> bool:
    """Whether weights are float32 under autocast."""
    return setup.autocast and setup.weight == 4


def _grouped(setup: Setup) -> bool:
    """Whether adapters are computed by this program, those that read the same at once."""
    return bool(setup.rank) and setup.variant == "" and setup.autocast and not setup.full


def _activation(facts: ModelFacts, tokens: float, kernels: Kernels, autocast: bool) -> Cost:
    gated = OWN_GATED if kernels.gated else GATED
    if facts.moe:
        inner = facts.expert_ffn * facts.experts_per_token
        routing = MIXTURE.wide(tokens * facts.hidden * max(1, facts.experts_per_token) / 2)
        return gated.wide(tokens * inner) + routing
    if facts.family.gated:
        return gated.wide(tokens * facts.ffn)
    written = facts.activation in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh") or facts.model_type == "gpt2"
    if written:
        return (WRITTEN_OUT + WIDENED.times(2) if autocast else WRITTEN_OUT).wide(tokens * facts.ffn)
    return PLAIN.wide(tokens * facts.ffn)


def _matrix(setup: Setup, linear: Linear, rows: float, trained: bool) -> Cost:
    """One matrix without its adapter; experts are products of groups."""
    found = PRODUCT
    if _quantised(setup, linear):
        kind = FOUR_BITS if setup.quantization == "nf4" else EIGHT_BITS
        found = found + kind.cost(linear, rows * linear.copies)
    if setup.full and trained:
        found = found + TRAINED_PRODUCT
    if _mixed(setup):
        found = found + MASTER.wide(linear.weights)
    return found


def _quantised(setup: Setup, linear: Linear) -> bool:
    return setup.quantization != "none" and setup.stack.quantises(linear)


def _adapters(setup: Setup, tokens: float, kernels: Kernels) -> Cost:
    """All adapters of a layer, whose own products `step` weighs."""
    facts = setup.facts
    adapted = [linear for linear in facts.linears if setup.stack.adapts(linear, setup.targets)]
    found = Cost()
    if kernels.lora and _grouped(setup):
        groups = (
            len(adapted) if setup.dropout else len({(one.group, one.inputs, _last(one)) for one in adapted})
        )
        found = GROUP.times(groups) + MEMBER.times(len(adapted))
        for linear in adapted:
            if setup.dropout:
                found = found + DROPPED.wide(tokens * share_of(facts, linear) * linear.copies * linear.inputs)
        return found
    for linear in adapted:
        kind = HALVES if setup.autocast else WHOLES
        if _quantised(setup, linear):
            kind = OVER_FOUR if setup.quantization == "nf4" else OVER_EIGHT
        if setup.variant == "dora":
            kind = DORA
        rows = tokens * share_of(facts, linear) * linear.copies
        found = found + kind.cost(linear, rows)
        if setup.dropout:
            found = found + APART.wide(rows * linear.inputs)
    return found


def _last(linear: Linear) -> bool:
    """Whether a matrix stands behind attention or at the end of its block: no other reads what it reads."""
    return linear.name.split(".")[-1] in ("o_proj", "down_proj", "out_proj", "c_proj", "fc2", "dense", "w2")
