"""Entries of the method registry: texts, fields and traits, without importing a training library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui_tuner.config.kinds.kind import Kind


class Trait(StrEnum):
    """Properties of a method that forms, planning and runs depend on."""

    ADAPTER = "adapter"  # the model's weights stay frozen; what is trained is saved separately
    RANKED = "ranked"  # low-rank matrices: reads rank, alpha and dropout
    VIRTUAL_TOKENS = "virtual_tokens"  # trained tokens before each sequence
    PREFIX = "prefix"  # the virtual tokens are keys and values of each layer, not embeddings
    WHOLE_MODEL = "whole_model"  # every weight of the model is trained
    QUANTISABLE = "quantisable"  # works with base weights in 4 or 8 bits
    MERGEABLE = "mergeable"  # what is trained can be folded into the model's weights
    CHECKPOINTABLE = "checkpointable"  # activations may be recomputed in the backward pass
    FEW_WEIGHTS = "few_weights"  # trains very little, whatever its fields are: vectors, or a prompt


@dataclass(frozen=True)
class MethodKind(Kind):
    """A method, with everything that forms, validation and planning need to know about it.

    Args:
        traits: Its properties.
        fields: Fields of the section `method` that it reads, besides `kind`.
        needs: Those of them that must be set because no default would be right.
        explanation: A paragraph for people who have never trained a model.
        paper: The paper that introduced or measured it.
        usual: Usual values of its fields, as a sentence.
        module: Module in `methods` if it is not named like the method: methods of one family share one.
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
