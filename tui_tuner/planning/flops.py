"""Floating-point operations that a training step needs, however it is computed.

These are *model* operations, those of the mathematics, which model FLOP utilisation (MFU) is measured by
(PaLM, arXiv 2204.02311, appendix B): recomputation for checkpointing, padding, dequantised weights and logits
of untrained tokens are extra work of the machine and are not counted. A multiplication with its addition is
two operations. For each token,

- a weight of a matrix costs 2 forward and 2 for the gradient of its input, and 2 more for its own gradient
  where it is trained (Kaplan et al., arXiv 2001.08361). So 6 where all is trained, and 4 where weights are
  frozen and gradients only pass through, plus 6 for each weight of an adapter;
- a layer below the first trained one costs 2 for each weight, as no gradient gets there; nothing where its
  output was stored before;
- of a mixture's experts those count that a token goes to, and its router;
- attention costs 4 * query width forward for each pair of positions of which one sees the other (scores, and
  their sum over values), and twice that backward, frozen weights or not. A causal sequence of n has n * n / 2
  pairs, half of what PaLM counts; one that reads both ways n * n; a window caps what a position sees;
- the head, tied or not, counts at trained positions only, one that decides where it decides: once a text, a
  word, or an end of an answer. Embeddings are looked up and cost nothing;
- of an encoder-decoder, the encoder's layers count for the tokens of the source and the decoder's for those
  of the target, except that the decoder makes keys and values of each token of the source in every layer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.schema import MethodSection
from tui_tuner.config.sections.field_options import Auto
from tui_tuner.config.sections.training import EVERY_SECOND, Checkpointing
from tui_tuner.methods import find_method
from tui_tuner.methods.numbers.terms import PassedWeights
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.heads.outputs import Head
from tui_tuner.planning.memory.method_fields import make_method_case
from tui_tuner.planning.memory.stack import Stack, find_installed_stack

FORWARD, THROUGH, OWN = 2, 2, 2  # operations of a weight and token: forward, input's gradient, its own
# Which layers have a window where a config does not list them: each but every so-many-th (transformers 5.23)
PATTERNS = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4, "gpt_oss": 2}


@dataclass(frozen=True)
class Segment:
    """A stretch of tokens that goes through the model.

    Args:
        before: Further tokens that it attends to but that are computed elsewhere: a beginning that it shares
            with others.
        source: Of an encoder-decoder, the tokens that its encoder reads; `tokens` are those of the decoder.
    """

    tokens: float
    before: int = 0
    source: float = 0.0


@dataclass(frozen=True)
class Flops:
    """Costs of the parts of a model, in operations of a whole optimizer step, forward and backward.

    Args:
        token: Of the layers, for each token.
        target: Of the head, for each trained position.
        pairs: Of attention, for each pair of positions, by the window of layers (None without one).
        causal: Positions see only what comes before.
        virtual: Virtual tokens that each sequence begins with.
        prefix: Additional keys that each position attends to in every layer (prefix tuning).
        again: Of layers that gradients reach, for each token and (by window) pair, forward alone.
        weights: Weights that a token meets in the layers, adapters included.
        reading: Of an encoder-decoder, its encoder's.
        read: Of the decoder's layers, for each token of the source, of which they make keys and values; and
            of that, what is computed again.
        crossed: Of the decoder's attention to the source, for each pair of positions; and again.
    """

    token: float
    target: float
    pairs: Mapping[int | None, float]
    causal: bool = True
    virtual: int = 0
    prefix: int = 0
    again: tuple[float, Mapping[int | None, float]] = (0.0, {})
    weights: int = 0
    reading: Flops | None = None
    read: tuple[float, float] = (0.0, 0.0)
    crossed: tuple[float, float] = (0.0, 0.0)

    def count_step(self, segments: Iterable[float | Segment], targets: float) -> float:
        """Return the operations of an optimizer step over these sequences.

        Args:
            segments: Tokens of each sequence, virtual ones not among them; or, where a beginning is shared,
                that beginning and each of the rests.
            targets: Positions with a label.
        """
        cut = list(segments)
        tokens, pairs = self._sum_sizes(cut, self.pairs)
        beside = self._count_sources(cut, 0)
        if self.reading is not None:
            beside += self.reading.count_step(list_sources(cut), 0)
        return tokens * self.token + targets * self.target + pairs + beside

    def count_recomputed(self, segments: Iterable[float | Segment], degree: Auto | Checkpointing) -> float:
        """Count the operations that checkpointing adds: a second forward pass of the layers that gradients
        reach, or of every second one.

        Args:
            degree: `training.gradient_checkpointing`; `auto` counts as none.
        """
        if degree in (False, "auto"):
            return 0.0
        token, costs = self.again
        cut = list(segments)
        tokens, pairs = self._sum_sizes(cut, costs)
        found = tokens * token + pairs + self._count_sources(cut, 1)
        half = 0.5 if degree == EVERY_SECOND else 1.0
        if self.reading is None:
            return found * half
        return found * half + self.reading.count_recomputed(list_sources(cut), degree)

    def _count_sources(self, segments: Iterable[float | Segment], place: int) -> float:
        """Count what the decoder does with sources; `place` 1 is what it computes again."""
        sides = [(one.tokens, one.source) for one in segments if isinstance(one, Segment) and one.source]
        return sum(
            source * self.read[place] + tokens * source * self.crossed[place] for tokens, source in sides
        )

    def _sum_sizes(
        self, segments: Iterable[float | Segment], costs: Mapping[int | None, float]
    ) -> tuple[float, float]:
        """Return the number of tokens, and the operations of attention."""
        tokens, total = 0.0, 0.0
        for one in segments:
            found = one if isinstance(one, Segment) else Segment(one)
            before, count = found.before + self.prefix, found.tokens
            # A rest that continues a shared beginning has no virtual tokens of its own: they stand before the
            # beginning
            if not found.before:
                count += self.virtual
            tokens += count
            total += sum(cost * self._count_pairs(count, before, window) for window, cost in costs.items())
        return tokens, total

    def _count_pairs(self, tokens: float, before: int, window: int | None) -> float:
        """Count the pairs of positions of which the first attends to the second."""
        if not self.causal:
            seen = tokens + before
            return float(tokens * (seen if window is None else min(seen, 2 * window)))
        found = tokens * before + tokens * tokens / 2
        if window is None or tokens + before <= window:
            return found
        # the last positions see `window` each, the first ones all there is
        growing = max(0, window - before)
        return growing * before + growing * growing / 2 + (tokens - growing) * float(window)


def list_sources(segments: Iterable[float | Segment]) -> list[float | Segment]:
    """Return the sources of an encoder-decoder's segments, which its encoder reads."""
    return [one.source if isinstance(one, Segment) else 0.0 for one in segments]


