"""Which weights are trained, and the sizes of what is added to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ValidationInfo, field_validator

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import DEFAULT_METHOD, METHODS
from tui_tuner.config.sections.field_options import Section, declare_option, known_word
from tui_tuner.config.sections.name_patterns import check_patterns
from tui_tuner.locales import N_

MOST_RANK, MOST_ALPHA = 4096, 1_000_000


class MethodSection(Section):
    """Which weights are trained."""

    kind: Annotated[str, known_word(METHODS, N_("unknown method {value!r}; known are {names}"))] = (
        declare_option(
            DEFAULT_METHOD,
            N_("Which weights are trained."),
            N_(
                "LoRA trains small matrices next to the frozen model: little memory, small files, hard to "
                "break. Full fine-tuning trains everything."
            ),
            choices=METHODS,
        )
    )
    rank: int = declare_option(
        16,
        N_("Rank: the inner size of the matrices (LoRA, LoHa, VeRA)."),
        N_("Higher can learn more and costs memory. 8 to 64 is usual, for VeRA 256 and more."),
        ge=1,
        le=MOST_RANK,
    )
    alpha: float = declare_option(
        32.0,
        N_("Alpha: the update is scaled by alpha / rank (LoRA, LoHa)."),
        N_("Twice the rank is usual."),
        gt=0,
        le=MOST_ALPHA,
    )
    dropout: float = declare_option(0.0, N_("Dropout before the matrices (LoRA, VeRA)."), ge=0, lt=1)
    targets: str | list[str] = declare_option(
        "all-linear",
        N_("Layers that get an adapter: all-linear, module names, or a regular expression."),
        N_(
            "All linear layers learn better than attention alone at the same size (QLoRA paper). A text "
            "that is no module's name is a regular expression for whole names, such as "
            ".*layers\\.[01]\\..*_proj."
        ),
    )
    layers: int | None = declare_option(
        None,
        N_("Only the last N layers are trained (freeze; of methods with targets, only they get adapters)."),
        unit=N_("layers"),
        ge=1,
        le=10_000,
    )
    train_embeddings: bool = declare_option(
        False, N_("Also train embeddings and head (LoRA)."), advanced=True
    )
    virtual_tokens: int = declare_option(
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
    encoder_size: int | None = declare_option(
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
    initial_text: str | None = declare_option(
        None,
        N_("Words that the virtual tokens begin as (prompt tuning, prefix tuning)."),
        N_(
            "Say what is to be done, such as: Answer briefly and politely. It is repeated to fill the "
            "virtual tokens. Empty takes frequent words of the vocabulary."
        ),
        min_length=1,
        advanced=True,
    )

    init: Literal["default", "pissa", "loftq", "olora", "eva"] = declare_option(
        "default",
        N_("What the matrices begin as (LoRA, DoRA, rank-stabilised LoRA)."),
        N_(
            "Usually they begin at random, with an update of zero. The others begin with what matters most "
            "in the weights or in the rows, and often learn faster."
        ),
        advanced=True,
    )
    final_rank: int | None = declare_option(
        None,
        N_("Rank that is left on average at the end (AdaLoRA)."),
        N_("It has to be below the rank. Empty is two thirds of it."),
        ge=1,
        le=4095,
        advanced=True,
    )
    rank_pattern: dict[str, int] | None = declare_option(
        None,
        N_("Another rank for some modules (LoRA, DoRA, rank-stabilised LoRA)."),
        N_(
            "{q_proj: 8, v_proj: 32}: a name is a module's, or a regular expression for the end of full "
            "names, such as layers\\.[01]\\..*"
        ),
        advanced=True,
    )
    alpha_pattern: dict[str, float] | None = declare_option(
        None,
        N_("Another alpha for some modules (LoRA, DoRA, rank-stabilised LoRA)."),
        N_("Names are those of method.rank_pattern. A module with another rank wants another alpha, too."),
        advanced=True,
    )

    @field_validator("rank_pattern", "alpha_pattern", mode="before")
    @classmethod
    def _check_patterns(cls, value: Any, info: ValidationInfo) -> Any:
        return check_patterns(value, MOST_RANK if info.field_name == "rank_pattern" else MOST_ALPHA)

    def has_trait(self, trait: Trait) -> bool:
        """Return whether the method has a trait."""
        return METHODS[self.kind].has_trait(trait)

    def reads_field(self, field: str) -> bool:
        """Return whether the method reads a field of this section, such as `rank`."""
        return field in METHODS[self.kind].fields

    def needs_field(self, field: str) -> bool:
        """Return whether the method cannot do without a value of a field of this section."""
        return field in METHODS[self.kind].needs

    @property
    def kept_rank(self) -> int:
        """Return the rank that AdaLoRA leaves on average."""
        return self.final_rank or max(1, self.rank * 2 // 3)

    @property
    def prompt_length(self) -> int:
        """Return the virtual tokens before each sequence; 0 if the method has none."""
        return self.virtual_tokens if self.has_trait(Trait.VIRTUAL_TOKENS) else 0
