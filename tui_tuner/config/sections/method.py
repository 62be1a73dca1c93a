"""Which weights are trained, and the sizes of what is added to them."""

from __future__ import annotations

from typing import Annotated

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import DEFAULT_METHOD, METHODS
from tui_tuner.config.sections.field_options import Section, declare_option, known_word
from tui_tuner.locales import N_


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
        le=4096,
    )
    alpha: float = declare_option(
        32.0,
        N_("Alpha: the update is scaled by alpha / rank (LoRA, LoHa)."),
        N_("Twice the rank is usual."),
        gt=0,
        le=1_000_000,
    )
    dropout: float = declare_option(0.0, N_("Dropout before the matrices (LoRA, VeRA)."), ge=0, lt=1)
    targets: str | list[str] = declare_option(
        "all-linear",
        N_("Layers that get an adapter: all-linear, or module names."),
        N_("All linear layers learn better than attention alone at the same size (QLoRA paper)."),
    )
    layers: int | None = declare_option(
        None,
        N_("Only the last N layers are trained (freeze; of methods with targets, only they get adapters)."),
        N_("With freeze, 0 trains the head alone, all else stays as it is."),
        unit=N_("layers"),
        ge=0,
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

    pattern: str | None = declare_option(
        None,
        N_("Which weights are trained, by a pattern of their names (freeze)."),
        N_(
            "A shell pattern for whole names, such as model.layers.1.* or *.mlp.*; what fits no name as one "
            "is a regular expression that is searched for in the names. It takes the place of layers. The "
            "plan says how many numbers that is."
        ),
        min_length=1,
        max_length=500,
        advanced=True,
    )

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
    def trained_names(self) -> str:
        """Return the pattern of the weights that are trained; empty where the method reads none."""
        return (self.pattern or "") if self.reads_field("pattern") else ""

    @property
    def prompt_length(self) -> int:
        """Return the virtual tokens before each sequence; 0 if the method has none."""
        return self.virtual_tokens if self.has_trait(Trait.VIRTUAL_TOKENS) else 0
