"""LoRA layers of peft (0.20, 0.21) as one step of autograd each, or one for several that read the same input.

On CPUs each plain layer is computed by itself (`single`). On GPUs frozen weights may be quantised, layers may
drop out, float32 matrices are copied to 16 bits once a pass (`shadow`), and layers with the same input are
computed at once (`joint`, `together`). What is not known here, or does not prove to give peft's own outputs
and gradients (`probe`), stays with peft: DoRA, several adapters, merged or switched-off ones.
"""

from tui_tuner.compute.low_rank.choosing import LoraFacts, count_quick, quicken, why_left
from tui_tuner.compute.low_rank.single import LowRankLinear

__all__ = ["LoraFacts", "LowRankLinear", "count_quick", "quicken", "why_left"]
