"""A method as plain numbers, from which planning computes memory and operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.name_patterns import find_number
from tui_tuner.methods.numbers.target_names import ALL, name_targets
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts

NO_LAYERS = -1  # of `Terms.layers`: nothing is trained in any of them


class Form(StrEnum):
    """How an adapter next to a linear layer is computed, which decides the tensors that autograd keeps.

    Forms that no method here uses occur in published measurements that planning is compared with.
    """

    GENERAL = "general"  # unknown, apart from the number of trained elements (`Terms.counts`)
    LOW_RANK = "low_rank"  # LoRA: the product of two matrices
    MAGNITUDES = "magnitudes"  # DoRA: the same, each output scaled against the norm of its weights
    SINGULAR = "singular"  # AdaLoRA: the product of two matrices, with a factor for each rank between them
    FACTORS = "factors"  # IA3: a factor for each output, or for each input
    SHARED = "shared"  # VeRA: vectors that scale random matrices, which all layers share
    HADAMARD = "hadamard"  # LoHa: a whole matrix, from two low-rank products multiplied
    KRONECKER = "kronecker"  # LoKr: a whole matrix, from a small one and a low-rank one
    BUTTERFLY = "butterfly"  # BOFT: a rotation of the inputs, from factors
    ROTATION = "rotation"  # OFT: a block-diagonal rotation of the inputs
    SPECTRUM = "spectrum"  # FourierFT and WaveFT: a whole matrix, from a few coefficients
    RANDOM_BASES = "random_bases"  # RandLoRA: products of random matrices, mixed to a whole one
    NORMS = "norms"  # norm tuning: a trained copy in place of each norm, and nothing beside a linear layer
    FOLDED = "folded"  # MiSS: the input folded to a few values, which one matrix widens
    SUBLAYERS = "sublayers"  # bottleneck adapters: behind a block rather than beside a matrix
    LLAMA_ADAPTER = "llama_adapter"  # lit-gpt's `adapter`: a trained prompt in each layer (arXiv 2303.16199)
    LLAMA_ADAPTER_V2 = "llama_adapter_v2"  # and with a scale and a bias on each matrix (arXiv 2304.15010)


@dataclass(frozen=True)
class MethodCase:
    """A method's settings with the model they are for.

    Args:
        adapts: Returns whether a matrix gets an adapter, which depends on the settings and on the version of
            the library.
    """

    section: MethodSection
    facts: ModelFacts
    adapts: Callable[[Linear], bool]

    @property
    def target_names(self) -> frozenset[str]:
        """Return the names of the matrices that get an adapter, or `all-linear`."""
        return name_targets(self.section, self.facts)

    @property
    def top_layers(self) -> int:
        """Return how many of the top layers the settings select; 0 is all."""
        return min(self.section.layers or 0, self.facts.layers) if self.section.reads_field("layers") else 0


@dataclass(frozen=True)
class PassedWeights:
    """Weights that a token is multiplied by next to a frozen matrix, for counting operations.

    Args:
        frozen: Elements of matrices that are not trained.
        trained: Elements of matrices that are trained.
        instead: The update is a whole matrix that is added to the frozen one before the product, so there is
            one product instead of two.
    """

    frozen: float = 0.0
    trained: float = 0.0
    instead: bool = False


@dataclass(frozen=True)
class Sublayers:
    """Bottleneck adapters in each layer, or attention over several of them.

    Args:
        style: pfeiffer, houlsby or parallel: where they sit.
        sizes: Inner widths, of one adapter, or of each that is fused.
        layer_norm: none, before or after: a norm of their own.
        scaled: What they compute is multiplied by a number.
        keeps_input: Their non-linearity keeps its input for the backward pass rather than its result.
        fused: They are frozen, and attention over them is trained.
    """

    style: str
    sizes: tuple[int, ...]
    layer_norm: str = "none"
    scaled: bool = False
    keeps_input: bool = False
    fused: bool = False


@dataclass(frozen=True)
class Terms:
    """The properties that memory depends on, named as the fields of `planning.memory.setup.Setup`.

    Args:
        form: How adapters next to linear layers are computed.
        rank: Their inner size; 1 for forms without one, 0 if no linear layer has an adapter.
        dropout: The dropout before them.
        targets: Names of the matrices that have an adapter.
        layers: The number of top layers with trained weights; 0 is all, `NO_LAYERS` none.
        trains_head: The head that writes is trained, and the embeddings are not.
        whole_model: Every weight of the model is trained.
        whole_layers: Every weight of `layers` is trained, and no other.
        train_embeddings: Copies of the embeddings and the head are trained, next to the frozen ones.
        trains_norms: The weights of the norms are trained.
        feedforward: Targets whose inputs are scaled rather than their outputs.
        virtual_tokens: Trained tokens before each sequence.
        prefix: Virtual tokens are keys and values of each layer.
        encoder: Inner width of the network that produces them; 0 is none.
        counts: For `Form.GENERAL`, trained elements next to a matrix: (name, inputs, outputs, elements).
        elsewhere: Elements of each trained tensor that is neither next to a linear layer nor a virtual token.
        own: Trained elements of the model's own weights, if these are not whole layers.
        sublayers: For `Form.SUBLAYERS`, the adapters of each layer.
        ranks: The rank next to matrices that have another one: (name, rank).
        measured: Numbers that the method keeps for each number of its adapters, without the optimizer's.
        size: The block of BOFT, FourierFT's frequencies, or the factor that LoKr splits sides by; 0 is the
            library's default.
        decomposed: LoKr's small matrix is a product, too.
    """

    form: Form = Form.LOW_RANK
    rank: int = 0
    dropout: float = 0.0
    targets: frozenset[str] = frozenset({ALL})
    layers: int = 0
    trains_head: bool = False
    whole_model: bool = False
    whole_layers: bool = False
    train_embeddings: bool = False
    trains_norms: bool = False
    feedforward: frozenset[str] = frozenset()
    virtual_tokens: int = 0
    prefix: bool = False
    encoder: int = 0
    counts: tuple[tuple[str, int, int, int], ...] = ()
    elsewhere: tuple[float, ...] = ()
    own: float = 0.0
    sublayers: Sublayers | None = None
    ranks: tuple[tuple[str, int], ...] = ()
    measured: int = 0
    size: int = 0
    decomposed: bool = False


def count_new_rows(case: MethodCase, decides: bool = False) -> int:
    """Count the numbers of embeddings that are trained for new tokens alone, beside a low-rank adapter.

    Args:
        decides: The model has a head in the place of one that writes.
    """
    section, facts = case.section, case.facts
    if not facts.new_rows or not section.reads_field("train_embeddings") or section.train_embeddings:
        return 0
    head = 0 if decides or facts.tied else facts.hidden
    return facts.new_rows * (facts.embedding_width + head)


def make_basic_terms(case: MethodCase) -> Terms:
    """Make the terms that follow from settings and traits alone."""
    section = case.section
    new = count_new_rows(case)
    return Terms(
        rank=section.rank if section.reads_field("rank") else 0,
        dropout=section.dropout if section.reads_field("dropout") else 0.0,
        targets=case.target_names,
        layers=case.top_layers,
        whole_model=section.has_trait(Trait.WHOLE_MODEL),
        train_embeddings=section.reads_field("train_embeddings") and section.train_embeddings,
        virtual_tokens=section.prompt_length,
        prefix=section.has_trait(Trait.PREFIX),
        ranks=_list_ranks(case) if section.reads_field("rank_pattern") else (),
        elsewhere=(float(new),) if new else (),
    )


def _list_ranks(case: MethodCase) -> tuple[tuple[str, int], ...]:
    """Return the matrices whose rank is another one, with that."""
    usual, names = case.section.rank, {one.name for one in case.facts.layer_linears}
    ranks = {name: find_rank(case.section, name) for name in sorted(names)}
    return tuple((name, rank) for name, rank in ranks.items() if rank != usual)


def find_rank(section: MethodSection, name: str) -> int:
    """Return the rank beside a matrix of this name."""
    return int(find_number(section.rank_pattern, name, section.rank))
