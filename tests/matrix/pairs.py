"""Every pair of a task and a method, on models so small that a run takes a second."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fusable import make_adapters

STEPS = 16
NAMES = ("Anna", "Boris", "Clara", "David", "Emma", "Felix")
PLACES = ("Berlin", "Paris", "London", "Oslo", "Rome", "Madrid")
GOOD = ("lovely", "warm", "great", "fine")
BAD = ("dull", "cold", "awful", "poor")
FILLER = ("the", "film", "was", "in", "a", "very", "and", "lives", "works", "Where", "does", "live", "?", ".")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "user", "assistant")

# The class that two adapters to fuse are made for; those of an encoder serve each of its tasks
BASE_CLASSES = {
    "encoder": "AutoModelForTokenClassification",
    "decoder": "AutoModelForCausalLM",
    "t5": "AutoModelForSeq2SeqLM",
    "bart": "AutoModelForSeq2SeqLM",
}
# What each method needs beside its name, and a rate at which so few steps show that it learns
METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "lora": ({"rank": 4}, 0.005),
    "dora": ({"rank": 4}, 0.005),
    "rslora": ({"rank": 4}, 0.003),
    "adalora": ({"rank": 6, "final_rank": 4}, 0.01),
    "full": ({}, 0.003),
    "freeze": ({"layers": 1}, 0.005),
    "loha": ({"rank": 4}, 0.02),
    "lokr": ({"rank": 4}, 0.03),
    "ln_tuning": ({}, 0.05),
    "oft": ({"rotation_block": 8}, 0.02),
    "boft": ({}, 0.02),
    "fourierft": ({"frequencies": 100}, 0.3),
    "randlora": ({"rank": 8}, 0.005),
    "vera": ({"rank": 32}, 0.03),
    "ia3": ({}, 0.05),
    "prompt_tuning": ({"virtual_tokens": 4}, 0.05),
    "p_tuning": ({"virtual_tokens": 4}, 0.01),
    "prefix_tuning": ({"virtual_tokens": 4}, 0.05),
    "p_tuning_v2": ({"virtual_tokens": 4}, 0.05),
    "bottleneck": ({"reduction": 2}, 0.02),
    "fusion": ({"adapters": ["adapter-0", "adapter-1"]}, 0.01),
}


@dataclass(frozen=True)
class Work:
    """A task on a kind of model.

    Args:
        auto_class: The class of transformers that loads the model.
        rows: Makes the rows.
        values: More of the config.
    """

    task: str
    model: str
    auto_class: str
    rows: Callable[[], list[dict[str, Any]]]
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.task}-{self.model}"


def chats() -> list[dict[str, Any]]:
    draw = random.Random(1)
    found = []
    for _unused in range(48):
        name, place = draw.choice(NAMES), draw.choice(PLACES)
        more = " ".join(draw.choices(FILLER, k=draw.randrange(6)))
        found.append({"prompt": f"Where does {name} live ? {more}", "response": f"{name} lives in {place} ."})
    return found


def texts() -> list[dict[str, Any]]:
    return [{"text": f"{row['prompt']} {row['response']}"} for row in chats()]


def reviews() -> list[dict[str, Any]]:
    draw = random.Random(2)
    found = []
    for number in range(48):
        words = draw.choices(GOOD if number % 2 else BAD, k=3) + draw.choices(FILLER, k=draw.randrange(3, 12))
        draw.shuffle(words)
        found.append({"text": " ".join(words), "label": "good" if number % 2 else "bad"})
    return found


def sentences() -> list[dict[str, Any]]:
    draw = random.Random(3)
    found = []
    for _unused in range(48):
        words = [draw.choice(NAMES), "lives", "in", draw.choice(PLACES), "."]
        tags = ["B-PER", "O", "O", "B-LOC", "O"]
        more = draw.choices(FILLER, k=draw.randrange(8))
        found.append({"tokens": [*words, *more], "tags": [*tags, *("O" for _more in more)]})
    return found


def questions() -> list[dict[str, Any]]:
    draw = random.Random(4)
    found = []
    for number in range(48):
        name, place = draw.choice(NAMES), draw.choice(PLACES)
        before = " ".join(draw.choices(FILLER, k=draw.randrange(6)))
        text = f"{before} {name} lives in {place} .".strip()
        answers = {"text": [place], "answer_start": [text.index(place)]}
        found.append(
            {"id": str(number), "question": f"Where does {name} live ?", "context": text, "answers": answers}
        )
    return found


STRIDE = {"data": {"stride": 8}}
MASKED = {"data": {"masking": {"share": 0.5}}}  # with fewer, the loss of a step says little
BOTH_SIDES = {"data": {"max_source": 32, "max_target": 16}}

WORK = {
    work.name: work
    for work in (
        Work("sft", "decoder", "AutoModelForCausalLM", chats),
        Work("pretraining", "decoder", "AutoModelForCausalLM", texts),
        Work("classification", "encoder", "AutoModelForSequenceClassification", reviews),
        Work("classification", "decoder", "AutoModelForSequenceClassification", reviews),
        Work("token_classification", "encoder", "AutoModelForTokenClassification", sentences),
        Work("token_classification", "decoder", "AutoModelForTokenClassification", sentences),
        Work("question_answering", "encoder", "AutoModelForQuestionAnswering", questions, STRIDE),
        Work("question_answering", "decoder", "AutoModelForQuestionAnswering", questions, STRIDE),
        Work("masked_lm", "encoder", "AutoModelForMaskedLM", texts, MASKED),
        Work("seq2seq", "t5", "AutoModelForSeq2SeqLM", chats, BOTH_SIDES),
        Work("seq2seq", "bart", "AutoModelForSeq2SeqLM", chats, BOTH_SIDES),
    )
}


def make_models(folder: Path) -> None:
    """Random models of each kind, with one vocabulary of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        BertConfig,
        BertForMaskedLM,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    words = dict.fromkeys((*SPECIAL, *NAMES, *PLACES, *GOOD, *BAD, *FILLER))
    vocabulary = {word: number for number, word in enumerate(words)}
    for kind in ("encoder", "decoder", "t5", "bart"):
        tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        if kind == "encoder":
            ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
            tokenizer.post_processor = processors.TemplateProcessing(
                "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends
            )
        elif kind != "decoder":
            tokenizer.post_processor = processors.TemplateProcessing(
                "$A [SEP]", special_tokens=[("[SEP]", vocabulary["[SEP]"])]
            )
        wrapped = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="[PAD]",
            unk_token="[UNK]",
            eos_token="[SEP]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
        )
        sizes = {
            "vocab_size": len(vocabulary),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "pad_token_id": 0,
            "initializer_range": 0.2,  # so that states differ by what is read, as those of a trained model do
        }
        torch.manual_seed(0)
        if kind == "encoder":
            model: Any = BertForMaskedLM(BertConfig(**sizes, max_position_embeddings=128))
        elif kind == "t5":
            model = T5ForConditionalGeneration(
                T5Config(
                    vocab_size=len(vocabulary),
                    d_model=32,
                    d_kv=8,
                    d_ff=64,
                    num_layers=2,
                    num_heads=4,
                    pad_token_id=0,
                    eos_token_id=3,
                    decoder_start_token_id=0,
                    feed_forward_proj="gated-gelu",
                    tie_word_embeddings=False,
                )
            )
        elif kind == "bart":
            model = BartForConditionalGeneration(
                BartConfig(
                    vocab_size=len(vocabulary),
                    d_model=32,
                    encoder_ffn_dim=64,
                    decoder_ffn_dim=64,
                    encoder_layers=2,
                    decoder_layers=2,
                    encoder_attention_heads=4,
                    decoder_attention_heads=4,
                    max_position_embeddings=64,
                    pad_token_id=0,
                    bos_token_id=2,
                    eos_token_id=3,
                    decoder_start_token_id=3,
                    forced_eos_token_id=3,
                    init_std=0.2,
                )
            )
        else:
            model = LlamaForCausalLM(
                LlamaConfig(**sizes, num_key_value_heads=2, eos_token_id=3, bos_token_id=None)
            )
        model.save_pretrained(folder / kind)
        wrapped.save_pretrained(folder / kind)
        make_adapters(str(folder / kind), folder / "adapters" / kind, auto_class=BASE_CLASSES[kind])


