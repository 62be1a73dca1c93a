"""The training methods: names, texts and traits. Forms and validation import no training library.

A method is one entry here and one module in `methods`, of the same name unless the entry names another.
No other code compares names of methods: it asks for a trait (`kind.has_trait(Trait.ADAPTER)`) or calls the
method itself (`methods.find_method`).
"""

from __future__ import annotations

from tui_tuner.config.kinds.bottleneck_methods import BOTTLENECK_METHODS
from tui_tuner.config.kinds.low_rank_methods import LOW_RANK_METHODS
from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.config.kinds.prompt_methods import PROMPT_METHODS
from tui_tuner.config.kinds.structured_methods import STRUCTURED_METHODS
from tui_tuner.locales import N_

_BESIDE = frozenset({Trait.ADAPTER, Trait.QUANTISABLE, Trait.MERGEABLE, Trait.CHECKPOINTABLE})
_LORA = frozenset({Trait.RANKED, Trait.FUSED_NAMES}) | _BESIDE
_LORA_PLACES = ("targets", "layers", "rank_pattern", "alpha_pattern")
_LORA_FIELDS = ("rank", "alpha", "dropout", "init", *_LORA_PLACES, "train_embeddings")
# Virtual tokens are part of the input, so no weights of the model could take them in: not MERGEABLE
_FEW = frozenset({Trait.FEW_WEIGHTS}) | _BESIDE
_PROMPT = _FEW - {Trait.MERGEABLE} | {Trait.VIRTUAL_TOKENS}

