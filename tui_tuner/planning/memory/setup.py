"""All that memory depends on, in plain numbers: what a config and a software stack come down to."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.models.architectures.heads import Part
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.stack import Stack


@dataclass(frozen=True)
class Setup:
    """One training step. Widths are bytes of an element.

    Attributes:
        batch: Sequences in a forward pass. length: Tokens of each, padding and virtual ones included.
        padded: Rows differ in length, so there is a padding mask.
        supervised: Share of the tokens that are trained.
        method: lora (any adapter), full, freeze, prompt_tuning, p_tuning or prefix_tuning.
        virtual_tokens: Of a prompt method; prefix tuning's are keys and values, and not part of the length.
        encoder: Inner width of the network that makes them; 0 is none.
        targets: Names of the matrices with an adapter. rank: Its rank; 0 is none.
        variant: "", dora, ia3 … (`adapters_more.KINDS`), or ln, which trains the norms.
        layers: How many of the top layers are trained (0 is all).
        quick: This program's core on a GPU: LoRA layers that read the same input are one step of
            autograd, and so are norms, rotations and gated products.
        feedforward: Targets of IA3 whose inputs are scaled rather than their outputs.
        quantization: none, nf4, int8.
        weight: Width of matrices that are not quantised. norm: of norms. embedding: of embeddings and head.
        compute: Width in which products are computed under autocast (or of dequantised weights).
        attention: flash (also PyTorch's fused kernels without a mask), apart (such a kernel for each
            sequence of a flat row), efficient (one for a flat row that repeats the keys), masked or eager.
        expand_keys: Keys and values are repeated for all heads first.
        logits: full (all positions), kept (all positions, while the loop holds on to the outputs),
            supervised (trained positions only), chunked (as `PROGRAMS` do) or tiled (a fused head).
        chunk: With supervised, positions whose logits exist at once; 0 is all.
        optimizer: A name of `training.optimizer`. foreach: It makes temporaries for all weights at once.
        keep_cache: The loop holds on to the keys and values of `use_cache` (a copy each).
        in_backward: The optimizer steps in the backward pass, so gradients go as soon as they are complete.
        compiled: Layers and loss go through `torch.compile`.
        checkpointing: Layers keep their inputs only. every_second: The last layer keeps what it computed all
            the same, the one before it does not, and so on.
        offload: Checkpoints wait in host memory, but for those on their way.
        accumulate: Gradients of an earlier micro-batch are there already.
        states: So are the optimizer's states, which its first step makes.
        row: The longest sequence of a flat row where each is attended to on its own; 0 is all of it.
        decides: For what a head does, in place of one that writes (`TaskKind.decides`). head: Its modules.
        new_pooler: The backbone's pooler among them is new, and trained whole beside an adapter.
    """

    facts: ModelFacts
    stack: Stack
    batch: int
    length: int
    padded: bool = False
    supervised: float = 1.0
    method: str = "lora"
    targets: frozenset[str] = frozenset()
    rank: int = 16
    dropout: float = 0.0
    variant: str = ""
    feedforward: frozenset[str] = frozenset()
    quick: bool = False
    layers: int = 0
    train_embeddings: bool = False
    quantization: str = "none"
    double_quant: bool = True
    weight: int = 2
    norm: int = 2
    embedding: int = 2
    adapter: int = 4
    autocast: bool = True
    compute: int = 2
    checkpointing: bool = False
    every_second: bool = False
    attention: str = "flash"
    expand_keys: bool = False
    logits: str = "full"
    chunk: int = 0
    optimizer: str = "adamw"
    foreach: bool = False
    in_backward: bool = False
    compiled: bool = False
    offload: bool = False
    accumulate: bool = False
    states: bool = True
    virtual_tokens: int = 0
    encoder: int = 0
    keep_cache: bool = False
    row: int = 0
    decides: str = ""
    head: tuple[Part, ...] = ()
    new_pooler: bool = False
    workspace: float = 2 * 8_519_680.0

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    @property
    def flat(self) -> bool:
        """All sequences lie in one row without padding, as this program's own training loop lays them."""
        return not (self.padded or self.stack.foreign)

    @property
    def scores(self) -> float:
        """Pairs of positions of which one attends to the other, masked ones included."""
        if self.flat:
            return float(self.tokens) * min(self.tokens, self.row or self.tokens)
        keys = self.length + (self.virtual_tokens if self.method == "prefix_tuning" else 0)
        return float(self.batch * self.length * keys)

    @property
    def embedding_grad(self) -> bool:
        """Gradients flow into the embeddings' output: they are trained, or reentrant checkpointing asks."""
        reentrant = self.checkpointing and not self.full and self.stack.program == "transformers"
        reentrant = reentrant and self.stack.foreign
        return self.method == "full" or self.train_embeddings or reentrant

    @property
    def head_whole(self) -> tuple[Part, ...]:
        """The parts of the head that every method trains, all of them."""
        return tuple(part for part in self.head if self.new_pooler or not part.inside)

    @property
    def full(self) -> bool:
        """Weights of the model itself are trained."""
        return self.method in ("full", "freeze")
