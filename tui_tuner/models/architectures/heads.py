"""The shapes of heads that decide, in place of the one that writes, by task and architecture.

Read from the modelling code of transformers 5.23 (`modeling_layers.py`, `models/*/modeling_*.py`). A head has
the names that it has there, for adapters and copies find it by them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts

TEXT, TOKEN, SPAN = "text", "token", "span"  # `config.kinds.TaskKind.decides`


@dataclass(frozen=True)
class Part:
    """A module outside of the layers. `matrix` has its dotted name; `norm`: it is a norm of so many numbers.

    `inside` says that it stands in the backbone, pretrained where the files have it, like BERT's pooler; all
    others are the head, which every method trains whole. `first` says that it reads one position of each
    text, where other modules read every position.
    """

    matrix: Linear
    norm: int = 0
    inside: bool = False
    first: bool = False

    @property
    def parameters(self) -> int:
        return self.norm or self.matrix.parameters


def head_parts(facts: ModelFacts, decides: str, outputs: int) -> tuple[Part, ...]:
    """The modules between the layers and the outputs of a head, in the order in which they compute.

    Args:
        decides: For what the head decides: `TEXT`, `TOKEN` or `SPAN`; anything else has no such head.
        outputs: Classes, or numbers; of a span always two.
    """
    family, hidden = facts.family, facts.hidden
    kinds = {TEXT: family.text_head, TOKEN: family.token_head, SPAN: family.span_head}
    if decides not in kinds:
        return ()
    kind, first = kinds[decides], decides == TEXT
    outputs = 2 if decides == SPAN else outputs
    if kind == "prediction":
        return _prediction(facts, outputs)
    parts = []
    if kind == "context":
        parts.append(Part(Linear("pooler.dense", hidden, hidden, True), first=first))
    elif first and family.pooled:
        name = "pooler" if family.shared else "pooler.dense"
        parts.append(Part(Linear(name, hidden, hidden, True), inside=True, first=True))
    if kind == "dense":
        parts.append(Part(Linear("classifier.dense", hidden, hidden, True), first=first))
    if kind == "before":
        parts.append(Part(Linear("pre_classifier", hidden, hidden, True), first=first))
    name = {"dense": "classifier.out_proj", "score": "score", "qa_outputs": "qa_outputs"}.get(
        kind, "classifier"
    )
    # a decoder's head for a whole text has no bias, and reads every position before one is chosen
    bias = not (kind == "score" and first)
    parts.append(Part(Linear(name, hidden, outputs, bias), first=first and facts.encoder))
    return tuple(parts)


def _prediction(facts: ModelFacts, outputs: int) -> tuple[Part, ...]:
    """ModernBERT's: the layer that it was pretrained with, and a classifier behind it.

    For a text its positions are pooled first.
    """
    hidden = facts.hidden
    norm = 2 * hidden if facts.raw.get("norm_bias") else hidden
    return (
        Part(Linear("head.dense", hidden, hidden, bool(facts.raw.get("classifier_bias")))),
        Part(Linear("head.norm", 0, 0), norm=norm),
        Part(Linear("classifier", hidden, outputs, True)),
    )