def count_flops(
    facts: ModelFacts,
    method: MethodSection,
    *,
    head: Head | None = None,
    stored: int = 0,
    stack: Stack | None = None,
) -> Flops:
    """Count the operations of a model with a method.

    Args:
        head: That of a task which decides; without it, a model that writes.
        stored: Layers, from below, whose output was computed before the steps.
        stack: Of the libraries, which decide where adapters sit; those installed by default.
    """
    stack = stack or find_installed_stack()
    found = _count_stack(facts, method, stack, stored)
    found = replace(found, target=_count_head(facts, method, head or Head()))
    if facts.source is None:
        return found
    # Where top layers were chosen they are the decoder's: no gradient gets to the encoder
    tops = 0 if method.reads_field("layers") and method.layers is not None else None
    return replace(found, reading=_count_stack(facts.source, method, stack, 0, tops))


def _count_stack(
    facts: ModelFacts, method: MethodSection, stack: Stack, stored: int, only: int | None = None
) -> Flops:
    """Count the operations of one stack of layers; `only` is in how many of them anything is trained."""
    reached, tops = _count_layers(facts, method) if only is None else (only, only)
    token = again = 0.0
    read, read_again = 0.0, 0.0
    crossed, crossed_again = 0.0, 0.0
    weights = 0
    pairs: dict[int | None, float] = {}
    twice: dict[int | None, float] = {}
    reads = set(facts.family.cross[1:3])  # of the source, keys and values are made
    # Scores cost 2 * head_dim for each pair and head, their sum over values 2 * value_dim: latent attention
    # has two sizes
    width = 2.0 * facts.heads * (facts.head_dim + (facts.value_dim or facts.head_dim))
    for place, window in enumerate(list_layer_windows(facts)):
        # Stored layers are never computed during steps
        if place < stored:
            continue
        back, top = place >= facts.layers - reached, place >= facts.layers - tops
        frozen, trained = _weigh_layer(facts, method, stack, place, top, reads, inside=False)
        token += _count_passes(frozen, trained, back)
        weights += round(frozen + trained)
        pairs[window] = pairs.get(window, 0.0) + (3 * width if back else width)
        if back:
            again += FORWARD * (frozen + trained)
            twice[window] = twice.get(window, 0.0) + width
        if reads:
            frozen, trained = _weigh_layer(facts, method, stack, place, top, reads, inside=True)
            read += _count_passes(frozen, trained, back)
            read_again += FORWARD * (frozen + trained) * back
            crossed += 3 * width if back else width
            crossed_again += width * back
    return Flops(
        token,
        0.0,
        pairs,
        causal=not facts.encoder,
        virtual=0 if method.has_trait(Trait.PREFIX) else method.prompt_length,
        prefix=method.prompt_length if method.has_trait(Trait.PREFIX) else 0,
        again=(again, twice),
        weights=weights,
        read=(read, read_again),
        crossed=(crossed, crossed_again),
    )


