"""The time of an optimizer step on a GPU, from what it computes, moves and launches.

A pass over a micro-batch takes as long as the slower of two: the processor, which launches every operation,
and the GPU, which computes products of matrices (at the speed of its arithmetic or of reading the matrices,
whichever is slower, as in the roofline model of Williams et al., 2009) and moves what all other operations
read and write. Checkpointing adds a pass forward through the layers that compute again; offloading adds its
copies if they take longer than the layer that hides them. Gradients of frozen weights are not computed, and
below the first trained layer there is no backward pass. Communication between several GPUs is left out.
Counts are from `layer_costs`, rates from `speed_rates`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.sections.training import EVERY_SECOND, OFFLOAD, Checkpointing
from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.data_facts import DataFacts, measure_mean_sides
from tui_tuner.planning.estimate import count_step_devices
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.static import list_trained_tensors
from tui_tuner.planning.speed.layer_costs import Cost, Figures, compute_expert_share, compute_layer_cost
from tui_tuner.planning.speed.speed_rates import Rates

# Attention of long sequences against products: FlashAttention 2 reaches 35 % of an H100's peak (Shah et al.,
# arXiv 2407.08608) and up to 73 % of an A100's (Dao, arXiv 2307.08691), products 65 %; and its pass back has
# five products where the pass forward has two.
ATTENTION = {(9, 0): 0.5, (10, 0): 0.5}
ATTENTION_BACK = 2.5
# float32 products against 16-bit ones, by the makers' data sheets: in TF32 half; without, a sixteenth on
# cards for data centres since the A100, an eighth on the T4 and V100, half on the others
TF32, FULL_PRECISION, OLD, CONSUMER = 1 / 2, 1 / 16, 1 / 8, 1 / 2
DATA_CENTRE = ((8, 0), (9, 0), (10, 0))
# What machines and models differ by, in times of the seconds for a launch and for what the GPU does: products
# are up to 80 % of the data sheet instead of 65 %, a slow or shared host launches in three times the usual,
# and kernels of small tensors do not reach the speed of memory
QUICK, SLOW = (0.5, 0.8), (3.0, 1.6)
# Beside the layers: embeddings, the head's norm and the loss, counted; and for each piece of the logits
OUTSIDE, PIECE = Cost(20, 15), Cost(8, 10)
PART = Cost(3, 5)  # of a head that decides: a product, what follows it, and their gradients
LOGITS = Cost(0, 0, 18, 24)  # bytes of each logit beside the head's products, counted
OFFLOADED = 6  # launches of a layer whose input goes to the host: two copies, and what waits for them
CLIPPED = 12  # bytes an element of a float32 gradient: read for the norm, read and written to scale it
STEPPED = {
    "adamw": 28,
    "adamw_8bit": 16,
    "paged_adamw_8bit": 16,
    "sgd": 20,
    "adafactor": 28,
    "lion": 20,
    "muon": 80,  # five iterations of products on top
    "schedule_free": 100,  # each of its operations goes over all tensors
    "galore": 40,
    "apollo": 48,
}
# Launches for each tensor, of optimizers that go through them one by one
PER_TENSOR = {
    "adamw_8bit": 1,
    "paged_adamw_8bit": 1,
    "adafactor": 1,
    "lion": 1,
    "muon": 24,
    "galore": 14,
    "apollo": 22,
}


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step.

    Attributes:
        host: What the processor needs to launch it all. device: What the GPU needs to compute it.
        products: Of these, products of matrices. moved: Of these, moving memory. copies: Offloading that is
            not hidden. optimizer: Clipping and stepping, which both sums contain.
        passes: Forward passes of the step. launches: Operations launched.
    """

    seconds: float
    host: float
    device: float
    products: float
    moved: float
    copies: float
    optimizer: float
    passes: int
    launches: float


