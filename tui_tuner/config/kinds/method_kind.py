"""An entry of the registry of methods: words, fields and traits, without a training library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui_tuner.config.kinds.kind import Kind


class Trait(StrEnum):
    """What a method is like, where forms, plans or the run have to know."""

    ADAPTER = "adapter"  # the model's own weights stay as they are; what is trained is saved beside them
    RANKED = "ranked"  # low-rank matrices: reads rank, alpha and dropout
    VIRTUAL_TOKENS = "virtual_tokens"  # trained tokens before each sequence
    PREFIX = "prefix"  # the virtual tokens are keys and values of each layer, not embeddings
    WHOLE_MODEL = "whole_model"  # every weight of the model is trained
    QUANTISABLE = "quantisable"  # works beside weights in 4 or 8 bits
    MERGEABLE = "mergeable"  # what is trained can be folded into the model's weights
    CHECKPOINTABLE = "checkpointable"  # activations may be computed again in the backward pass
    FEW_WEIGHTS = "few_weights"  # trains next to nothing, whatever its fields say: vectors, or a prompt


@dataclass(frozen=True)
class MethodKind(Kind):
    """A method, with what forms, validation and planning have to know of it.

    Args:
        traits: What it is like.
        fields: Of the section `method` that it reads, beside `kind`.
        needs: Those of them that have no default that would do.
        explanation: A paragraph for somebody who has not trained a model before.
        paper: Where it comes from, or what was measured of it.
        usual: Customary values of its fields, in a sentence.
        module: In `methods`, where that is not its own name: methods of one family share one.
    """

    traits: frozenset[Trait] = frozenset()
    fields: tuple[str, ...] = ()
    module: str = ""
    needs: tuple[str, ...] = ()
    explanation: str = ""
    paper: str = ""
    usual: str = ""

    def has_trait(self, trait: Trait) -> bool:
        """Return whether it has a trait."""
        return trait in self.traits
