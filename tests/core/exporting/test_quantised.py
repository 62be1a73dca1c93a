"""Files that hold quantised weights are merged as ordinary numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from tests.core.exporting.adapters import TARGETS, open_folder, write_adapter, write_base, write_result
from tui_tuner.errors import ModelError


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_bitsandbytes_are_dequantised_for_a_merge(
    bits: int, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    base = write_base(tmp_path / "base", tiny_tokenizer)
    how = (
        BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
        if bits == 4
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    packed = tmp_path / "packed"
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=how, dtype=torch.bfloat16, device_map={"": "cpu"}
    )
    model.save_pretrained(packed)
    tiny_tokenizer.save_pretrained(packed)
    adapter = write_adapter(base, tmp_path / "adapter", LoraConfig(r=4, target_modules=TARGETS))
    told = adapter / "adapter_config.json"
    values = json.loads(told.read_text(encoding="utf-8"))
    told.write_text(json.dumps({**values, "base_model_name_or_path": str(packed)}), encoding="utf-8")
    out = write_result(open_folder(adapter), tmp_path / "out")
    assert "quantization_config" not in json.loads((out / "config.json").read_text(encoding="utf-8"))
    merged = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16).eval()
    unmerged = PeftModel.from_pretrained(model, adapter).eval()
    ids = torch.tensor([[5, 9, 40, 77, 12]])
    with torch.inference_mode():
        one, other = merged(ids).logits.float(), unmerged(ids).logits.float()
    spread = float(other.max() - other.min())
    assert float((one - other).abs().max()) < 0.05 * spread


def test_other_quantised_files_are_refused_with_a_way_out(tmp_path: Path, tiny_tokenizer: Any) -> None:
    base = write_base(tmp_path / "base", tiny_tokenizer)
    adapter = write_adapter(base, tmp_path / "adapter", LoraConfig(r=4, target_modules=TARGETS))
    values = json.loads((base / "config.json").read_text(encoding="utf-8"))
    values["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (base / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ModelError, match="quantised by gptq") as caught:
        open_folder(adapter)
    assert "--base" in str(caught.value.hint)
