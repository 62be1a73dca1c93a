"""LoRA layers of peft (0.20, 0.21) as one step of autograd each, or one for several with the same input.

On CPUs each plain layer is computed by itself (`single`). On GPUs frozen weights may be quantised, layers may
have dropout, float32 matrices are copied to 16 bits once per pass (`shadow`), and layers with the same input
are computed together (`joint`, `joint_runner`). Everything else stays with peft: DoRA, several adapters,
merged or disabled ones, and layers that fail the test of their outputs and gradients (`lora_probe`).
"""

from tui_tuner.compute.low_rank.lora_choice import (
    LoraFacts,
    count_quick_lora,
    explain_left_layer,
    quicken_lora,
)
from tui_tuner.compute.low_rank.single import LowRankLinear

__all__ = ["LoraFacts", "LowRankLinear", "count_quick_lora", "explain_left_layer", "quicken_lora"]
