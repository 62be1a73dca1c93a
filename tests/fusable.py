"""Fields that a method cannot do without in tests, and small bottleneck adapters for a fusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

NAMED = ["first", "second"]  # adapters of a fusion that nobody reads
NEEDS: dict[str, dict[str, Any]] = {"freeze": {"layers": 2}, "fusion": {"adapters": NAMED}}


def make_adapters(
    base: str, folder: Path, count: int = 2, auto_class: str = "AutoModelForCausalLM", **settings: Any
) -> list[str]:
    """Save bottleneck adapters with random numbers for a base model; returns their folders."""
    import torch
    import transformers
    from peft import get_peft_model

    from tui_tuner.methods.bottlenecks.tuner import BottleneckConfig

    found = []
    for number in range(count):
        torch.manual_seed(7 + number)
        model = getattr(transformers, auto_class).from_pretrained(base)
        adapted = get_peft_model(model, BottleneckConfig(**{"size": 3 + number, **settings}))
        with torch.no_grad():
            for weight in adapted.parameters():
                if weight.requires_grad:
                    weight.add_(0.1 * torch.randn_like(weight))
        place = folder / f"adapter-{number}"
        adapted.save_pretrained(str(place))
        found.append(str(place))
    return found
