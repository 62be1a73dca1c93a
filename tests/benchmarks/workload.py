"""What is trained in the benchmarks: a random Llama, a tokenizer and synthetic chats of known lengths.

The rows go through our own data preparation once; every program trains on exactly those tokens and that mask.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|> ' + message['role'] + ' ' + message['content'] + ' <|im_end|> ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|> assistant ' }}{% endif %}"
)
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "system", "user", "assistant")
OVERHEAD = 6  # tokens of the template in a chat of two turns
SYSTEM_OVERHEAD = 3


@dataclass(frozen=True)
class Shape:
    """Sizes of the model, of the chats and of a step.

    Args:
        mean: Mean length of a chat in tokens, without `shared`; log-normal with `spread`.
        supervised: Share of the tokens that is trained.
        shared: Tokens of a system prompt that all chats begin with; 0 is none.
        batch: Chats in an optimizer step; also the micro-batch.
    """

    hidden: int = 384
    layers: int = 12
    heads: int = 6
    kv_heads: int = 6
    intermediate: int = 1024
    vocabulary: int = 16384
    rank: int = 8
    chats: int = 2048
    mean: float = 150.0
    spread: float = 0.7
    supervised: float = 0.4
    shared: int = 0
    max_length: int = 1024
    batch: int = 8
    seed: int = 0


def make(folder: Path, shape: Shape) -> None:
    """Write the model, its tokenizer and `chats.jsonl` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shape.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")
    _model(folder / "model", shape)
    generator = np.random.default_rng(shape.seed)
    words = [f"w{number}" for number in range(shape.vocabulary - len(SPECIAL))]
    system = " ".join(generator.choice(words, shape.shared)) if shape.shared else ""
    with open(folder / "chats.jsonl", "w", encoding="utf-8") as file:
        for length in lengths(shape, generator):
            answer = max(2, round(length * shape.supervised) - 1)
            question = max(2, length - answer - OVERHEAD)
            turns = [
                {"role": "user", "content": " ".join(generator.choice(words, question))},
                {"role": "assistant", "content": " ".join(generator.choice(words, answer))},
            ]
            if system:
                turns.insert(0, {"role": "system", "content": system})
            file.write(json.dumps({"messages": turns}) + "\n")


def lengths(shape: Shape, generator: np.random.Generator) -> list[int]:
    """Lengths of the chats in tokens, log-normal around the mean and cut at the longest allowed."""
    location = np.log(shape.mean) - shape.spread**2 / 2
    drawn = generator.lognormal(location, shape.spread, shape.chats)
    longest = shape.max_length - shape.shared - SYSTEM_OVERHEAD
    return [int(length) for length in np.clip(drawn, 16, longest)]


def _model(folder: Path, shape: Shape) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = [*SPECIAL, *(f"w{number}" for number in range(shape.vocabulary - len(SPECIAL)))]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, SPECIAL[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    wrapped.chat_template = CHATML
    wrapped.save_pretrained(folder)
    torch.manual_seed(shape.seed)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=wrapped.eos_token_id,
        pad_token_id=wrapped.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def shape_of(folder: Path) -> Shape:
    return Shape(**json.loads((folder / "shape.json").read_text(encoding="utf-8")))


def run_values(folder: Path, steps: int, dtype: str = "float32") -> dict[str, Any]:
    """The values of a `RunConfig` that trains LoRA on the chats."""
    shape = shape_of(folder)
    return {
        "model": {"name": str(folder / "model"), "dtype": dtype},
        "data": {
            "path": str(folder / "chats.jsonl"),
            "validation": None,
            "max_length": shape.max_length,
            "workers": 1,
            "preflight": "warn",
        },
        "method": {"kind": "lora", "rank": shape.rank, "alpha": 2 * shape.rank},
        "training": {
            "max_steps": steps,
            "batch_size": shape.batch,
            "micro_batch": shape.batch,
            "learning_rate": 1e-4,
            "gradient_checkpointing": False,
            "optimizer": "adamw",
            "autocast": dtype != "float32",
            "seed": shape.seed,
        },
        "evaluation": {"samples": 0, "every": None},
        "output": {"folder": str(folder / "runs"), "save_every": None},
        "hardware": {"devices": "cpu"},
    }


def prepare_rows(folder: Path) -> None:
    """Tokenise the chats with our own data preparation and write `rows.npz` for the other programs."""
    from tui_tuner.config.load import build_config
    from tui_tuner.data.examples.prepare import prepare_examples
    from tui_tuner.data.records import make_next_token_mask
    from tui_tuner.models.loading import load_tokenizer
    from tui_tuner.tasks import find_task

    config = build_config(run_values(folder, 1))
    tokenizer, task = load_tokenizer(config.model), find_task(config.task)
    rows = prepare_examples(config, tokenizer, task, cache_dir=folder / "tokens").train
    examples = [rows[place] for place in range(len(rows))]
    np.savez(
        folder / "rows.npz",
        lengths=rows.lengths,
        ids=np.concatenate([example.ids for example in examples]),
        trained=np.concatenate([make_next_token_mask(example.labels) for example in examples]),
    )


class StoredRows:
    """The rows of `rows.npz`: `rows[i]` is (ids int32, trained bool)."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "rows.npz") as stored:
            self.lengths, self._ids, self._trained = stored["lengths"], stored["ids"], stored["trained"]
        self._bounds = np.concatenate([[0], np.cumsum(self.lengths)])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        place = slice(self._bounds[index], self._bounds[index + 1])
        return self._ids[place], self._trained[place]
