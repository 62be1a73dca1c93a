"""The outputs of this package's bottleneck adapters for the cases of `cases.py`."""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.matrix.bottleneck.cases import ADAPTERS, ENCODERS, FUSIONS, IDS, MODELS, fill, fill_base
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.methods.numbers.bottlenecks import settle_style

LAYER = re.compile(r"(?:layers?|h)\.(\d+)\.")


def make_model(model_type: str) -> Any:
    """Return a base model with the numbers that follow from the names of its weights."""
    config = AutoConfig.for_model(model_type, **MODELS[model_type])
    config._attn_implementation = "eager"
    config.pad_token_id = config.pad_token_id or 0
    auto = AutoModelForSequenceClassification if model_type in ENCODERS else AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager")
    fill_base(model, lambda _name: False)
    return model.eval()


def put_adapters(model: Any, case: str) -> Any:
    """Return a model of peft with the adapter, or the fusion, of a case, and its numbers."""
    from peft import get_peft_model

    from tui_tuner.methods.bottlenecks.adapted import BottleneckModule
    from tui_tuner.methods.bottlenecks.fused_adapters import _fill_one
    from tui_tuner.methods.bottlenecks.fusing import FusionModule
    from tui_tuner.methods.bottlenecks.tuner import BottleneckConfig, FusionConfig

    several = [ADAPTERS[case]] if case in ADAPTERS else FUSIONS[case]
    styles = [settle_style(MethodSection(kind="bottleneck", **one)) for one in several]
    shapes = [
        {"size": one.find_size(32), "non_linearity": one.non_linearity, "scaling": one.scaling}
        for one in styles
    ]
    first = styles[0]
    if case in ADAPTERS:
        settings = BottleneckConfig(style=first.name, layer_norm=first.layer_norm, **shapes[0])
    else:
        settings = FusionConfig(style=first.name, adapters=shapes)
    model = get_peft_model(model, settings)
    for name, module in model.named_modules():
        found = LAYER.search(name)
        branch = "attention" if "att" in name else "output"
        place = f"{found[1]}.{branch}" if found else ""
        if isinstance(module, BottleneckModule):
            for part, dictionary in (("down", "down"), ("up", "up"), ("norm", "norm")):
                for one in getattr(module, f"bottleneck_{dictionary}").values():
                    for end, weight in one.named_parameters():
                        fill(weight, f"{place}.a0.{part}.{end}")
        elif isinstance(module, FusionModule):
            for part in ("query", "key", "value"):
                for end, weight in getattr(module, f"fusion_{part}")["default"].named_parameters():
                    fill(weight, f"{place}.fusion.{part}.{end}")
            for number, told in enumerate(shapes):
                shape = {"down.weight": (told["size"], 32), "down.bias": (told["size"],)}
                shape |= {"up.weight": (32, told["size"]), "up.bias": (32,)}
                weights = {part: torch.empty(size) for part, size in shape.items()}
                for part, weight in weights.items():
                    fill(weight, f"{place}.a{number}.{part}")
                _fill_one(module.fusion_adapters["default"], number, weights)
    return model.eval()


@torch.no_grad()
def compute(model_type: str, case: str) -> dict[str, Any]:
    """Return the first outputs, and the sum of all of them without their signs."""
    logits = put_adapters(make_model(model_type), case)(input_ids=torch.tensor(IDS)).logits
    return {"logits": logits.flatten().tolist()[:24], "sum": logits.double().abs().sum().item()}
