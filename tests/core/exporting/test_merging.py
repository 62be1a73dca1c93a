"""A merge that streams gives what peft's own `merge_and_unload` gives, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    BOFTConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PromptTuningConfig,
    VeraConfig,
)

from tests.core.exporting.adapters import (
    TARGETS,
    load_state,
    merge_by_peft,
    open_folder,
    write_adapter,
    write_base,
    write_result,
)
from tui_tuner.errors import ModelError
from tui_tuner.exporting.merging.weight_files import WeightFiles

ROOT = Path(__file__).parents[3]
WHOLE = ["embed_tokens", "lm_head"]
METHODS = {
    "lora": LoraConfig(r=4, target_modules=TARGETS),
    "dora": LoraConfig(r=4, target_modules=TARGETS, use_dora=True),
    "rslora": LoraConfig(r=4, target_modules=TARGETS, use_rslora=True, rank_pattern={"v_proj": 2}),
    "pissa": LoraConfig(r=4, target_modules=TARGETS, init_lora_weights="pissa"),
    "loha": LoHaConfig(r=4, target_modules=TARGETS),
    "lokr": LoKrConfig(r=4, target_modules=TARGETS),
    "ia3": IA3Config(target_modules=TARGETS, feedforward_modules=["down_proj"]),
    "vera": VeraConfig(r=4, target_modules=TARGETS),
    "oft": OFTConfig(r=0, oft_block_size=8, target_modules=TARGETS),
    "boft": BOFTConfig(boft_block_size=4, target_modules=TARGETS),
    "norms": LNTuningConfig(target_modules=["norm", "input_layernorm"]),
    "whole": LoraConfig(r=4, target_modules=TARGETS, modules_to_save=WHOLE),
    "tokens": LoraConfig(r=4, target_modules=TARGETS, trainable_token_indices=[3, 5]),
    "embeddings": LoraConfig(r=4, target_modules=["embed_tokens", "q_proj"]),
    "head": LoraConfig(r=4, target_modules=["lm_head", "q_proj"]),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base", tiny_tokenizer)


@pytest.mark.parametrize("name", METHODS)
def test_a_streamed_merge_is_that_of_peft(name: str, base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(base, tmp_path / "adapter", METHODS[name])
    result = open_folder(adapter)
    assert result.streamed
    found, wanted = load_state(write_result(result, tmp_path / "out")), merge_by_peft(base, adapter)
    assert found.keys() == wanted.keys()
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []
    before = load_state(base)
    assert any(not torch.equal(found[key], before[key]) for key in before)
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()


@pytest.mark.parametrize("name", ["lora", "tied", "untied", "embeddings"])
def test_what_a_model_shares_is_told_as_it_is_after_the_merge(
    name: str, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    base = write_base(tmp_path / "base", tiny_tokenizer, tied=True)
    settings = {
        "lora": METHODS["lora"],
        "tied": LoraConfig(r=4, target_modules=TARGETS, modules_to_save=WHOLE, ensure_weight_tying=True),
        "untied": METHODS["whole"],
        "embeddings": LoraConfig(r=4, target_modules=TARGETS, modules_to_save=["embed_tokens"]),
    }
    adapter = write_adapter(base, tmp_path / "adapter", settings[name])
    out = write_result(open_folder(adapter), tmp_path / "out")
    found, wanted = load_state(out), merge_by_peft(base, adapter)
    assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []
    told = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert told["tie_word_embeddings"] is (name in ("lora", "tied"))
    assert ("lm_head.weight" in WeightFiles(out).forms) is (name not in ("lora", "tied"))


def test_new_tokens_of_an_adapter_are_carried(tmp_path: Path, base: Path, tiny_tokenizer: Any) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    rows = len(tiny_tokenizer) + 8
    model.resize_token_embeddings(rows, mean_resizing=False)
    settings = LoraConfig(r=4, target_modules=TARGETS, modules_to_save=WHOLE)
    get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    out = write_result(open_folder(tmp_path / "adapter"), tmp_path / "out")
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["vocab_size"] == rows
    assert load_state(out)["model.embed_tokens.weight"].shape[0] == rows


def test_what_cannot_be_merged_says_what_to_do_instead(tmp_path: Path, base: Path) -> None:
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    adapter = write_adapter(base, tmp_path / "adapter", settings)
    with pytest.raises(ModelError, match="cannot be merged") as caught:
        open_folder(adapter)
    assert "--to adapter" in str(caught.value.hint)


def test_a_damaged_base_is_named(tmp_path: Path, tiny_tokenizer: Any) -> None:
    base = write_base(tmp_path / "base", tiny_tokenizer)
    adapter = write_adapter(base, tmp_path / "adapter", METHODS["lora"])
    shard = sorted(base.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ModelError, match=shard.name):
        open_folder(adapter)


_MEASURED = """
import sys, resource
from pathlib import Path
from tests.core.exporting.adapters import open_folder, write_result
write_result(open_folder(Path(sys.argv[3])), Path(sys.argv[2]).with_name("warm"))  # what is imported once
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_result(open_folder(Path(sys.argv[1])), Path(sys.argv[2]), 10**9)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_merge_needs_the_memory_of_a_few_tensors(tmp_path: Path, tiny_tokenizer: Any, base: Path) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=1024, intermediate_size=3072, num_hidden_layers=9,
        num_attention_heads=8, num_key_value_heads=8,
    )  # fmt: skip
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = empty.to_empty(device="cpu")
    model.save_pretrained(tmp_path / "base", max_shard_size="30MB")
    tiny_tokenizer.save_pretrained(tmp_path / "base")
    get_peft_model(model, LoraConfig(r=8, target_modules=TARGETS)).save_pretrained(tmp_path / "adapter")
    told = tmp_path / "adapter" / "adapter_config.json"
    values = json.loads(told.read_text(encoding="utf-8"))
    told.write_text(
        json.dumps({**values, "base_model_name_or_path": str(tmp_path / "base")}), encoding="utf-8"
    )
    del model, empty
    warm = write_adapter(base, tmp_path / "small", METHODS["lora"])
    done = subprocess.run(
        [sys.executable, "-P", "-c", _MEASURED, str(tmp_path / "adapter"), str(tmp_path / "out"), str(warm)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    grown = int(done.stdout.split()[-1]) << 10
    whole = sum(path.stat().st_size for path in (tmp_path / "base").glob("*.safetensors"))
    adapter = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    largest = WeightFiles(tmp_path / "base").largest_shard
    assert whole > 200 << 20
    assert grown <= largest + adapter + (100 << 20), f"{grown >> 20} MiB of a model of {whole >> 20}"
