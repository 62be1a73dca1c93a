"""Made-up sentences with names in them, and small models that can learn to find those."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

TAGS = ["O", "B-LOC", "B-PER", "I-PER"]
FIRST, LAST, PLACES = ["Anna", "Ben", "Clara", "Dora"], ["Meyer", "Smith", "Jones"], ["Paris", "Rome", "Oslo"]
PIECES = ["the", "went", "home", ".", "anna", "ben", "cl", "##ara", "dora", "mey", "##er", "smith", "jones"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PIECES, "paris", "ro", "##me", "oslo"]
Sentence = tuple[list[str], list[str]]


def sentences(count: int, seed: int = 0, longest: int = 3) -> list[Sentence]:
    """Rows of words and their tags: who went home, and where that is."""
    draw = random.Random(seed)
    found = []
    for _row in range(count):
        words: list[str] = []
        tags: list[str] = []
        for _part in range(draw.randint(1, longest)):
            if draw.random() < 0.5:
                name, label = [draw.choice(FIRST), draw.choice(LAST)], ["B-PER", "I-PER"]
            else:
                name, label = [draw.choice(PLACES)], ["B-LOC"]
            words += ["the", *name, "went", "home", "."]
            tags += ["O", *label, "O", "O", "O"]
        found.append((words, tags))
    return found


def write_rows(path: Path, rows: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> Path:
    """JSONL with the columns of the hub's sets."""
    lines = [json.dumps({"tokens": list(words), "ner_tags": list(tags)}) for words, tags in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def small_tokenizer() -> Any:
    """WordPiece with the words of `sentences`."""
    from transformers import BertTokenizer

    return BertTokenizer(vocab={token: number for number, token in enumerate(VOCABULARY)})


def small_bert(folder: Path, tags: Sequence[str] = ()) -> Path:
    """A small BERT with random weights; with the head of a tagger, if it is given tags."""
    from transformers import BertConfig, BertForMaskedLM, BertForTokenClassification

    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    model: Any = BertForMaskedLM(config)
    if tags:
        config.id2label, config.label2id = dict(enumerate(tags)), {tag: n for n, tag in enumerate(tags)}
        model = BertForTokenClassification(config)
    model.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)
    return folder
