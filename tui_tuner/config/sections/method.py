"""Which weights are trained, and the sizes of what is added to them."""

from __future__ import annotations

from typing import Annotated

from tui_tuner.config.kinds import METHODS, PROMPTS
from tui_tuner.config.sections.base import Section, known, option
from tui_tuner.locales import N_


class MethodSection(Section):
    """Which weights are trained."""

    kind: Annotated[str, known(METHODS, N_("unknown method {value!r}; known are {names}"))] = option(
        "lora",
        N_("Which weights are trained."),
        N_(
            "LoRA trains small matrices beside the frozen model: little memory, small files, hard to break. "
            "Full fine-tuning trains everything."
        ),
        choices=METHODS,
    )
    rank: int = option(
        16,
        N_("Rank: the inner size of the matrices (LoRA, LoHa, VeRA)."),
        N_("Higher can learn more and costs memory. 8 to 64 is usual, for VeRA 256 and more."),
        ge=1,
        le=4096,
    )
    alpha: float = option(
        32.0,
        N_("Alpha: the update is scaled by alpha / rank (LoRA, LoHa)."),
        N_("Twice the rank is usual."),
        gt=0,
        le=1_000_000,
    )
    dropout: float = option(0.0, N_("Dropout before the matrices (LoRA, VeRA)."), ge=0, lt=1)
    targets: str | list[str] = option(
        "all-linear",
        N_("Layers that get an adapter: all-linear, or module names."),
        N_("All linear layers learn better than attention alone at the same size (QLoRA paper)."),
    )
    layers: int | None = option(
        None,
        N_("Only the last N layers are trained (freeze; of methods with targets, only they get adapters)."),
        unit=N_("layers"),
        ge=1,
        le=10_000,
    )
    train_embeddings: bool = option(False, N_("Also train embeddings and head (LoRA)."), advanced=True)
    virtual_tokens: int = option(
        20,
        N_("Virtual tokens before each sequence (prompt tuning, P-tuning, prefix tuning)."),
        N_(
            "What is learnt is a prompt of numbers instead of words. 10 to 100 is customary; each takes a "
            "place in the model's context."
        ),
        unit=N_("tokens"),
        ge=1,
        le=4096,
    )
    encoder_size: int | None = option(
        None,
        N_("Width of the small network that makes the virtual tokens (P-tuning, prefix tuning)."),
        N_(
            "Empty is the model's own width for P-tuning, and no network for prefix tuning: keys and values "
            "are trained directly. The network is not needed after training."
        ),
        ge=1,
        le=65_536,
        advanced=True,
    )
    initial_text: str | None = option(
        None,
        N_("Words that the virtual tokens begin as (prompt tuning, prefix tuning)."),
        N_(
            "Say what is to be done, such as: Answer briefly and politely. It is repeated to fill the "
            "virtual tokens. Empty takes frequent words of the vocabulary."
        ),
        min_length=1,
        advanced=True,
    )

    @property
    def prompt_length(self) -> int:
        """Virtual tokens before each sequence; 0 if the method has none."""
        return self.virtual_tokens if self.kind in PROMPTS else 0
