"""What a method comes down to for memory and operations: plain numbers, which planning works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts

ALL = "all-linear"
NO_LAYERS = -1  # of `Terms.layers`: nothing is trained in any of them


class Form(StrEnum):
    """How an adapter beside a linear layer is computed, which decides what autograd keeps of it.

    Forms that no method here has are those of published measurements that planning is compared with.
    """

    GENERAL = "general"  # nothing is known but the number of trained elements (`Terms.counts`)
    LOW_RANK = "low_rank"  # LoRA: the product of two matrices
    MAGNITUDES = "magnitudes"  # DoRA: the same, each output scaled against the norm of its weights
    FACTORS = "factors"  # IA3: a factor for each output, or for each input
    SHARED = "shared"  # VeRA: vectors that scale random matrices, which all layers share
    HADAMARD = "hadamard"  # LoHa: a whole matrix, from two low-rank products multiplied
    KRONECKER = "kronecker"  # LoKr: a whole matrix, from a small one and a low-rank one
    BUTTERFLY = "butterfly"  # BOFT: a rotation of the inputs, from factors
    ROTATION = "rotation"  # OFT: a block-diagonal rotation of the inputs
    SPECTRUM = "spectrum"  # FourierFT and WaveFT: a whole matrix, from a few coefficients
    FOLDED = "folded"  # MiSS: the input folded to a few values, which one matrix widens
    LLAMA_ADAPTER = "llama_adapter"  # lit-gpt's `adapter`: a trained prompt in each layer (arXiv 2303.16199)
    LLAMA_ADAPTER_V2 = "llama_adapter_v2"  # and with a scale and a bias on each matrix (arXiv 2304.15010)


@dataclass(frozen=True)
class MethodCase:
    """A method's settings with the model they are for.

    Args:
        adapts: Returns whether an adapter sits on a matrix: by the settings, and by the library version.
    """

    section: MethodSection
    facts: ModelFacts
    adapts: Callable[[Linear], bool]

    @property
    def target_names(self) -> frozenset[str]:
        """Names of the matrices that get an adapter, or `all-linear`."""
        return name_targets(self.section)

    @property
    def top_layers(self) -> int:
        """Layers, from the top, that the settings name; 0 is all."""
        return min(self.section.layers or 0, self.facts.layers) if self.section.reads_field("layers") else 0


def name_targets(section: MethodSection) -> frozenset[str]:
    """`method.targets` as a set of names; `all-linear` for a method that does not read it."""
    # Such a method may put something beside any layer, so none is excluded
    if not section.reads_field("targets"):
        return frozenset({ALL})
    return frozenset([section.targets] if isinstance(section.targets, str) else section.targets)


@dataclass(frozen=True)
class PassedWeights:
    """Weights that a token meets beside a frozen matrix, for counting operations.

    Args:
        frozen: Of matrices that are not trained.
        trained: Of matrices that are.
        instead: The update is a whole matrix that is added to the frozen one before the product, so there is
            one product and not two.
    """

    frozen: float = 0.0
    trained: float = 0.0
    instead: bool = False


@dataclass(frozen=True)
class Terms:
    """What memory depends on. Fields have the names of those of `planning.memory.setup.Setup`.

    Args:
        form: How adapters beside linear layers are computed.
        rank: Their inner size; 1 for forms without one, 0 where no linear layer has an adapter.
        dropout: Before them.
        targets: Names of the matrices that have one.
        layers: The top layers in which something is trained; 0 is all, `NO_LAYERS` none.
        trains_head: So is the head that writes, and not the embeddings.
        whole_model: Every weight of the model is trained.
        whole_layers: Every weight of `layers` is trained, and none of the others.
        train_embeddings: So are the embeddings and the head, as copies beside the frozen ones.
        trains_norms: So are the weights of the norms.
        feedforward: Targets whose inputs are scaled rather than their outputs.
        virtual_tokens: Trained tokens before each sequence. prefix: They are keys and values of each layer.
        encoder: Inner width of the network that makes them; 0 is none.
        counts: Of `Form.GENERAL`, trained elements beside one matrix: (name, inputs, outputs, elements).
        elsewhere: Elements of each trained tensor that is neither beside a linear layer nor a virtual token.
        own: Elements of the model's own weights that are trained, where these are not whole layers.
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


def make_basic_terms(case: MethodCase) -> Terms:
    """The terms that follow from settings and traits alone."""
    section = case.section
    return Terms(
        rank=section.rank if section.reads_field("rank") else 0,
        dropout=section.dropout if section.reads_field("dropout") else 0.0,
        targets=case.target_names,
        layers=case.top_layers,
        whole_model=section.has_trait(Trait.WHOLE_MODEL),
        train_embeddings=section.reads_field("train_embeddings") and section.train_embeddings,
        virtual_tokens=section.prompt_length,
        prefix=section.has_trait(Trait.PREFIX),
    )
