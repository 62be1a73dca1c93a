"""What a layer launches and moves on a GPU, part by part: a table, counted through tensors without data.

A part launches operations and reads and writes memory in them, apart from products of matrices, which
`step` weighs by their arithmetic. The figures hold for transformers' modelling code and PEFT's layers in 16
bits under autocast, as `training.tracing.launches` counts them in the installed versions; bytes are those of
each operation's inputs and results, differences of models of other widths.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.models.facts import Linear, ModelFacts
from tui_tuner.planning.memory.setup import Setup


@dataclass(frozen=True)
class Cost:
    """Launches of a pass forward and of one back, and the bytes that they move beside products."""

    forward: float = 0.0
    back: float = 0.0
    bytes_forward: float = 0.0
    bytes_back: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.forward + other.forward,
            self.back + other.back,
            self.bytes_forward + other.bytes_forward,
            self.bytes_back + other.bytes_back,
        )

    def times(self, count: float) -> Cost:
        """So many of it."""
        return Cost(
            self.forward * count, self.back * count, self.bytes_forward * count, self.bytes_back * count
        )

    def wide(self, elements: float) -> Cost:
        """The same over so many elements, where the bytes are of one."""
        return Cost(self.forward, self.back, self.bytes_forward * elements, self.bytes_back * elements)


RMS_NORM, TRAINED_RMS = Cost(8, 14, 36, 88), Cost(0, 2, 0, 8)
LAYER_NORM, TRAINED_LAYER = Cost(1, 1, 4, 6), Cost(0, 1, 0, 4)
ROTARY = Cost(10, 22, 20, 36)
GATED, PLAIN, WRITTEN_OUT = Cost(2, 3, 10, 18), Cost(1, 1, 4, 6), Cost(8, 12, 40, 60)
JOIN = Cost(1, 1, 6, 6)  # a residual, and where gradients of several readers are summed
ATTENTION, EAGER = Cost(1, 3, 8, 16), Cost(6, 10, 8, 16)
SCORES = Cost(0, 0, 24, 30)  # of each pair that eager attention keeps
MIXTURE = Cost(19, 24, 40, 60)
SCALED = Cost(1, 1, 4, 4)
PRODUCT, TRAINED_PRODUCT = Cost(1, 1), Cost(0, 1)
MASTER = Cost(1, 1, 6, 6)  # under autocast a float32 weight is cast, and its gradient back
FOUR_BITS, EIGHT_BITS = Cost(3, 2, 2.6, 2.6), Cost(5, 2, 3, 3)  # a matrix's bytes are those of its weights


@dataclass(frozen=True)
class AdapterCost:
    """Of one adapted matrix: launches, and bytes by element of its input and of its output."""

    launches: tuple[float, float]
    inputs: tuple[float, float]
    outputs: tuple[float, float]


HALVES = AdapterCost((8, 10), (12, 18), (10, 4))
WHOLES = AdapterCost((6, 9), (6, 12), (24, 20))
OVER_FOUR = AdapterCost((7, 9), (0, 6), (14, 4))
OVER_EIGHT = AdapterCost((7, 9), (14, 7), (16, 5))
DORA = AdapterCost((23, 23), (30, 40), (40, 40))


def layer_cost(setup: Setup, tokens: float, length: float, trained: bool) -> Cost:
    """One layer over so many tokens at once.

    Args:
        length: Tokens that see each other.
        trained: Whether anything in it, or below it, has a gradient; otherwise its pass back is nothing.
    """
    facts = setup.facts
    mixed = setup.autocast and setup.weight == 4 and setup.full
    found = _between(setup, tokens, length, trained).times(1.25 if mixed else 1.0)
    for linear in facts.linears:
        found = found + _matrix(setup, linear, tokens * share_of(facts, linear), trained)
    return found if trained else Cost(found.forward, 0.0, found.bytes_forward, 0.0)


def share_of(facts: ModelFacts, linear: Linear) -> float:
    """Rows of a matrix (of each of its copies) for a token."""
    return facts.experts_per_token / facts.experts if linear.group == "expert" and facts.experts else 1.0


def _between(setup: Setup, tokens: float, length: float, trained: bool) -> Cost:
    """All but the matrices."""
    facts, family = setup.facts, setup.facts.family
    own = setup.full and trained
    norm = LAYER_NORM if family.norm in ("layer", "plain") else RMS_NORM
    weights = (TRAINED_LAYER if norm is LAYER_NORM else TRAINED_RMS) if own else Cost()
    found = (norm + weights).wide(tokens * facts.hidden).times(max(1, family.norms))
    heads = facts.query_dim + facts.kv_dim
    if family.qk_norm:
        each = RMS_NORM + (TRAINED_RMS if own else Cost())
        found = found + each.wide(tokens * heads / 2).times(2)
    if not (family.learned_positions or family.encoder):
        found = found + ROTARY.wide(tokens * heads)
    if setup.attention == "eager":
        pairs = tokens if setup.flat else length  # masked ones are computed too
        found = found + EAGER.wide(tokens * facts.query_dim) + SCORES.wide(tokens * pairs * facts.heads)
    else:
        found = found + ATTENTION.wide(tokens * heads)
    readers = len(facts.linears) - 2  # but for those behind attention and at the end
    found = found + JOIN.wide(tokens * facts.hidden).times(2)
    found = found + Cost(0, 1, 0, 6).wide(tokens * facts.hidden).times(max(0, readers - 2))
    if family.multipliers:
        found = found + SCALED.wide(tokens * facts.hidden).times(2)
    return found + _activation(facts, tokens)


def _activation(facts: ModelFacts, tokens: float) -> Cost:
    if facts.moe:
        inner = facts.expert_ffn * facts.experts_per_token
        routing = MIXTURE.wide(tokens * facts.hidden * max(1, facts.experts_per_token) / 2)
        return GATED.wide(tokens * inner) + routing
    if facts.family.gated:
        return GATED.wide(tokens * facts.ffn)
    written = facts.activation in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh") or facts.model_type == "gpt2"
    return (WRITTEN_OUT if written else PLAIN).wide(tokens * facts.ffn)


def _matrix(setup: Setup, linear: Linear, tokens: float, trained: bool) -> Cost:
    """One matrix with its adapter; experts are products of groups."""
    quantised = setup.quantization != "none" and setup.stack.quantises(linear)
    found = PRODUCT
    if quantised:
        found = found + (FOUR_BITS if setup.quantization == "nf4" else EIGHT_BITS).wide(linear.weights)
    if setup.full and trained:
        found = found + TRAINED_PRODUCT
        if setup.autocast and setup.weight == 4:
            found = found + MASTER.wide(linear.weights)
    adapted = trained and setup.rank > 0 and setup.stack.adapts(linear, setup.targets)
    return found + _adapter(setup, linear, tokens) if adapted else found


def _adapter(setup: Setup, linear: Linear, tokens: float) -> Cost:
    kind = HALVES if setup.autocast else WHOLES
    if setup.quantization != "none" and setup.stack.quantises(linear):
        kind = OVER_FOUR if setup.quantization == "nf4" else OVER_EIGHT
    if setup.variant == "dora":
        kind = DORA
    rows = tokens * linear.copies
    sizes = [rows * (kind.inputs[way] * linear.inputs + kind.outputs[way] * linear.outputs) for way in (0, 1)]
    dropped = Cost(1, 1, 9, 9).wide(rows * linear.inputs) if setup.dropout else Cost()
    return Cost(*kind.launches, *sizes) + dropped
