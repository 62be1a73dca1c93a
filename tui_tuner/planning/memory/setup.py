"""Everything that memory depends on, in plain numbers, from a config and a software stack."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui_tuner.methods.numbers.terms import NO_LAYERS, Form, Sublayers
from tui_tuner.models.architectures.heads import HeadPart
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.stack import Stack


@dataclass(frozen=True)
class Setup:
    """One training step. Widths are bytes of an element.

    Attributes:
        batch: Sequences in a forward pass. length: Tokens of each, padding and virtual ones included.
        source_length: Tokens that an encoder-decoder's encoder reads of each; `length` are the decoder's.
        padded: Rows differ in length, so there is a padding mask.
        supervised: Share of the tokens that are trained.
        kind: The name of the method, for messages.
        whole_model, whole_layers, form, rank, dropout, targets, layers, train_embeddings, trains_norms,
        feedforward, virtual_tokens, prefix, encoder, counts, elsewhere, own, sublayers, ranks,
        measured, size, decomposed: As in the method's `Terms`.
        quick: This program's core on a GPU: LoRA layers that read the same input are one step of
            autograd, and so are norms, rotations and gated products.
        quantization: none, nf4, int8.
        weight: Width of matrices that are not quantised. norm: of norms. embedding: of embeddings and head.
        compute: Width in which products are computed under autocast (or of dequantised weights).
        attention: flash (also PyTorch's fused kernels without a mask), apart (such a kernel for each
            sequence of a flat row), efficient (one for a flat row that repeats the keys), masked or eager.
        expand_keys: Keys and values are repeated for all heads first.
        logits: full (all positions), kept (all positions, while the loop holds on to the outputs),
            supervised (trained positions only), chunked (as `PROGRAMS` do) or tiled (a fused head).
        chunk: With supervised, positions whose logits exist at once; 0 is all.
        optimizer: A name of `training.optimizer`. optimizer_rank: Its field. foreach: It makes temporaries
            for all weights at once.
        keep_cache: The loop holds on to the keys and values of `use_cache` (a copy each).
        in_backward: The optimizer steps in the backward pass, so gradients go as soon as they are complete.
        compiled: Layers and loss go through `torch.compile`.
        checkpointing: Layers keep their inputs only. every_second: The last layer keeps what it computed all
            the same, the one before it does not, and so on.
        offload: Checkpoints wait in host memory, but for those on their way.
        accumulate: Gradients of an earlier micro-batch are there already.
        states: So are the optimizer's states, which its first step makes.
        below: Elements of each tensor of frozen adapters under the trained one.
        row: The longest sequence of a flat row where each is attended to on its own; 0 is all of it.
        decides: For what a head does, in place of one that writes (`TaskKind.decides`). head: Its modules.
        hides: Hidden tokens are guessed, by the head that an encoder was pretrained with.
        new_pooler: The backbone's pooler among them is new, and trained in full along with an adapter.
    """

    facts: ModelFacts
    stack: Stack
    batch: int
    length: int
    source_length: int = 0
    padded: bool = False
    supervised: float = 1.0
    kind: str = "lora"
    whole_model: bool = False
    whole_layers: bool = False
    targets: frozenset[str] = frozenset()
    rank: int = 16
    dropout: float = 0.0
    form: Form = Form.LOW_RANK
    feedforward: frozenset[str] = frozenset()
    quick: bool = False
    layers: int = 0
    trains_head: bool = False
    train_embeddings: bool = False
    trains_norms: bool = False
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
    optimizer_rank: int = 0
    foreach: bool = False
    in_backward: bool = False
    compiled: bool = False
    offload: bool = False
    accumulate: bool = False
    states: bool = True
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
    below: tuple[float, ...] = ()
    keep_cache: bool = False
    row: int = 0
    decides: str = ""
    head: tuple[HeadPart, ...] = ()
    hides: bool = False
    new_pooler: bool = False
    workspace: float = 2 * 8_519_680.0

    def find_rank(self, name: str) -> int:
        """Return the rank of the adapter beside a matrix."""
        return dict(self.ranks).get(name, self.rank)

    @property
    def trained_layers(self) -> int:
        """Return in how many layers, from the top, something is trained."""
        return max(0, self.layers or self.facts.layers)

    @property
    def stacks(self) -> tuple[Setup, ...]:
        """Return the setups of both stacks of an encoder-decoder, the encoder's first; of others, this one.

        Where some top layers were chosen, these are the decoder's.
        """
        source = self.facts.source
        if source is None:
            return (self,)
        chosen = NO_LAYERS if self.layers else 0
        return replace(self, facts=source, length=self.source_length, layers=chosen), self

    @property
    def total_tokens(self) -> int:
        return self.batch * self.length

    @property
    def is_flat(self) -> bool:
        """Return whether all sequences are in one row without padding, as in this program's own loop."""
        return not (self.padded or self.stack.foreign)

    @property
    def score_pairs(self) -> float:
        """Return the pairs of positions of which one attends to the other, including masked ones."""
        # Sequences of a flat row do not attend to each other; a padded batch computes masked pairs as well
        if self.is_flat:
            return float(self.total_tokens) * min(self.total_tokens, self.row or self.total_tokens)
        keys = self.length + (self.virtual_tokens if self.prefix else 0)
        return float(self.batch * self.length * keys)

    @property
    def embedding_grad(self) -> bool:
        """Return whether gradients flow into the embeddings' output: trained, or reentrant checkpointing."""
        # Reentrant checkpointing (the Trainer's default) gives no gradients unless an input has one, so PEFT
        # and the Trainer make the embeddings' output require it
        reentrant = (
            self.checkpointing and not self.trains_weights and self.stack.program_name == "transformers"
        )
        reentrant = reentrant and self.stack.foreign
        return self.trains_table or reentrant

    @property
    def head_whole(self) -> tuple[HeadPart, ...]:
        """Return the parts of the head that every method trains in full."""
        # A pretrained pooler is part of the backbone, and stays frozen under an adapter
        return tuple(part for part in self.head if self.new_pooler or not part.inside)

    @property
    def trains_weights(self) -> bool:
        """Return whether the weights of the trained layers are trained themselves, without adapters."""
        return self.whole_model or self.whole_layers

    @property
    def trains_table(self) -> bool:
        """Return whether the embeddings and the language-model head are trained."""
        return self.whole_model or self.train_embeddings
