"""Methods of the LoRA family that have a schedule of their own."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import MethodKind, Trait
from tui_tuner.locales import N_

LOW_RANK_METHODS: tuple[MethodKind, ...] = (
    MethodKind(
        "adalora",
        N_("AdaLoRA"),
        N_("LoRA that shares its ranks out among the layers while it trains (arXiv 2303.10512)."),
        frozenset(
            {
                Trait.RANKED,
                Trait.ADAPTER,
                Trait.QUANTISABLE,
                Trait.MERGEABLE,
                Trait.CHECKPOINTABLE,
            }
        ),
        ("rank", "final_rank", "alpha", "dropout", "targets", "layers", "train_embeddings"),
        explanation=N_(
            "Some layers have more to learn than others. AdaLoRA begins with more rank than it will keep, "
            "measures how much each direction of each layer matters, and takes away those that matter least, "
            "until final_rank is left on average. The second half of the run trains what is left. A step is "
            "slower and takes more memory than LoRA's; a short run gains nothing."
        ),
        paper="Zhang et al. 2023, arXiv 2303.10512",
        usual=N_("A rank of 12 and a final rank of 8: half as much again as is kept."),
    ),
)
