"""A record of the kernel for a part of a model, and why no faster one is used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChosenKernel:
    """A kernel that was chosen for a part of a model, or of a run.

    Args:
        part: What is computed: `attention`, `lora`, `norm`, `rotary`, `mlp`, `head`, `compile`.
        kernel: Its name for people, such as `torch varlen_attn` or `Liger`; empty if there is none.
        why: Why this one is used, and not a faster one. Translated; may be empty.
        layers: Modules of the model that use it; 0 if that means nothing for the part.
    """

    part: str
    kernel: str
    why: str = ""
    layers: int = 0
