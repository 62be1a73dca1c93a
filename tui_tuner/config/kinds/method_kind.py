"""Entries of the registry of methods: texts, fields and traits, with no training library imported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui_tuner.config.kinds.kind import Kind


class Trait(StrEnum):
    """A property of a method that forms, plans or the run depend on."""

    ADAPTER = "adapter"  # the model's own weights stay frozen; the trained weights are saved separately
    RANKED = "ranked"  # low-rank matrices: reads rank, alpha and dropout
    VIRTUAL_TOKENS = "virtual_tokens"  # trained tokens before each sequence
    PREFIX = "prefix"  # the virtual tokens are keys and values of each layer, not embeddings
    WHOLE_MODEL = "whole_model"  # every weight of the model is trained
    QUANTISABLE = "quantisable"  # can be trained on top of weights in 4 or 8 bits
    MERGEABLE = "mergeable"  # the trained weights can be merged into the model's
    CHECKPOINTABLE = "checkpointable"  # activations may be recomputed in the backward pass
    FUSED_NAMES = "fused_names"  # peft takes names of a mixture's feed-forward layers for its fused experts
    EXPERTS = "experts"  # peft puts it on the fused weights of a mixture's experts, too
    FEW_WEIGHTS = "few_weights"  # trains very few weights, whatever its fields: vectors, or a prompt


@dataclass(frozen=True)
class MethodKind(Kind):
    """A method, with the facts that forms, validation and planning need.

    Args:
        traits: Its properties.
        fields: Fields of the section `method` that it reads, in addition to `kind`.
        needs: Those fields whose default does not work for this method, so that the user must set them.
        explanation: A paragraph for a beginner who has not trained a model before.
        paper: Its source, or a study that measured it.
        usual: Usual values of its fields, as a sentence.
        module: Name of its module in `methods` if it differs from its own; methods of a family share one.
    """

    traits: frozenset[Trait] = frozenset()
    fields: tuple[str, ...] = ()
    module: str = ""
    needs: tuple[str, ...] = ()
    explanation: str = ""
    paper: str = ""
    usual: str = ""

    def has_trait(self, trait: Trait) -> bool:
        return trait in self.traits
