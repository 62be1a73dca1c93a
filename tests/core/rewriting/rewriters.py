"""Small models with an encoder and a decoder, made on the spot, and rows for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tui_tuner.compute.rows.decoder_layout import SOURCE
from tui_tuner.data.records import IGNORE, Example

VOCABULARY = 60
SIDES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "vocab_size": VOCABULARY,
}
T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "dropout_rate": 0.0,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
}
KINDS: dict[str, dict[str, Any]] = {
    "t5": T5,
    "mt5": {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "bart": SIDES,
    "mbart": SIDES,
    "pegasus": {**SIDES, "decoder_start_token_id": 1},
    "marian": {**SIDES, "decoder_start_token_id": 1},
    "m2m_100": SIDES,
}


def make_rewriter(kind: str, **more: Any) -> Any:
    """A model with random weights, in training mode."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, **KINDS[kind] | more))
    # Biases of logits are buffers that begin at zero: other values show whether they are used.
    bias = getattr(model, "final_logits_bias", None)
    if bias is not None:
        bias.normal_()
    return model.train()


class RewritingRows:
    """Sources and targets of unequal length, each target ending with eos."""

    def __init__(self, sides: list[tuple[int, int]]) -> None:
        random = np.random.default_rng(0)
        self.examples = []
        for source, target in sides:
            ids = random.integers(3, VOCABULARY, source + target).astype(np.int32)
            ids[source - 1] = ids[-1] = 2
            labels = ids.copy()
            labels[:source] = IGNORE
            self.examples.append(Example(ids, labels, {SOURCE: source}))
        self.lengths = np.array([len(example) for example in self.examples])
        self.trained_tokens = np.array([example.trained_tokens for example in self.examples])

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


def collate(rows: RewritingRows, chosen: list[int], pad: int) -> dict[str, torch.Tensor]:
    """What DataCollatorForSeq2Seq gives for these rows: sources padded, labels padded with -100."""
    parts = [rows[row] for row in chosen]
    sources = [torch.tensor(part.ids[: part.columns[SOURCE]].astype(np.int64)) for part in parts]
    targets = [torch.tensor(part.ids[part.columns[SOURCE] :].astype(np.int64)) for part in parts]
    padded = torch.nn.utils.rnn.pad_sequence(sources, batch_first=True, padding_value=pad)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in sources], batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORE)
    return {"input_ids": padded, "attention_mask": mask, "labels": labels}


def save_rewriter(folder: Path, kind: str, tokenizer: Any, **more: Any) -> Path:
    """A folder with such a model for this tokenizer."""
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    start = {"decoder_start_token_id": tokenizer.pad_token_id}
    model = make_rewriter(kind, **{**ids, **start, "vocab_size": len(tokenizer), **more})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
