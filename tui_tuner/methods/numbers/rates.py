"""Customary learning rates of methods, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.locales import N_


@dataclass(frozen=True)
class Customary:
    """A usual peak learning rate, its usual range, and the source of both."""

    rate: float
    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Rule:
    """An applied rule: its formula with the inputs filled in, and the rate; None if an input is missing."""

    name: str
    formula: str
    source: str
    inputs: dict[str, float]
    rate: float | None
    missing: str = ""


FULL_RATE = Customary(2e-5, 5e-6, 5e-5, N_("Stanford Alpaca: 2e-5; BERT (arXiv 1810.04805): 2e-5 to 5e-5"))
FULL_PREFERENCE = Customary(5e-7, 1e-7, 5e-6, N_("DPO (arXiv 2305.18290): 5e-7 to 1e-6"))
PREFERENCE = Customary(5e-6, 1e-6, 5e-5, N_("ten times full fine-tuning's rate (LoRA Without Regret, 2025)"))


@dataclass(frozen=True)
class Rates:
    """The customary rates of one method.

    Args:
        usual: For a pretrained model that writes.
        new_head: For an encoder with a new head; None if the usual one applies there too.
        preference: For tasks that learn from comparisons.
        batch: The batch size that `usual` was measured at, in sequences, and its source. None if it is
            unknown how the rate depends on the batch size.
        times_full: The best rate as a multiple of full fine-tuning's; None if unknown.
    """

    usual: Customary
    new_head: Customary | None = None
    preference: Customary = PREFERENCE
    batch: tuple[int, str] | None = None
    times_full: int | None = None


# A starting point for methods without a published rate; a range test finds a better one
UNPUBLISHED = Rates(
    Customary(
        1e-4,
        1e-5,
        1e-3,
        N_("no rate was published for this method; 1e-4 lies between full fine-tuning's and LoRA's"),
    )
)
