"""The methods a run may ask for: names, words and traits. Forms and validation need no training library.

A method is one entry here and one module in `methods`, of the same name unless the entry names another.
Nothing outside of these two compares names of methods: it asks for a trait (`kind.has(Trait.ADAPTER)`), or
the method itself (`methods.find_method`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui_tuner.config.kinds.base import Kind
from tui_tuner.locales import N_


class Trait(StrEnum):
    """What a method is like, where forms, plans or the run have to know."""

    ADAPTER = "adapter"  # the model's own weights stay as they are; what is trained is saved beside them
    RANKED = "ranked"  # low-rank matrices: reads rank, alpha and dropout
    VIRTUAL_TOKENS = "virtual_tokens"  # trained tokens before each sequence
    PREFIX = "prefix"  # the virtual tokens are keys and values of each layer, not embeddings
    WHOLE_MODEL = "whole_model"  # every weight of the model is trained
    QUANTISABLE = "quantisable"  # works beside weights in 4 or 8 bits
    MERGEABLE = "mergeable"  # what is trained can be folded into the model's weights
    CHECKPOINTABLE = "checkpointable"  # activations may be computed again in the backward pass


@dataclass(frozen=True)
class MethodKind(Kind):
    """A method, with what forms, validation and planning have to know of it.

    Args:
        traits: What it is like.
        fields: Of the section `method` that it reads, beside `kind`.
        module: In `methods`, where that is not its own name: methods of one family share one.
    """

    traits: frozenset[Trait] = frozenset()
    fields: tuple[str, ...] = ()
    module: str = ""

    def has(self, trait: Trait) -> bool:
        """Whether it has a trait."""
        return trait in self.traits


_BESIDE = frozenset({Trait.ADAPTER, Trait.QUANTISABLE, Trait.MERGEABLE, Trait.CHECKPOINTABLE})
_LORA = frozenset({Trait.RANKED}) | _BESIDE
_LORA_FIELDS = ("rank", "alpha", "dropout", "targets", "layers", "train_embeddings")
_PROMPT = frozenset({Trait.ADAPTER, Trait.VIRTUAL_TOKENS, Trait.QUANTISABLE, Trait.CHECKPOINTABLE})

METHODS: dict[str, MethodKind] = {
    kind.name: kind
    for kind in (
        MethodKind(
            "lora",
            N_("LoRA"),
            N_("Trains small matrices beside the frozen weights; the usual choice (arXiv 2106.09685)."),
            _LORA,
            _LORA_FIELDS,
        ),
        MethodKind(
            "dora",
            N_("DoRA"),
            N_("LoRA that also learns how large each update is: a little better, slower (arXiv 2402.09353)."),
            _LORA,
            _LORA_FIELDS,
            "lora",
        ),
        MethodKind(
            "rslora",
            N_("Rank-stabilised LoRA"),
            N_("LoRA whose updates keep their size at high ranks, such as 64 (arXiv 2312.03732)."),
            _LORA,
            _LORA_FIELDS,
            "lora",
        ),
        MethodKind(
            "full",
            N_("Full fine-tuning"),
            N_("Trains every weight: can learn most, takes most memory, saves the whole model."),
            frozenset({Trait.WHOLE_MODEL, Trait.CHECKPOINTABLE}),
            (),
            "own_weights",
        ),
        MethodKind(
            "freeze",
            N_("Top layers only"),
            N_("Trains the last few layers as they are; those below stay frozen."),
            frozenset({Trait.CHECKPOINTABLE}),
            ("layers",),
            "own_weights",
        ),
        MethodKind(
            "loha",
            N_("LoHa"),
            N_("Like LoRA; two products multiplied reach more with as little (arXiv 2108.06098)."),
            _BESIDE - {Trait.QUANTISABLE},
            ("rank", "alpha", "targets", "layers"),
        ),
        MethodKind(
            "vera",
            N_("VeRA"),
            N_("Trains only vectors beside random matrices that all layers share (arXiv 2310.11454)."),
            _BESIDE,
            ("rank", "dropout", "targets", "layers"),
        ),
        MethodKind(
            "ia3",
            N_("IA3"),
            N_("Trains one factor for each output of a layer: among the smallest (arXiv 2205.05638)."),
            _BESIDE,
            ("targets", "layers"),
        ),
        MethodKind(
            "prompt_tuning",
            N_("Prompt tuning"),
            N_("Trains a prompt of numbers before each text; the model stays (arXiv 2104.08691)."),
            _PROMPT,
            ("virtual_tokens", "initial_text"),
            "prompts",
        ),
        MethodKind(
            "p_tuning",
            N_("P-tuning"),
            N_("Prompt tuning with a small network that makes the prompt (arXiv 2103.10385)."),
            _PROMPT,
            ("virtual_tokens", "encoder_size"),
            "prompts",
        ),
        MethodKind(
            "prefix_tuning",
            N_("Prefix tuning"),
            N_("Trains what each layer attends to before the text (arXiv 2101.00190)."),
            _PROMPT - {Trait.CHECKPOINTABLE} | {Trait.PREFIX},
            ("virtual_tokens", "encoder_size", "initial_text"),
            "prompts",
        ),
    )
}

# To be asked of the traits instead
RANKED = tuple(name for name, kind in METHODS.items() if kind.has(Trait.RANKED))
PROMPTS = tuple(name for name, kind in METHODS.items() if kind.has(Trait.VIRTUAL_TOKENS))
ADAPTERS = tuple(name for name, kind in METHODS.items() if kind.has(Trait.ADAPTER))
QUANTISABLE = tuple(name for name, kind in METHODS.items() if kind.has(Trait.QUANTISABLE))
METHOD_FIELDS = {name: kind.fields for name, kind in METHODS.items()}
