"""Questions about made-up texts, as SQuAD publishes them; and a small BERT that can learn to answer them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

CITIES = ("Rome", "Paris", "Oslo", "Lima", "Cairo", "Delhi", "Quito", "Tunis")
NOISE = ("it", "rains", "we", "walk", "along", "and", "then", "home")


def articles(count: int, seed: int, unanswered: bool) -> list[dict[str, Any]]:
    """Texts that name a city among other words, or none at all; each is asked about once or twice."""
    random_ = random.Random(seed)
    paragraphs = []
    for number in range(count):
        city = None if unanswered and number % 3 == 0 else random_.choice(CITIES)
        words = random_.choices(NOISE, k=random_.randint(4, 30))
        if city:
            words.insert(random_.randrange(len(words) + 1), city)
        context = " ".join(words)
        questions = []
        for asked in ("which city ?", "which city then ?")[: 1 + number % 2]:
            answers = [] if city is None else [{"text": city, "answer_start": context.index(city)}]
            item = {"id": f"{seed}-{number}-{len(asked)}", "question": asked, "answers": answers}
            if unanswered:
                item["is_impossible"] = city is None
                item |= {} if city else {"plausible_answers": [{"text": words[0], "answer_start": 0}]}
            questions.append(item)
        paragraphs.append({"context": context, "qas": questions})
    return [{"title": "made up", "paragraphs": paragraphs[place::4]} for place in range(4)]


def write_squad(path: Path, count: int, seed: int = 0, unanswered: bool = True) -> Path:
    """A file as SQuAD publishes it: version 2.0, or 1.1 where every question has an answer."""
    version = "v2.0" if unanswered else "1.1"
    made = {"version": version, "data": articles(count, seed, unanswered)}
    path.write_text(json.dumps(made), encoding="utf-8")
    return path


def write_bert(folder: Path, hidden: int = 48) -> Path:
    """A BERT with random weights, whose tokens are the words of the texts and their letters."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer = word_pieces()
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
    size = {"vocab_size": len(tokenizer), "hidden_size": hidden, "intermediate_size": 2 * hidden}
    config = BertConfig(**size, **shape, initializer_range=0.1)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def word_pieces() -> Any:
    """BERT's kind of tokenizer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [word.lower() for word in (*CITIES, *NOISE, "which", "city", "?", ".")]
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{one}" for one in letters)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(names))}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]",
        "[CLS] $A [SEP] $B:1 [SEP]:1",
        [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
