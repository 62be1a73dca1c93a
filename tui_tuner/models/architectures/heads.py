"""Shapes of heads for classes and spans, by task and architecture.

Read from the modelling code of transformers 5.23 (`modeling_layers.py`, `models/*/modeling_*.py`). A head
keeps its names there, because adapters and copies find it by them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.facts import ModelFacts

TEXT, TOKEN, SPAN = "text", "token", "span"  # `config.kinds.tasks.TaskKind.decides`


@dataclass(frozen=True)
class HeadPart:
    """A module outside of the layers. `matrix` has its dotted name; `norm`: it is a norm of so many numbers.

    `inside` means that it is part of the backbone, pretrained if the files have it, like BERT's pooler; all
    others are the head, which every method trains whole. `first` means that it reads one position of each
    text, while other modules read every position.
    """

    matrix: Linear
    norm: int = 0
    inside: bool = False
    first: bool = False

    @property
    def parameters(self) -> int:
        return self.norm or self.matrix.parameters


def list_head_parts(facts: ModelFacts, decides: str, outputs: int) -> tuple[HeadPart, ...]:
    """Return the modules between the layers and the outputs of a head, in the order of computation.

    Args:
        decides: `TEXT`, `TOKEN` or `SPAN`; any other value has no such head.
        outputs: Number of classes or values; always two for a span.
    """
    family, hidden = facts.family, facts.hidden
    kinds = {TEXT: family.text_head, TOKEN: family.token_head, SPAN: family.span_head}
    if decides not in kinds:
        return ()
    kind, first = kinds[decides], decides == TEXT
    outputs = 2 if decides == SPAN else outputs
    if kind == "prediction":
        return _prediction_parts(facts, outputs)
    parts = []
    if kind == "context":
        parts.append(HeadPart(Linear("pooler.dense", hidden, hidden, True), first=first))
    elif first and family.pooled:
        name = "pooler" if family.shared else "pooler.dense"
        parts.append(HeadPart(Linear(name, hidden, hidden, True), inside=True, first=True))
    if kind == "dense":
        parts.append(HeadPart(Linear("classifier.dense", hidden, hidden, True), first=first))
    if kind == "before":
        parts.append(HeadPart(Linear("pre_classifier", hidden, hidden, True), first=first))
    name = {"dense": "classifier.out_proj", "score": "score", "qa_outputs": "qa_outputs"}.get(
        kind, "classifier"
    )
    # A decoder's head for a whole text has no bias, and reads every position before one is chosen.
    bias = not (kind == "score" and first)
    parts.append(HeadPart(Linear(name, hidden, outputs, bias), first=first and facts.encoder))
    return tuple(parts)


def _prediction_parts(facts: ModelFacts, outputs: int) -> tuple[HeadPart, ...]:
    """Return the parts of ModernBERT's head: its pretrained layer and a classifier.

    For a whole text, the positions are pooled before them.
    """
    hidden = facts.hidden
    norm = 2 * hidden if facts.raw.get("norm_bias") else hidden
    return (
        HeadPart(Linear("head.dense", hidden, hidden, bool(facts.raw.get("classifier_bias")))),
        HeadPart(Linear("head.norm", 0, 0), norm=norm),
        HeadPart(Linear("classifier", hidden, outputs, True)),
    )