METHODS: dict[str, MethodKind] = {
    kind.name: kind
    for kind in (
        MethodKind(
            "lora",
            N_("LoRA"),
            N_("Trains small matrices next to the frozen weights; the usual choice (arXiv 2106.09685)."),
            _LORA | {Trait.EXPERTS},
            _LORA_FIELDS,
            explanation=N_(
                "A model's weights are large matrices. LoRA freezes them and trains, next to each one, "
                "the product of two narrow matrices: millions of numbers instead of billions. Training "
                "needs little memory, and the result is a small file that is used together with its base "
                "model or merged into its weights."
            ),
            paper="Hu et al. 2021, arXiv 2106.09685",
            usual=N_("Rank 8 to 64, and alpha twice the rank."),
        ),
        MethodKind(
            "dora",
            N_("DoRA"),
            N_(
                "LoRA that also learns the magnitude of each weight: a little better, slower (arXiv "
                "2402.09353)."
            ),
            _LORA,
            _LORA_FIELDS,
            "lora",
            explanation=N_(
                "DoRA splits each weight into a magnitude and a direction. LoRA's two narrow matrices "
                "change the direction, and one more trained number per output changes the magnitude. It "
                "often learns a little more than LoRA at the same rank, but each step is slower and "
                "takes more memory."
            ),
            paper="Liu et al. 2024, arXiv 2402.09353",
            usual=N_("Rank 8 to 32, and alpha twice the rank."),
        ),
        MethodKind(
            "rslora",
            N_("Rank-stabilised LoRA"),
            N_("LoRA scaled so that high ranks, such as 64, learn as they should (arXiv 2312.03732)."),
            _LORA | {Trait.EXPERTS},
            _LORA_FIELDS,
            "lora",
            explanation=N_(
                "LoRA divides its update by the rank, so at a high rank the update and its gradients "
                "become small, and a higher rank gains nothing. This method divides by the square root "
                "of the rank instead, so that high ranks pay off. At low ranks the two hardly differ."
            ),
            paper="Kalajdzievski 2023, arXiv 2312.03732",
            usual=N_("Rank 64 or higher."),
        ),
        MethodKind(
            "full",
            N_("Full fine-tuning"),
            N_("Trains every weight: learns the most, needs the most memory, saves the whole model."),
            frozenset({Trait.WHOLE_MODEL, Trait.CHECKPOINTABLE}),
            (),
            "own_weights",
            explanation=N_(
                "All weights are trained, so the model can change in any way; it can also forget more of "
                "what it knew. Gradients and optimizer state take several times the memory of the "
                "weights, and each checkpoint is as large as the model. It is the usual choice for small "
                "encoders, for very large amounts of text, and for models that start from random weights."
            ),
            paper="Biderman et al. 2024, arXiv 2405.09673",
        ),
        MethodKind(
            "freeze",
            N_("Top layers only"),
            N_("Trains only the last few layers; the layers below stay frozen."),
            frozenset({Trait.CHECKPOINTABLE}),
            ("layers", "pattern"),
            "own_weights",
            needs=("layers",),
            explanation=N_(
                "All weights of the last layers are trained, and so is the norm after them. The layers "
                "below, which capture more general features, stay frozen: they need no gradients, so a "
                "step is faster and takes less memory. With 0 layers only the head is trained; a pattern of "
                "names selects any other weights."
            ),
            paper="Lee et al. 2019, arXiv 1911.03090",
            usual=N_("A quarter of the layers, which reached 90% of the full quality in that paper."),
        ),
        MethodKind(
            "loha",
            N_("LoHa"),
            N_("Like LoRA, with two low-rank products multiplied for a higher rank (arXiv 2108.06098)."),
            _BESIDE - {Trait.QUANTISABLE},
            ("rank", "alpha", "targets", "layers"),
            explanation=N_(
                "LoRA's update has at most the rank of its matrices. LoHa computes two such products and "
                "multiplies them element by element: the result can have up to the square of that rank, "
                "for twice as many trained numbers."
            ),
            paper="Hyeon-Woo et al. 2021, arXiv 2108.06098",
            usual=N_("Half of LoRA's rank, which trains the same number of weights."),
        ),
        MethodKind(
            "vera",
            N_("VeRA"),
            N_("Trains only vectors that scale random matrices shared by all layers (arXiv 2310.11454)."),
            _FEW,
            ("rank", "dropout", "targets", "layers"),
            explanation=N_(
                "All layers share one pair of random matrices, which are generated from the seed and "
                "never trained. Each layer trains two vectors that scale what passes through them. That "
                "is a small fraction of what LoRA trains, so the rank can be much higher."
            ),
            paper="Kopiczko et al. 2023, arXiv 2310.11454",
            usual=N_("Rank 256 or higher."),
        ),
        MethodKind(
            "ia3",
            N_("IA3"),
            N_("Trains one scaling factor per layer output: among the smallest adapters (arXiv 2205.05638)."),
            _FEW,
            ("targets", "layers"),
            explanation=N_(
                "Each output of the target layers is multiplied by a trained factor that starts at 1: "
                "features become stronger or weaker, and nothing else changes. It trains far fewer "
                "numbers than LoRA, suits small data sets, and the factors can be merged into the "
                "weights."
            ),
            paper="Liu et al. 2022, arXiv 2205.05638",
        ),
        MethodKind(
            "prompt_tuning",
            N_("Prompt tuning"),
            N_("Trains a prompt of numbers before each text; the model stays frozen (arXiv 2104.08691)."),
            _PROMPT,
            ("virtual_tokens", "initial_text"),
            "prompts",
            explanation=N_(
                "Instead of writing a prompt in words, training finds one in numbers: virtual tokens "
                "before each text, while the model itself stays frozen. It trains the fewest numbers of "
                "all methods and works best with large models. The virtual tokens take up room in the "
                "context."
            ),
            paper="Lester et al. 2021, arXiv 2104.08691",
            usual=N_("20 to 100 virtual tokens, initialised from words."),
        ),
        MethodKind(
            "p_tuning",
            N_("P-tuning"),
            N_("Prompt tuning in which a small network generates the prompt (arXiv 2103.10385)."),
            _PROMPT,
            ("virtual_tokens", "encoder_size"),
            "prompts",
            explanation=N_(
                "The virtual tokens before each text come from a small network that is trained along "
                "with them: the tokens depend on each other, and good ones are easier to find that way. "
                "After training, only the tokens are kept."
            ),
            paper="Liu et al. 2021, arXiv 2103.10385",
            usual=N_("10 to 100 virtual tokens."),
        ),
        MethodKind(
            "prefix_tuning",
            N_("Prefix tuning"),
            N_("Trains keys and values that each layer attends to before the text (arXiv 2101.00190)."),
            _PROMPT - {Trait.CHECKPOINTABLE} | {Trait.PREFIX},
            ("virtual_tokens", "encoder_size", "initial_text"),
            "prompts",
            explanation=N_(
                "Each layer of the model attends to trained keys and values as if they came from words "
                "before the text. This reaches deeper than prompt tuning, which changes only the input "
                "of the first layer, and trains more numbers."
            ),
            paper="Li and Liang 2021, arXiv 2101.00190",
            usual=N_("10 to 100 virtual tokens."),
        ),
        *PROMPT_METHODS,
        *BOTTLENECK_METHODS,
        *LOW_RANK_METHODS,
        *STRUCTURED_METHODS,
    )
}

DEFAULT_METHOD = "lora"  # used unless a config names another, and proposed first
WHOLE_METHOD = "full"  # for models with random weights, and for small ones
