"""What computes a part of the model, and why nothing faster does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chosen:
    """A kernel that was chosen for a part of a model, or of a run.

    Args:
        part: What is computed: `attention`, `lora`, `norm`, `rotary`, `mlp`, `head`, `compile`.
        kernel: Its name as a person knows it, such as `torch varlen_attn` or `Liger`.
        why: A sentence: why this one, and why not the faster ones. Translated; empty where there is nothing
            to say.
        layers: Modules of the model that use it; 0 where that says nothing.
    """

    part: str
    kernel: str
    why: str = ""
    layers: int = 0
