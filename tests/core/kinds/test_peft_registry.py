"""Our own methods in peft's registry, whose enum of types nobody promises to be open: held here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PeftType, get_peft_config, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from tests.fusable import make_adapters
from tui_tuner.methods.bottlenecks.peft_registry import add_peft_type
from tui_tuner.methods.bottlenecks.tuner import (
    BottleneckConfig,
    BottleneckModel,
    FusionConfig,
    FusionModel,
    register_methods,
)

IDS = torch.tensor([[5, 9, 12, 40, 7, 3]])


def make_base(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model).eval()


def say(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def test_peft_knows_both_types() -> None:
    register_methods()  # again: nothing happens
    for name, config, model in (
        ("BOTTLENECK", BottleneckConfig, BottleneckModel),
        ("FUSION", FusionConfig, FusionModel),
    ):
        kind = PeftType(name)
        assert kind is PeftType[name] is getattr(PeftType, name) is add_peft_type(name)
        assert kind in list(PeftType) and kind == name and isinstance(kind, PeftType)
        assert PEFT_TYPE_TO_CONFIG_MAPPING[kind] is config and PEFT_TYPE_TO_TUNER_MAPPING[kind] is model
        assert type(get_peft_config({"peft_type": name})) is config
    assert PeftType("LORA") is PeftType.LORA


def test_a_fresh_process_loads_it_with_peft_once_it_is_registered(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapters(str(tiny_model), tmp_path, 1)[0]
    wanted = say(PeftModel.from_pretrained(make_base(tiny_model), adapter))
    torch.save(wanted, tmp_path / "wanted.pt")
    code = f"""
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained({str(tiny_model)!r})
try:
    PeftModel.from_pretrained(base, {adapter!r})
except KeyError as error:
    print(error)
import tui_tuner.methods.bottlenecks.tuner
model = PeftModel.from_pretrained(base, {adapter!r}).eval()
said = model(input_ids=torch.tensor({IDS.tolist()})).logits
assert torch.equal(said, torch.load({str(tmp_path / "wanted.pt")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "'BOTTLENECK'"


@pytest.mark.parametrize("style", ["pfeiffer", "houlsby", "parallel"])
def test_adapters_are_switched_disabled_and_taken_off(tiny_model: Path, tmp_path: Path, style: str) -> None:
    base = make_base(tiny_model)
    plain = say(base)
    first, second = make_adapters(str(tiny_model), tmp_path, style=style)
    model = PeftModel.from_pretrained(base, first, adapter_name="one", is_trainable=True)
    of_first = say(model)
    model.load_adapter(second, adapter_name="two")
    assert torch.equal(say(model), of_first)
    model.set_adapter("two")
    of_second = say(model)
    assert not torch.equal(of_second, of_first)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained and all(".two." in name for name in trained)
    model.base_model.set_adapter(["one", "two"])
    both = say(model)
    assert not torch.equal(both, of_first) and not torch.equal(both, of_second)
    with model.disable_adapter():
        assert torch.equal(say(model), plain)
    model.set_adapter("one")
    assert torch.equal(say(model), of_first)
    model.delete_adapter("one")
    assert torch.equal(say(model), of_second)
    bare = model.unload()
    assert torch.equal(say(bare), plain)
    assert not any(module._forward_pre_hooks for module in bare.modules())


def test_a_fusion_is_saved_with_what_it_fuses(tiny_model: Path, tmp_path: Path) -> None:
    settings = FusionConfig(
        style="pfeiffer",
        adapters=[
            {"name": "a", "size": 3, "non_linearity": "relu", "scaling": 1.0},
            {"name": "b", "size": 5, "non_linearity": "gelu", "scaling": 1.0},
        ],
    )
    torch.manual_seed(0)
    model = get_peft_model(make_base(tiny_model), settings)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "fusion_" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained and not any("fusion_adapters" in name for name in trained)
    model.save_pretrained(str(tmp_path))
    again = PeftModel.from_pretrained(
        make_base(tiny_model), tmp_path, adapter_name="other", is_trainable=True
    )
    assert torch.equal(say(again), say(model))
    assert len([one for one in again.parameters() if one.requires_grad]) == len(trained)
