"""The section `method`: which weights are trained, and the sizes of added ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ValidationInfo, field_validator

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import DEFAULT_METHOD, METHODS
from tui_tuner.config.sections.field_options import Section, accept_known_words, declare_option
from tui_tuner.config.sections.name_patterns import check_patterns, check_targets
from tui_tuner.locales import N_

MOST_RANK, MOST_ALPHA = 4096, 1_000_000


class MethodSection(Section):
    """The training method and its sizes."""

    kind: Annotated[str, accept_known_words(METHODS, N_("unknown method {value!r}; known are {names}"))] = (
        declare_option(
            DEFAULT_METHOD,
            N_("Which weights are trained."),
            N_(
                "LoRA trains small matrices next to the frozen model: little memory, small files, and "
                "hard to get wrong. Full fine-tuning trains every weight."
            ),
            choices=METHODS,
        )
    )
    rank: int = declare_option(
        16,
        N_("Rank: the inner size of the matrices (LoRA, LoHa, LoKr, VeRA, RandLoRA)."),
        N_("A higher rank can learn more and needs more memory. 8 to 64 is usual; for VeRA, 256 or more."),
        ge=1,
        le=MOST_RANK,
    )
    alpha: float = declare_option(
        32.0,
        N_("Alpha: the update is scaled by alpha / rank (LoRA, LoHa, LoKr)."),
        N_("Twice the rank is usual."),
        gt=0,
        le=MOST_ALPHA,
    )
    dropout: float = declare_option(
        0.0, N_("Dropout before the matrices (LoRA, VeRA, RandLoRA)."), ge=0, lt=1
    )
    targets: str | list[str] = declare_option(
        "all-linear",
        N_("Layers that get an adapter: all-linear, module names, experts, or a regular expression."),
        N_(
            "Adapting all linear layers learns better than adapting attention alone at the same size "
            "(QLoRA paper). A text that is no module's name is a regular expression for whole names, such as "
            ".*layers\\.[01]\\..*_proj. A mixture's experts are no linear layers: LoRA takes them too with "
            "[all-linear, experts], or by name, such as experts.down_proj."
        ),
    )
    layers: int | None = declare_option(
        None,
        N_("Train only the last N layers (freeze); methods with targets put adapters on these layers only."),
        N_("With freeze, 0 trains only the head. Of a model with encoder and decoder, the decoder's count."),
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
            "Training finds a prompt of numbers instead of words. 10 to 100 is usual; each takes up one "
            "position of the model's context."
        ),
        unit=N_("tokens"),
        ge=1,
        le=4096,
    )
    encoder_size: int | None = declare_option(
        None,
        N_("Width of the small network that generates the virtual tokens (P-tuning, prefix tuning)."),
        N_(
            "If empty, P-tuning uses the model's own width, and prefix tuning uses no network: keys and "
            "values are trained directly. The network is not needed after training."
        ),
        ge=1,
        le=65_536,
        advanced=True,
    )
    initial_text: str | None = declare_option(
        None,
        N_("Text from which the virtual tokens are initialised (prompt tuning, prefix tuning)."),
        N_(
            "Describe the task, for example: Answer briefly and politely. The text is repeated to fill "
            "the virtual tokens. If empty, frequent words of the vocabulary are used."
        ),
        min_length=1,
        advanced=True,
    )

    style: Literal["pfeiffer", "houlsby", "parallel"] = declare_option(
        "pfeiffer",
        N_("Where bottleneck adapters sit: pfeiffer, houlsby or parallel."),
        N_(
            "Pfeiffer: one in each layer, after its feed-forward block. Houlsby: two, after attention and "
            "after the feed-forward block; twice as many numbers, slower. Parallel: beside the feed-forward "
            "block, and usually wider."
        ),
    )
    reduction: float | None = declare_option(
        None,
        N_("The model's width divided by the inner width of a bottleneck adapter."),
        N_("Empty is 16, and 2 for the style parallel. Lower trains more numbers."),
        ge=1,
        le=65_536,
    )
    non_linearity: Literal["relu", "gelu", "swish", "tanh", "leakyrelu"] | None = declare_option(
        None,
        N_("The function between the two matrices of a bottleneck adapter."),
        N_("Empty is that of the style's paper: swish for houlsby, relu for the others."),
        advanced=True,
    )
    layer_norm: Literal["none", "before", "after"] = declare_option(
        "none",
        N_("A trained norm of the bottleneck adapter's own: none, before or after its matrices."),
        N_(
            "The model's own norms stay where the style puts them: around a Pfeiffer adapter, after the "
            "others. One more helps where training is unsteady."
        ),
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

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, value: str | list[str]) -> str | list[str]:
        return check_targets(value)

    @field_validator("rank_pattern", "alpha_pattern", mode="before")
    @classmethod
    def _check_patterns(cls, value: Any, info: ValidationInfo) -> Any:
        return check_patterns(value, MOST_RANK if info.field_name == "rank_pattern" else MOST_ALPHA)

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
    rotation_block: int | None = declare_option(
        None,
        N_("Inputs that are rotated together (OFT, BOFT)."),
        N_(
            "It has to divide the width of every matrix that gets an adapter. Empty is 32 for OFT, and 4 for "
            "BOFT. Larger blocks train more numbers."
        ),
        unit=N_("inputs"),
        ge=2,
        le=65_536,
        advanced=True,
    )
    decompose_factor: int | None = declare_option(
        None,
        N_("Into how many parts LoKr cuts each side of a matrix."),
        N_(
            "Empty cuts a side into about as many parts as each part is long, which trains the fewest "
            "numbers. 4 or 8 is usual for more. A side that it does not divide is cut into fewer."
        ),
        ge=1,
        le=65_536,
        advanced=True,
    )
    decompose_both: bool = declare_option(
        False,
        N_("LoKr's small matrix is low-rank, too."),
        N_("It trains fewer numbers where the small matrix is large."),
        advanced=True,
    )
    frequencies: int = declare_option(
        1000,
        N_("Trained frequencies for each matrix (FourierFT)."),
        N_("Each is one number. More can learn more."),
        ge=1,
        le=10_000_000,
        advanced=True,
    )

    def has_trait(self, trait: Trait) -> bool:
        return METHODS[self.kind].has_trait(trait)

    def reads_field(self, field: str) -> bool:
        """Return whether the method reads a field of this section, such as `rank`."""
        return field in METHODS[self.kind].fields

    def needs_field(self, field: str) -> bool:
        """Return whether the method requires a value for a field of this section."""
        return field in METHODS[self.kind].needs

    @property
    def fused_adapters(self) -> list[str]:
        """Return the runs or folders of `adapters`, which may stand in one text with commas between them."""
        if isinstance(self.adapters, list):
            return self.adapters
        return [name.strip() for name in self.adapters.split(",") if name.strip()]

    @property
    def kept_rank(self) -> int:
        """Return the rank that AdaLoRA leaves on average."""
        return self.final_rank or max(1, self.rank * 2 // 3)

    @property
    def trained_names(self) -> str:
        """Return the pattern of the weights that are trained; empty where the method reads none."""
        return (self.pattern or "") if self.reads_field("pattern") else ""

    @property
    def prompt_length(self) -> int:
        """Return the number of virtual tokens before each sequence; 0 if the method has none."""
        return self.virtual_tokens if self.has_trait(Trait.VIRTUAL_TOKENS) else 0