def write_rows(folder: Path) -> None:
    for work in WORK.values():
        text = "".join(json.dumps(row) + "\n" for row in work.rows())
        (folder / f"{work.task}.jsonl").write_text(text, encoding="utf-8")


def values_of(work: Work, method: str, folder: Path) -> dict[str, Any]:
    """The values of a config for this pair."""
    fields, rate = METHODS[method]
    if "adapters" in fields:  # of the same model, written by `make_models`
        fields = {"adapters": [str(folder / "adapters" / work.model / name) for name in fields["adapters"]]}
    values: dict[str, Any] = {
        "task": work.task,
        "model": {"name": str(folder / work.model), "dtype": "float32"},
        "data": {
            "path": str(folder / f"{work.task}.jsonl"),
            "validation": 0.2,
            "max_length": 48,
            "workers": 1,
            "preflight": "warn",
        },
        "method": {"kind": method, **fields},
        "training": {
            "max_steps": STEPS,
            "batch_size": 8,
            "micro_batch": 4,
            "learning_rate": rate,
            "schedule": "constant",
            "autocast": False,
            "report_every": 1e-6,
        },
        "evaluation": {"samples": 0, "every": 6},
        "output": {"folder": str(folder / "runs" / f"{work.name}-{method}"), "save_every": 2},
        "hardware": {"devices": "cpu"},
    }
    for section, more in work.values.items():
        values[section] |= more
    return values
