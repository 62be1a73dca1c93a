"""Learning-rate rules, side by side: each names its source, its inputs and its result.

`auto` is `customary`: a value that is usual for the task and method, scaled by nothing that was not
measured. The other rules are shown beside it, where their inputs are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tui_tuner.config.schema import RunConfig


@dataclass(frozen=True)
class Customary:
    """A usual peak rate, the range people use, and where that comes from."""

    rate: float
    low: float
    high: float
    source: str


METHOD_RATES: dict[str, Customary] = {
    "lora": Customary(2e-4, 5e-5, 5e-4, "QLoRA (arXiv 2305.14314): 2e-4 up to 13B parameters"),
    "dora": Customary(2e-4, 5e-5, 5e-4, "DoRA (arXiv 2402.09353): LoRA's rates"),
    "rslora": Customary(5e-5, 1e-5, 2e-4, "rsLoRA (arXiv 2312.03732)"),
    "full": Customary(2e-5, 5e-6, 5e-5, "Stanford Alpaca: 2e-5; BERT (arXiv 1810.04805): 2e-5 to 5e-5"),
    "freeze": Customary(5e-5, 1e-5, 1e-4, "between full fine-tuning and LoRA: fewer weights move"),
    "ia3": Customary(3e-3, 5e-4, 1e-2, "IA3 (arXiv 2205.05638): 3e-3"),
    "prompt_tuning": Customary(3e-2, 1e-3, 0.3, "PEFT's prompt tuning guide: 3e-2"),
    "prefix_tuning": Customary(1e-2, 1e-3, 5e-2, "PEFT's prefix tuning guide: 1e-2"),
    "p_tuning": Customary(1e-3, 1e-4, 1e-2, "PEFT's p-tuning guide: 1e-3"),
}
PREFERENCE_RATES: dict[str, Customary] = {
    "full": Customary(5e-7, 1e-7, 5e-6, "DPO (arXiv 2305.18290): 5e-7 to 1e-6"),
    "lora": Customary(5e-6, 1e-6, 5e-5, "ten times full fine-tuning's rate (LoRA Without Regret, 2025)"),
}
PREFERENCE_TASKS = ("dpo", "kto", "grpo", "orpo")

# GPT-3 (arXiv 2005.14165), table 2.1: parameters and peak learning rate
GPT3_RATES = (
    (125e6, 6.0e-4),
    (350e6, 3.0e-4),
    (760e6, 2.5e-4),
    (1.3e9, 2.0e-4),
    (2.7e9, 1.6e-4),
    (6.7e9, 1.2e-4),
    (13e9, 1.0e-4),
    (175e9, 0.6e-4),
)
SMALL_SCRATCH_RATE = 1e-3  # nanoGPT's rate for models of about ten million parameters


def customary(config: RunConfig, parameters: int | None = None) -> Customary:
    """The usual rate for this task, method and, from scratch, size."""
    kind = config.method.kind
    if config.task == "pretraining" and config.model.architecture is not None:
        return scratch(parameters)
    if config.task in PREFERENCE_TASKS:
        return PREFERENCE_RATES["full" if kind in ("full", "freeze") else "lora"]
    found = METHOD_RATES.get(kind, METHOD_RATES["lora"])
    if kind == "rslora":
        rate = METHOD_RATES["lora"].rate / math.sqrt(config.method.rank)
        source = f"{found.source}: LoRA's {METHOD_RATES['lora'].rate:g} / sqrt(rank), as the update is larger"
        return Customary(float(f"{rate:.2g}"), found.low, found.high, source)
    return found


def scratch(parameters: int | None) -> Customary:
    """Peak rate for training from random weights, from GPT-3's table (log-log between its sizes)."""
    source = "GPT-3 (arXiv 2005.14165) table 2.1 by size"
    if parameters is None or parameters < 30e6:
        return Customary(SMALL_SCRATCH_RATE, 3e-4, 3e-3, "nanoGPT: 1e-3 for small models")
    sizes = [math.log(size) for size, _ in GPT3_RATES]
    rates = [math.log(rate) for _, rate in GPT3_RATES]
    at = math.log(parameters)
    if at <= sizes[0]:
        rate = GPT3_RATES[0][1]
    elif at >= sizes[-1]:
        rate = GPT3_RATES[-1][1]
    else:
        right = next(index for index, size in enumerate(sizes) if size >= at)
        share = (at - sizes[right - 1]) / (sizes[right] - sizes[right - 1])
        rate = math.exp(rates[right - 1] + share * (rates[right] - rates[right - 1]))
    rate = float(f"{rate:.2g}")
    return Customary(rate, rate / 3, rate * 3, source)
