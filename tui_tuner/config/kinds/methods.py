"""The methods a run may ask for: names, words and traits. Forms and validation need no training library.

A method is one entry here and one module in `methods`, of the same name unless the entry names another.
Nothing outside of these two compares names of methods: it asks for a trait (`kind.has(Trait.ADAPTER)`), or
the method itself (`methods.find_method`).
"""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.config.kinds.prompt_methods import PROMPT_METHODS
from tui_tuner.locales import N_

_BESIDE = frozenset({Trait.ADAPTER, Trait.QUANTISABLE, Trait.MERGEABLE, Trait.CHECKPOINTABLE})
_LORA = frozenset({Trait.RANKED}) | _BESIDE
_LORA_FIELDS = ("rank", "alpha", "dropout", "targets", "layers", "train_embeddings")
_FEW = frozenset({Trait.FEW_WEIGHTS}) | _BESIDE
_PROMPT = _FEW - {Trait.MERGEABLE} | {Trait.VIRTUAL_TOKENS}

METHODS: dict[str, MethodKind] = {
    kind.name: kind
    for kind in (
        MethodKind(
            "lora",
            N_("LoRA"),
            N_("Trains small matrices beside the frozen weights; the usual choice (arXiv 2106.09685)."),
            _LORA,
            _LORA_FIELDS,
            explanation=N_(
                "A model's weights are large matrices. LoRA leaves them as they are and trains, next to "
                "each of them, the product of two narrow matrices: millions of numbers instead of "
                "billions. Training takes little memory, and the result is a small file that is used with "
                "its base model or added into its weights."
            ),
            paper="Hu et al. 2021, arXiv 2106.09685",
            usual=N_("Rank 8 to 64, and alpha twice the rank."),
        ),
        MethodKind(
            "dora",
            N_("DoRA"),
            N_("LoRA that also learns how large each update is: a little better, slower (arXiv 2402.09353)."),
            _LORA,
            _LORA_FIELDS,
            "lora",
            explanation=N_(
                "DoRA takes each weight as a length and a direction. LoRA's two narrow matrices change "
                "the direction, and one more number for each output changes the length. It often learns a "
                "little more than LoRA at the same rank; each step is slower and takes more memory."
            ),
            paper="Liu et al. 2024, arXiv 2402.09353",
            usual=N_("Rank 8 to 32, and alpha twice the rank."),
        ),
        MethodKind(
            "rslora",
            N_("Rank-stabilised LoRA"),
            N_("LoRA whose updates keep their size at high ranks, such as 64 (arXiv 2312.03732)."),
            _LORA,
            _LORA_FIELDS,
            "lora",
            explanation=N_(
                "LoRA divides its update by the rank, so at a high rank the update and its gradients "
                "become small, and the higher rank teaches nothing more. Here it is divided by the square "
                "root of the rank, and high ranks learn as they should. At low ranks the two hardly "
                "differ."
            ),
            paper="Kalajdzievski 2023, arXiv 2312.03732",
            usual=N_("Rank 64 and more."),
        ),
        MethodKind(
            "full",
            N_("Full fine-tuning"),
            N_("Trains every weight: can learn most, takes most memory, saves the whole model."),
            frozenset({Trait.WHOLE_MODEL, Trait.CHECKPOINTABLE}),
            (),
            "own_weights",
            explanation=N_(
                "All weights are trained, so the model can change in any way; it can also forget more of "
                "what it knew. Gradients and optimizer states take several times the memory of the "
                "weights, and each checkpoint is as large as the model. It is customary for small "
                "encoders, for very much text, and for models with random weights."
            ),
            paper="Biderman et al. 2024, arXiv 2405.09673",
        ),
        MethodKind(
            "freeze",
            N_("Top layers only"),
            N_("Trains the last few layers as they are; those below stay frozen."),
            frozenset({Trait.CHECKPOINTABLE}),
            ("layers", "pattern"),
            "own_weights",
            needs=("layers",),
            explanation=N_(
                "The last layers are trained with all their weights, and so is the norm after them. The "
                "layers below, which do more general work, stay as they were: no gradient has to be "
                "computed for them, so a step is quick and takes less memory. With 0 layers only the head "
                "is trained; a pattern of names picks any other weights."
            ),
            paper="Lee et al. 2019, arXiv 1911.03090",
            usual=N_("A quarter of the layers, which reached nine tenths of the quality in that paper."),
        ),
        MethodKind(
            "loha",
            N_("LoHa"),
            N_("Like LoRA; two products multiplied reach more with as little (arXiv 2108.06098)."),
            _BESIDE - {Trait.QUANTISABLE},
            ("rank", "alpha", "targets", "layers"),
            explanation=N_(
                "LoRA's update has at most the rank of its matrices. LoHa makes two such products and "
                "multiplies them number by number: the result can have up to the square of that rank, for "
                "twice as many trained numbers."
            ),
            paper="Hyeon-Woo et al. 2021, arXiv 2108.06098",
            usual=N_("Half the rank of LoRA trains as many numbers."),
        ),
        MethodKind(
            "vera",
            N_("VeRA"),
            N_("Trains only vectors beside random matrices that all layers share (arXiv 2310.11454)."),
            _FEW,
            ("rank", "dropout", "targets", "layers"),
            explanation=N_(
                "All layers share one pair of random matrices, which are never trained and are made from "
                "the seed. Each layer trains two vectors that scale what goes through them. That is a "
                "small part of what LoRA trains, so the rank can be much higher."
            ),
            paper="Kopiczko et al. 2023, arXiv 2310.11454",
            usual=N_("Rank 256 and more."),
        ),
        MethodKind(
            "ia3",
            N_("IA3"),
            N_("Trains one factor for each output of a layer: among the smallest (arXiv 2205.05638)."),
            _FEW,
            ("targets", "layers"),
            explanation=N_(
                "Each output of the target layers is multiplied by a trained factor that begins as 1: "
                "features become stronger or weaker, and nothing else changes. It trains far less than "
                "LoRA, suits small data, and the factors can be multiplied into the weights."
            ),
            paper="Liu et al. 2022, arXiv 2205.05638",
        ),
        MethodKind(
            "prompt_tuning",
            N_("Prompt tuning"),
            N_("Trains a prompt of numbers before each text; the model stays (arXiv 2104.08691)."),
            _PROMPT,
            ("virtual_tokens", "initial_text"),
            "prompts",
            explanation=N_(
                "Instead of writing a prompt in words, training finds one in numbers: virtual tokens "
                "before each text, while the model itself stays as it is. It trains the fewest numbers of "
                "all and works best with large models; the virtual tokens take places in the context."
            ),
            paper="Lester et al. 2021, arXiv 2104.08691",
            usual=N_("20 to 100 virtual tokens that begin as words."),
        ),
        MethodKind(
            "p_tuning",
            N_("P-tuning"),
            N_("Prompt tuning with a small network that makes the prompt (arXiv 2103.10385)."),
            _PROMPT,
            ("virtual_tokens", "encoder_size"),
            "prompts",
            explanation=N_(
                "The virtual tokens before each text come from a small network that is trained with them, "
                "because they depend on each other and are easier to find that way. After training only "
                "the tokens are kept."
            ),
            paper="Liu et al. 2021, arXiv 2103.10385",
            usual=N_("10 to 100 virtual tokens."),
        ),
        MethodKind(
            "prefix_tuning",
            N_("Prefix tuning"),
            N_("Trains what each layer attends to before the text (arXiv 2101.00190)."),
            _PROMPT - {Trait.CHECKPOINTABLE} | {Trait.PREFIX},
            ("virtual_tokens", "encoder_size", "initial_text"),
            "prompts",
            explanation=N_(
                "Each layer of the model attends to trained keys and values as if they came from words "
                "before the text. That reaches deeper than prompt tuning, which changes the first layer's "
                "input alone, and trains more numbers."
            ),
            paper="Li and Liang 2021, arXiv 2101.00190",
            usual=N_("10 to 100 virtual tokens."),
        ),
        *PROMPT_METHODS,
    )
}

DEFAULT_METHOD = "lora"  # what a run does unless it is told otherwise, and what is proposed first
WHOLE_METHOD = "full"  # what trains a model with random weights, or a small one
