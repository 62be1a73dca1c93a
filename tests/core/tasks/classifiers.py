"""What tests of classification share: small encoders and decoders with random weights, and rows for them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

WORDS = [f"word{number}" for number in range(60)]
TELLING = ("lovely", "dreadful", "middling")


def word_tokenizer(**more: Any) -> Any:
    """A WordPiece tokenizer with [CLS] and [SEP], and token types for pairs."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    known = {word: number for number, word in enumerate([*special, *WORDS, *TELLING, "."])}
    tokenizer = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    gives = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="[MASK]", model_input_names=gives, **{**names, **more}
    )


def plain_tokenizer() -> Any:
    """The same words without any special token: no padding, no beginning, no end."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {word: number for number, word in enumerate(["<unk>", *WORDS, *TELLING, "."])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def sizes(kind: str) -> dict[str, Any]:
    """A small config of this type of model, with weights so large that leaks between texts would show."""
    common: dict[str, Any] = {
        "vocab_size": 80,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 80,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "initializer_range": 0.25,
    }
    own: dict[str, dict[str, Any]] = {
        "distilbert": {
            "dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 80,
            "max_position_embeddings": 80, "pad_token_id": 0, "initializer_range": 0.25,
        },
        "gpt2": {
            "n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 80, "vocab_size": 80,
            "bos_token_id": 2, "eos_token_id": 3, "initializer_range": 0.25,
        },
    }  # fmt: skip
    more: dict[str, dict[str, Any]] = {
        "roberta": {"type_vocab_size": 1},
        "albert": {"embedding_size": 16},
        "electra": {"embedding_size": 16},
        "modernbert": {
            "classifier_pooling": "mean", "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3,
        },
        "deberta-v2": {
            "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8,
            "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
        },
        "llama": {"num_key_value_heads": 1},
        "qwen3": {"num_key_value_heads": 1, "head_dim": 12},
    }  # fmt: skip
    return own.get(kind) or {**common, **more.get(kind, {})}


def make_model(folder: Path, kind: str, auto_class: str, tokenizer: Any = None, **more: Any) -> Path:
    """A folder with a model of this type, of the class that `auto_class` makes, and a tokenizer."""
    import transformers

    torch.manual_seed(0)
    settings = transformers.AutoConfig.for_model(kind, **{**sizes(kind), **more})
    getattr(transformers, auto_class).from_config(settings).save_pretrained(folder)
    (tokenizer or word_tokenizer()).save_pretrained(folder)
    return folder


def labelled_rows(
    count: int, labels: tuple[Any, ...] = ("bad", "good"), seed: int = 0
) -> list[dict[str, Any]]:
    """Texts of very different length; a word in each tells its label."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        words = [chance.choice(WORDS) for _ in range(chance.choice((2, 3, 5, 8, 40)))]
        words.insert(chance.randrange(len(words) + 1), TELLING[number % len(labels)])
        rows.append({"text": " ".join(words), "label": labels[number % len(labels)]})
    return rows