def _count_passes(frozen: float, trained: float, back: bool) -> float:
    """Count the operations of weights that a token passes, forward and, if gradients get there, backward."""
    # The gradient of the input is needed even where no weight of this layer is trained
    found = FORWARD * (frozen + trained)
    return found + (THROUGH * (frozen + trained) + OWN * trained if back else 0.0)


def _count_head(facts: ModelFacts, method: MethodSection, head: Head) -> float:
    """Count the operations of the head at one position. A head that decides is trained with every method."""
    parts = head.list_parts(facts)
    if parts:
        return float(sum(part.matrix.weights for part in parts)) * (FORWARD + THROUGH + OWN)
    # An encoder's head has a dense layer before the vocabulary (BERT's `cls.predictions.transform`)
    wide = facts.embedding_width
    weights = float(facts.vocab * wide + (facts.hidden * wide if facts.encoder else 0))
    terms = find_method(method.kind).memory_terms(make_method_case(method, facts))
    own = method.has_trait(Trait.WHOLE_MODEL) or _trains_embeddings(method) or terms.trains_head
    return weights * (FORWARD + THROUGH + (OWN if own else 0))


def _trains_embeddings(method: MethodSection) -> bool:
    return method.train_embeddings and method.reads_field("train_embeddings")


def _count_layers(facts: ModelFacts, method: MethodSection) -> tuple[int, int]:
    """Return how many layers, from the top, gradients reach, and in how many something is trained."""
    numbers = find_method(method.kind)
    tops = numbers.count_layers(method, facts.layers)
    terms = numbers.memory_terms(make_method_case(method, facts))
    below = terms.train_embeddings or terms.elsewhere or terms.own  # these may be used below all layers
    return facts.layers if below else tops, tops


def _weigh_layer(
    facts: ModelFacts,
    method: MethodSection,
    stack: Stack,
    place: int,
    top: bool,
    apart: Collection[str] = (),
    *,
    inside: bool = False,
) -> tuple[float, float]:
    """Return the frozen and the trained weights that a token passes in a layer.

    Args:
        apart: Names of matrices that are left out; or, with `inside`, the only ones that count.
    """
    numbers, case = find_method(method.kind), make_method_case(method, facts, stack)
    frozen = trained = 0.0
    for linear in (facts.without_experts if place in facts.dense_places else facts).layer_linears:
        if (linear.name in apart) is not inside:
            continue
        # A token passes only the experts that its router chooses
        share = facts.experts_per_token / facts.experts if linear.group == "expert" else 1.0
        weights = linear.weights * share
        if numbers.trains_layers:
            trained, frozen = trained + weights * top, frozen + weights * (not top)
            continue
        passed = numbers.weigh_linear(linear, case) if top and case.adapts(linear) else PassedWeights()
        frozen += (0.0 if passed.instead else weights) + passed.frozen * share
        trained += passed.trained * share
    return frozen, trained


def list_layer_windows(facts: ModelFacts) -> list[int | None]:
    """Return for each layer how many positions one position attends to; None is all before it."""
    raw, whole = facts.raw, [None] * facts.layers
    window = _as_whole(raw.get("sliding_window"), 0)
    if not window or raw.get("use_sliding_window") is False:
        return list(whole)
    kinds = raw.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == facts.layers:
        return [window if kind == "sliding_attention" else None for kind in kinds]
    # Older configs of these families do not list the layers; the pattern is in their code
    every = _as_whole(raw.get("sliding_window_pattern"), PATTERNS.get(facts.model_type, 0))
    if every:
        return [window if (place + 1) % every else None for place in range(facts.layers)]
    # Qwen configs carry a window that is switched off by default
    if facts.model_type.startswith("qwen"):
        if raw.get("use_sliding_window") is not True:
            return list(whole)
        first = _as_whole(raw.get("max_window_layers"), 28)
        return [window if place >= first else None for place in range(facts.layers)]
    return [window] * facts.layers


def _as_whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def find_peak_flops(card: Card, dtype: str, tf32: bool = False) -> float | None:
    """Return the most operations a second of a device for a dtype; None if no data sheet has it.

    The table has dense 16-bit speed. TensorFloat-32 is half of that on every card that has it (Ampere and
    newer); float32 without it is computed elsewhere, and bfloat16 before Ampere is emulated.

    Args:
        dtype: Of matrix products: `bfloat16`, `float16` or `float32`.
        tf32: Whether float32 products may be computed as TensorFloat-32.
    """
    ampere = card.capability >= (8, 0)
    if card.cpu or not card.tflops:
        return None
    if dtype == "float16" or (dtype == "bfloat16" and ampere):
        return card.tflops * 1e12
    if dtype == "float32" and tf32 and ampere:
        return card.tflops * 0.5e12
    return None
