"""Random models of real shapes, a tokenizer, and chats of log-normal length: what every program trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gpu.cases import SHAPES

SPECIAL = ["<|pad|>", "<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "system", "user", "assistant"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|> ' + message['role'] + ' ' + message['content'] "
    "+ ' <|im_end|> ' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|> assistant ' }}{% endif %}"
)
SHARD = 4 << 30  # bytes
BLOCK = 1 << 24  # random numbers that all weights are made of


def make(folder: Path, name: str, chats: int) -> None:
    """Write what is not there yet: the model in bfloat16, and the chats, once as messages, once as text."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"w{number}" for number in range(min(16_000, SHAPES[name]["vocab_size"] - 100))]
    if not (folder / "chats.jsonl").is_file():
        _write_chats(folder, words[: 1000 if name == "tiny" else None], chats)
    if not (folder / name / "done").is_file():
        _write_tokenizer(folder / name, words)
        _write_model(folder / name, SHAPES[name])
        (folder / name / "done").touch()


def _write_chats(folder: Path, words: list[str], count: int) -> None:
    draw, mean, spread = np.random.default_rng(0), 300.0, 0.7
    sizes = np.clip(draw.lognormal(np.log(mean) - spread**2 / 2, spread, count), 24, 2000).astype(int)
    with open(folder / "chats.jsonl", "w") as chats, open(folder / "text.jsonl", "w") as texts:
        for size in sizes:
            answer = max(2, int(size * 0.5))
            said = [
                ("user", " ".join(draw.choice(words, max(2, int(size) - answer - 8)))),
                ("assistant", " ".join(draw.choice(words, answer))),
            ]
            turns = [{"role": role, "content": content} for role, content in said]
            chats.write(json.dumps({"messages": turns}) + "\n")
            text = "".join(f"<|im_start|> {role} {content} <|im_end|> " for role, content in said)
            texts.write(json.dumps({"text": text}) + "\n")


def _write_tokenizer(folder: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {name: number for number, name in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(ids, SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[3],
        additional_special_tokens=[SPECIAL[2]],
    )
    whole.chat_template = CHATML
    whole.save_pretrained(folder)


def _write_model(folder: Path, shape: dict[str, Any]) -> None:
    """Weights are cut from one block of random numbers: seconds, where drawing them takes a minute."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    rope = {"rope_type": "default", "rope_theta": 500000.0}
    tokens = {"bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}
    config = LlamaConfig(**shape, max_position_embeddings=8192, rope_parameters=rope, **tokens)
    config.dtype, config.architectures = "bfloat16", ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    largest = max(one.numel() for one in model.parameters())
    drawn = torch.randn(min(BLOCK, largest), generator=torch.Generator().manual_seed(0))
    block = (0.02 * drawn).to(torch.bfloat16)
    shards: list[list[str]] = [[]]
    sizes = {name: one.shape for name, one in model.named_parameters()}
    held = 0
    for name, size in sizes.items():
        if held and held + 2 * size.numel() > SHARD:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += 2 * size.numel()
    places, total = {}, 0
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: _cut(block, sizes[name]) for name in names}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(names, file)
        total += sum(2 * sizes[name].numel() for name in names)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _cut(block: Any, size: Any) -> Any:
    import torch

    if len(size) == 1:
        return torch.ones(size, dtype=block.dtype)
    count = size.numel()
    return block.repeat(-(-count // block.numel()))[:count].view(size).clone()
