"""Sampling settings. Imports no torch, as screens show and check them, too."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.errors import UsageError
from tui_tuner.locales import _

MOST_NEW_TOKENS = 1 << 17


@dataclass(frozen=True)
class Sampling:
    """Settings for choosing the next token.

    Args:
        temperature: 0 always takes the most likely token.
        top_p: Choose among the most likely tokens with this total probability; 1 is all.
        top_k: Choose among this many of the most likely tokens; 0 is all.
        repetition_penalty: Above 1, tokens that occurred before become less likely (arXiv 1909.05858).
        seed: Seed of the random numbers; None gives different answers each time.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 512
    seed: int | None = None

    def check_ranges(self) -> Sampling:
        """Raise `UsageError` if a value is out of range; return the settings otherwise."""
        limits = {
            "temperature": (0.0, 100.0),
            "top_p": (1e-6, 1.0),
            "top_k": (0, 1 << 20),
            "repetition_penalty": (0.01, 100.0),
            "max_new_tokens": (1, MOST_NEW_TOKENS),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low <= value <= high:
                raise UsageError(
                    _(
                        "expected a number from {low} to {high}, got {value}.",
                        low=low,
                        high=high,
                        value=value,
                    ),
                    where=f"--{name.replace('_', '-')}",
                )
        return self
