"""What peft writes of bottleneck adapters and of their fusion into `adapter_config.json`."""

from __future__ import annotations

from dataclasses import dataclass, field

from peft import PeftConfig

from tui_tuner.methods.bottlenecks.peft_registry import add_peft_type


@dataclass
class PlacedConfig(PeftConfig):
    """What both have in common.

    Args:
        target_modules: Modules that get an adapter; found in the model where there are none.
        layers: Only the last so many layers; None is all.
        modules_to_save: Modules that are trained and saved whole next to the adapter.
        style: pfeiffer, houlsby or parallel: where adapters sit.
    """

    target_modules: list[str] | None = field(default=None)
    exclude_modules: list[str] | None = field(default=None)
    layers: int | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)
    style: str = field(default="pfeiffer")


@dataclass
class BottleneckConfig(PlacedConfig):
    """Bottleneck adapters of one style.

    Args:
        size: Inner width, which is the width of the model divided by the reduction.
        reduction: That quotient, as it was asked for.
        non_linearity: Between the two matrices, by its name in `standalone.FUNCTIONS`.
        layer_norm: none, before or after: a trained norm of the adapter's own.
        scaling: What an adapter computes is multiplied by it.
        init: bert (small numbers, biases 0), or mam (the adapter begins as 0).
    """

    size: int = field(default=48)
    reduction: float = field(default=16.0)
    non_linearity: str = field(default="relu")
    layer_norm: str = field(default="none")
    scaling: float = field(default=1.0)
    init: str = field(default="bert")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = add_peft_type("BOTTLENECK")


@dataclass
class FusionConfig(PlacedConfig):
    """Attention over several frozen bottleneck adapters.

    Args:
        adapters: For each of them its name, its inner width, its non-linearity and its scaling.
    """

    adapters: list[dict[str, str | int | float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = add_peft_type("FUSION")
