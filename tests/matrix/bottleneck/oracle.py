"""The outputs of the adapters library for all cases, as JSON; run in its environment (see `compare.py`)."""

import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import adapters
import torch
from adapters import BnConfig, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from adapters.composition import Fuse
from cases import ADAPTERS, CASES, ENCODERS, FUSIONS, IDS, MODELS, fill, fill_base
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

STYLES = {"pfeiffer": SeqBnConfig, "houlsby": DoubleSeqBnConfig, "parallel": ParBnConfig}
PLACE = re.compile(r"(?:layers?|h)\.(\d+)\.(.*?)\b(adapters|adapter_fusion_layer)\.([^.]+)\.(.+)")


def make_settings(told) -> BnConfig:
    norm = {f"ln_{told['layer_norm']}": True} if told["layer_norm"] != "none" else {}
    return STYLES[told["style"]](
        reduction_factor=told["reduction"], non_linearity=told["non_linearity"], **norm
    )


def name_part(name):
    """Return the name of an adapter's weight in this repository's terms."""
    layer, where, _kind, adapter, part = PLACE.search(name).groups()
    part = re.sub(r"adapter_norm_(before|after)", "norm", part)
    part = re.sub(r"adapter_down\.\d+", "down", part).replace("adapter_up", "up")
    branch = "attention" if "attention" in where else "output"
    return f"{layer}.{branch}.{'fusion' if 'fusion' in name else adapter}.{part}"


def compute(model_type, case):
    config = AutoConfig.for_model(model_type, **MODELS[model_type], attn_implementation="eager")
    config.pad_token_id = config.pad_token_id or 0
    auto = AutoModelForSequenceClassification if model_type in ENCODERS else AutoModelForCausalLM
    model = auto.from_config(config)
    adapters.init(model)
    if case in ADAPTERS:
        model.add_adapter("a0", config=make_settings(ADAPTERS[case]))
        model.set_active_adapters("a0")
    else:
        names = [f"a{number}" for number in range(len(FUSIONS[case]))]
        for name, told in zip(names, FUSIONS[case], strict=True):
            model.add_adapter(name, config=make_settings(told))
        model.add_adapter_fusion(Fuse(*names), "dynamic")
        model.set_active_adapters(Fuse(*names))
    added = lambda name: PLACE.search(name) is not None  # noqa: E731
    fill_base(model, added)
    seen = set()
    for name, weight in model.named_parameters():
        # a norm before is registered twice: as itself, and as a part of what leads down
        if added(name):
            key = name_part(name)
            norm = weight.dim() == 1 and ("norm" in name or (".down." in key and weight.numel() == 32))
            if norm:
                key = re.sub(r"down\.(weight|bias)", r"norm.\1", key)
            fill(weight, key)
            seen.add(key)
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(IDS)).logits
    return {
        "logits": logits.flatten().tolist()[:24],
        "sum": logits.double().abs().sum().item(),
        "parts": len(seen),
    }


if __name__ == "__main__":
    found = {f"{model}, {case}": compute(model, case) for model, case in CASES}
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1) + "\n")