@dataclass(frozen=True)
class Workload:
    """One pass: `tokens` that it computes, of which `length` see each other, and the share trained on.

    Of an encoder-decoder these are the decoder's, and `sources` the tokens that the encoder computes, of
    which `source_length` see each other.
    """

    passes: int
    tokens: float
    length: float
    supervised: float
    sources: float = 0.0
    source_length: float = 0.0

    @property
    def total_tokens(self) -> float:
        """Return the tokens of all passes, on both sides."""
        return self.passes * (self.tokens + self.sources)


def cut_workload(config: ResolvedConfig, micro: int, data: DataFacts | None) -> Workload:
    """Cut a step of a mean batch into passes of at most so many sequences."""
    rows = max(1, math.ceil(config.training.batch_size / count_step_devices(config)))
    if config.task_kind.encoder_decoder:
        source, target = measure_mean_sides(config, data)
        passes = max(1, math.ceil(rows / micro))
        return Workload(passes, rows * target / passes, target, 1.0, rows * source / passes, source)
    most = config.data.max_length
    mean, share = float(most), 1.0
    if data is not None and data.mean_tokens:
        mean = min(data.mean_tokens, most)
        share = (data.supervised or data.tokens or 1) / (data.tokens or 1)
    elif config.task_kind.hides:
        share = config.trained_share
    passes = max(1, math.ceil(rows * mean / (micro * most) if config.may_pack else rows / micro))
    length = mean + config.method.prompt_length
    return Workload(passes, rows * length / passes, length, share)


class Clock:
    """The time of a step of one run on one card, by micro-batch and degree of checkpointing.

    Args:
        setup: What the config comes to for memory (`estimate.make_memory_setup`).
        card: Its measured rates, or its data sheet, say how fast things are.
        data: What is known of the rows; full ones otherwise.
    """

    def __init__(
        self, config: ResolvedConfig, setup: Setup, card: Card, data: DataFacts | None = None
    ) -> None:
        self.config, self.setup, self.data = config, setup, data
        rates = card.reached_rates
        self.rates = replace(rates, products=rates.products * _rate_precision(config, setup, card))
        self.attention = ATTENTION.get(card.capability, 1.0)
        self._parts: dict[Workload, _Parts] = {}
        self._elements, self._tensors = _count_trained(setup)

    def count_work(self, micro: int) -> Workload:
        """Return the work of a step on this device, cut into passes."""
        return cut_workload(self.config, micro, self.data)

    def predict_step(self, micro: int, degree: Checkpointing) -> StepTime:
        """Predict the time of a step."""
        rates, work = self.rates, self.count_work(micro)
        one, tail = self._time_pass(work, degree), self._time_optimizer()
        launching, computing = one.launches * rates.launch, one.products + one.moved + one.copies
        return StepTime(
            # Launches are asynchronous: the slower of processor and GPU decides, not their sum
            seconds=work.passes * max(launching, computing) + max(tail.host, tail.device),
            host=work.passes * launching + tail.host,
            device=work.passes * computing + tail.device,
            products=work.passes * one.products,
            moved=work.passes * one.moved + tail.device,
            copies=work.passes * one.copies,
            optimizer=max(tail.host, tail.device),
            passes=work.passes,
            launches=work.passes * one.launches + tail.host / rates.launch,
        )

    def predict_span(self, micro: int, degree: Checkpointing) -> tuple[float, float, float]:
        """Predict the least, the expected and the most seconds of a step (see `QUICK` and `SLOW`)."""
        quick, slow = (
            self._predict_at(*shares).predict_step(micro, degree).seconds for shares in (QUICK, SLOW)
        )
        return quick, self.predict_step(micro, degree).seconds, slow

    def _predict_at(self, launch: float, others: float) -> Clock:
        """Predict the seconds of a step, with factors on the times of launches and of the GPU's work."""
        clock = copy.copy(self)
        # A copied clock shares the cache, whose entries hold for the old rates only
        clock._parts = {}
        clock.rates = replace(
            self.rates,
            launch=self.rates.launch * launch,
            products=self.rates.products / others,
            memory=self.rates.memory / others,
            link=self.rates.link / others,
        )
        return clock

    def _time_optimizer(self) -> _Tail:
        """Time clipping and the optimizer's step: fused over all tensors, or one by one."""
        name = self.setup.optimizer
        # Fused optimizers take about 32 tensors in one launch
        launches = 10 + self._tensors * PER_TENSOR.get(name, 1 / 32)
        moved = self._elements * (CLIPPED + STEPPED.get(name, 28))
        return _Tail(launches * self.rates.launch, moved / self.rates.memory)

    def _time_pass(self, work: Workload, degree: Checkpointing) -> _PartTime:
        """Time one micro-batch forward and backward."""
        # The same for all degrees and optimizers: this is what makes a search over hundreds of options quick
        if work not in self._parts:
            self._parts[work] = _Parts.make_parts(self.setup, self.rates, work, self.attention)
        parts, setup = self._parts[work], self.setup
        found = self._time_stack(parts, setup, degree, work.tokens) + parts.head
        if parts.reading is not None:
            found = found + self._time_stack(parts.reading, setup.stacks[0], degree, work.sources)
        return found

    def _time_stack(self, parts: _Parts, setup: Setup, degree: Checkpointing, tokens: float) -> _PartTime:
        """Time the layers of one stack in a micro-batch, forward and backward."""
        facts, trained = setup.facts, setup.trained_layers
        # Checkpointing computes the forward pass of a layer a second time
        again = 0 if degree is False else trained // 2 if degree == EVERY_SECOND else trained
        found = parts.forward.multiply_by(trained + again) + parts.back.multiply_by(trained)
        if trained < facts.layers:
            found = found + parts.frozen.multiply_by(facts.layers - trained)
        if degree == OFFLOAD:
            copied = tokens * facts.hidden * setup.weight / self.rates.link
            # A copy to the host hides behind the next layer's forward pass, one back behind forward and
            # backward
            away, home = parts.forward, parts.forward + parts.back
            late = sum(max(0.0, copied - one.products - one.moved) for one in (away, home))
            found = found + _PartTime(launches=float(OFFLOADED * trained), copies=late * trained)
        return found


