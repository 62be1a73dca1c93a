"""Methods with virtual tokens that other guides know under a name of their own."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.locales import N_

PROMPT_METHODS: tuple[MethodKind, ...] = (
    MethodKind(
        "p_tuning_v2",
        N_("P-Tuning v2"),
        N_("Trains keys and values of virtual tokens in every layer (arXiv 2110.07602)."),
        frozenset({Trait.ADAPTER, Trait.QUANTISABLE, Trait.FEW_WEIGHTS, Trait.VIRTUAL_TOKENS, Trait.PREFIX}),
        ("virtual_tokens", "encoder_size"),
        "prompts",
        explanation=N_(
            "Each layer attends to trained keys and values before the text, which begin at random. It was "
            "made for encoders that classify, tag or answer questions, where it came close to full "
            "fine-tuning; the guides of ChatGLM use it for chat models. A small network (encoder_size) may "
            "make the keys and values: it helps with some data only. It is saved as PEFT's prefix tuning."
        ),
        paper="Liu et al. 2021, arXiv 2110.07602",
        usual=N_(
            "20 virtual tokens for classes, 100 and more for tags and answers; 128 in the guide of ChatGLM2. "
            "No network."
        ),
    ),
)
