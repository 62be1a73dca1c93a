"""What tests of adapter methods share: the model's logits, and a result that plain peft loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from tui_tuner.config.schema import RunConfig
from tui_tuner.methods.saved.putting import put_adapter
from tui_tuner.models.loading import load_model

IDS = torch.arange(3, 23).view(1, 20)
# Loads with plain peft, in a process that has never heard of this package
RELOAD = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model = PeftModel.from_pretrained(base, sys.argv[2]).eval()
assert not any(name.startswith("tui_tuner") for name in sys.modules)
with torch.no_grad():
    print(json.dumps(model(input_ids=torch.arange(3, 23).view(1, 20)).logits.flatten().tolist()))
"""


def small(**method: Any) -> dict[str, Any]:
    return {f"method__{name}": value for name, value in {"kind": "lora", "rank": 4, **method}.items()}


def read_logits(model: Any) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=IDS).logits
    return found


def stir(model: Any) -> None:
    """Move what is trained away from where it began, as training does."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))


def check_reload(config: RunConfig, folder: Path) -> None:
    """Assert that plain peft, in a process of its own, computes with an adapter what this program does."""
    found = subprocess.run(
        [sys.executable, "-c", RELOAD, config.model.name, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    theirs = torch.tensor(json.loads(found.stdout.splitlines()[-1]))
    ours = put_adapter(load_model(config, "cpu"), folder)
    assert torch.allclose(read_logits(ours).flatten(), theirs, atol=1e-5)