@dataclass(frozen=True)
class _PartTime(Figures):
    """Launches, and seconds of the GPU."""

    launches: float = 0.0
    products: float = 0.0
    moved: float = 0.0
    copies: float = 0.0


@dataclass(frozen=True)
class _Tail:
    host: float
    device: float


@dataclass(frozen=True)
class _Parts:
    """A trained layer forward and back, one below the trained ones, what is outside of the layers, and the
    layers of an encoder where the others are a decoder's."""

    forward: _PartTime
    back: _PartTime
    frozen: _PartTime
    head: _PartTime
    reading: _Parts | None = None

    @classmethod
    def make_parts(cls, setup: Setup, rates: Rates, work: Workload, attention: float) -> _Parts:
        """Of a pass; `attention` is its speed against that of products."""
        forward, back, frozen = (
            _time_layer(setup, rates, work, way, attention) for way in ("forward", "back", "frozen")
        )
        reading = None
        if work.sources and setup.facts.source is not None:
            side = Workload(work.passes, work.sources, work.source_length, 0.0)
            first, last, below = (
                _time_layer(setup.stacks[0], rates, side, way, attention)
                for way in ("forward", "back", "frozen")
            )
            reading = cls(first, last, below, _PartTime())
        return cls(forward, back, frozen, _time_head(setup, rates, work), reading)


