"""Adapters of peft with trained-looking weights, and what peft itself makes of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from tui_tuner.exporting.merging.result import Result, open_result
from tui_tuner.exporting.merging.shard_writer import write_shards
from tui_tuner.exporting.source import open_source
from tui_tuner.inference.origin import find_origin
from tui_tuner.runs.store import RunStore

TARGETS = ["q_proj", "v_proj", "down_proj"]
# Parameters that begin as 1 or as a length: numbers are added to what they are
_AROUND = ("vera", "ia3", "magnitude", "ln_tuning", "modules_to_save", "oft", "boft")


def write_base(folder: Path, tokenizer: Any, dtype: torch.dtype = torch.bfloat16, tied: bool = False) -> Path:
    """A random Llama in several files."""
    from transformers import LlamaConfig

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder, max_shard_size="60KB")
    tokenizer.save_pretrained(folder)
    return folder


def write_adapter(base: Path, folder: Path, settings: Any, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Save an adapter of these settings as peft does, with weights that change something."""
    torch.manual_seed(2)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=dtype), copy.deepcopy(settings))
    for name, one in model.named_parameters():
        if one.requires_grad:
            before = one.data if any(part in name for part in _AROUND) else 0
            one.data = torch.randn_like(one) * 0.05 + before
    model.save_pretrained(folder)
    return folder


def merge_by_peft(base: Path, adapter: Path, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    return dict(PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict())


def open_folder(folder: Path, **more: Any) -> Result:
    return open_result(open_source(find_origin(str(folder), RunStore(folder.parent / "no-runs"), **more)))


def write_result(result: Result, folder: Path, most: int = 60_000) -> Path:
    folder.mkdir()
    write_shards(result.tensors, folder, most)
    result.write_small_files(folder)
    return folder


def load_state(folder: Path, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).state_dict())
