"""Which weights are trained, and the sizes of what is added to them."""

from __future__ import annotations

from typing import Annotated

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import DEFAULT_METHOD, METHODS
from tui_tuner.config.sections.field_options import Section, declare_option, known_word
from tui_tuner.locales import N_

STYLES = ("pfeiffer", "houlsby", "parallel")  # of bottleneck adapters
NON_LINEARITIES = ("relu", "gelu", "swish", "tanh", "leakyrelu")
LAYER_NORMS = ("none", "before", "after")


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

    style: str = declare_option(
        "pfeiffer",
        N_("Where bottleneck adapters sit: pfeiffer, houlsby or parallel."),
        N_(
            "Pfeiffer: one in each layer, after its feed-forward block. Houlsby: two, after attention and "
            "after the feed-forward block; twice as many numbers, slower. Parallel: beside the feed-forward "
            "block, and usually wider."
        ),
        choices=STYLES,
    )
    reduction: float | None = declare_option(
        None,
        N_("The model's width divided by the inner width of a bottleneck adapter."),
        N_("Empty is 16, and 2 for the style parallel. Lower trains more numbers."),
        ge=1,
        le=65_536,
    )
    non_linearity: str | None = declare_option(
        None,
        N_("The function between the two matrices of a bottleneck adapter."),
        N_("Empty is that of the style's paper: swish for houlsby, relu for the others."),
        choices=NON_LINEARITIES,
        advanced=True,
    )
    layer_norm: str = declare_option(
        "none",
        N_("A trained norm of the bottleneck adapter's own: none, before or after its matrices."),
        N_(
            "The model's own norms stay where the style puts them: around a Pfeiffer adapter, after the "
            "others. One more helps where training is unsteady."
        ),
        choices=LAYER_NORMS,
        advanced=True,
    )
    adapters: str | list[str] = declare_option(
        [],
        N_("Runs or folders of the bottleneck adapters that are fused."),
        N_(
            "Two or more Pfeiffer or Houlsby adapters of one style, trained on this model, each on data of "
            "its own. They stay as they are."
        ),
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
    def fused_adapters(self) -> list[str]:
        """Return the runs or folders of `adapters`, which may stand in one text with commas between them."""
        if isinstance(self.adapters, list):
            return self.adapters
        return [name.strip() for name in self.adapters.split(",") if name.strip()]

    @property
    def prompt_length(self) -> int:
        """Return the virtual tokens before each sequence; 0 if the method has none."""
        return self.virtual_tokens if self.has_trait(Trait.VIRTUAL_TOKENS) else 0