def _time_layer(setup: Setup, rates: Rates, work: Workload, way: str, attention: float) -> _PartTime:
    """Time one layer in one direction: forward, backward, or forward without anything trained."""
    facts, back = setup.facts, way == "back"
    cost = compute_layer_cost(setup, work.tokens, work.length, way != "frozen")
    launches, moved = (cost.back, cost.bytes_back) if back else (cost.forward, cost.bytes_forward)
    products = 0.0
    read = facts.family.cross[1:3]  # of the source, keys and values are made
    for linear in facts.layer_linears:
        rows = work.sources if linear.name in read else work.tokens
        each = _time_product(linear, rows * compute_expert_share(facts, linear), setup, rates)
        products += each * (2 if back and setup.trains_weights else 1)
        if way != "frozen" and setup.rank and setup.stack.adapts_linear(linear, setup.targets):
            passed = rows * 2 * (linear.inputs + linear.outputs) * linear.copies
            moved += passed * (2 if back else 1)
    pairs = 2 * work.tokens * work.length * facts.query_dim  # two products, half masked
    products += (
        pairs * (2 if facts.encoder else 1) * (ATTENTION_BACK if back else 1) / (rates.products * attention)
    )
    if read:
        crossed = 4 * work.tokens * work.source_length * facts.query_dim
        products += crossed * (ATTENTION_BACK if back else 1) / (rates.products * attention)
    return _PartTime(launches, products, moved / rates.memory)


def _time_product(linear: Linear, rows: float, setup: Setup, rates: Rates) -> float:
    """Return the seconds of one product with a matrix, over all of its copies."""
    flops = 2.0 * rows * linear.weights
    width = setup.compute
    # Of few rows, reading the matrix takes longer than multiplying by it
    touched = width * (linear.weights + rows * linear.copies * (linear.inputs + linear.outputs))
    return max(flops / rates.products, touched / rates.memory)


def _time_head(setup: Setup, rates: Rates, work: Workload) -> _PartTime:
    """Time the embeddings, the head over trained tokens, and the loss."""
    facts = setup.facts
    if setup.head:
        return _time_deciding(setup, rates, work)
    rows = work.tokens * (1.0 if setup.logits == "full" else work.supervised)
    head = Linear("head", facts.hidden, facts.vocab)
    # Forward and the gradient of the input; the gradient of the weights only where they are trained
    ways = 3 if setup.trains_table else 2
    pieces = math.ceil(rows / setup.chunk) if setup.chunk else 1
    launches = OUTSIDE + PIECE.multiply_by(pieces)
    moved = rows * facts.vocab * (LOGITS.bytes_forward + LOGITS.bytes_back)
    products = _time_product(head, rows, setup, rates) * ways
    return _PartTime(launches.forward + launches.back, products, moved / rates.memory)


def _time_deciding(setup: Setup, rates: Rates, work: Workload) -> _PartTime:
    """Time the embeddings, a head that decides and its loss: small products, and launches."""
    products = moved = 0.0
    launches = OUTSIDE + PIECE
    for part in setup.head:
        rows = max(1.0, work.tokens / work.length) if part.first else work.tokens
        products += 3 * _time_product(part.matrix, rows, setup, rates)
        moved += rows * (part.matrix.inputs + part.matrix.outputs) * 12
        launches = launches + PART
    return _PartTime(launches.forward + launches.back, products, moved / rates.memory)


def _count_trained(setup: Setup) -> tuple[float, float]:
    """Count the trained elements, as if they were all in float32, and the trained tensors."""
    tensors = list(list_trained_tensors(setup))
    # In float32 elements, since the costs of optimizers are given for these
    elements = sum(tensor.count * tensor.copies * tensor.width / 4 for tensor in tensors)
    return elements, sum(tensor.copies for tensor in tensors)


def _rate_precision(config: ResolvedConfig, setup: Setup, card: Card) -> float:
    """Return the speed of this run's products relative to those in 16 bits."""
    if setup.compute == 2:
        return 1.0
    if config.training.tf32 and card.capability >= (8, 0):
        return TF32
    if card.capability in DATA_CENTRE:
        return FULL_PRECISION
    return OLD if card.capability < (8, 0) else CONSUMER
