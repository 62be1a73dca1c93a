"""Programs that train a classifier on the same rows, each in a process: `task_peers.py NAME FOLDER OPTIONS`.

What is counted as supervised are examples: each has one label.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from peers import Job, Measured, Meter, _callback, measure_peer, our_run  # noqa: E402

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CLASSES = 2


@dataclass(frozen=True)
class Shape:
    """Sizes of the encoder, of the texts and of a step.

    Args:
        mean: Mean length of a text in tokens before it is cut at `max_length`; log-normal with `spread`. Film
            reviews have a mean of 230 words, and a spread of 0.6.
        batch: Texts in an optimizer step; also the micro-batch.
    """

    hidden: int = 512
    layers: int = 8
    heads: int = 8
    intermediate: int = 2048
    vocabulary: int = 8192
    rank: int = 8
    texts: int = 1024
    mean: float = 180.0
    spread: float = 0.8
    max_length: int = 512
    batch: int = 16
    dropout: float = 0.1
    seed: int = 0


def make(folder: Path, shape: Shape) -> None:
    """Write an encoder, its tokenizer and `texts.jsonl` into a folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task_shape.json").write_text(json.dumps(asdict(shape)), encoding="utf-8")
    words = [f"w{number}" for number in range(shape.vocabulary - len(SPECIAL))]
    tokenizer = Tokenizer(
        models.WordLevel({name: place for place, name in enumerate([*SPECIAL, *words])}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder / "model")
    torch.manual_seed(shape.seed)
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
    )
    BertModel(config).save_pretrained(folder / "model")
    generator = np.random.default_rng(shape.seed)
    location = np.log(shape.mean) - shape.spread**2 / 2
    with open(folder / "texts.jsonl", "w", encoding="utf-8") as file:
        for length in generator.lognormal(location, shape.spread, shape.texts):
            text = " ".join(generator.choice(words, int(np.clip(length, 8, shape.max_length - 2))))
            file.write(json.dumps({"text": text, "label": int(generator.integers(CLASSES))}) + "\n")


def shape_of(folder: Path) -> Shape:
    return Shape(**json.loads((folder / "task_shape.json").read_text(encoding="utf-8")))


def hf_padded(job: Job, full: bool = False) -> Measured:
    """Hugging Face Trainer with DataCollatorWithPadding: each batch is padded to its longest text."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    meter, shape = Meter(job), shape_of(job.folder)
    tokenizer = AutoTokenizer.from_pretrained(str(job.folder / "model"))
    rows = [json.loads(line) for line in (job.folder / "texts.jsonl").read_text("utf-8").splitlines()]
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=shape.max_length)
    columns = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
    data = Dataset.from_dict(columns | {"labels": [row["label"] for row in rows]})
    model = AutoModelForSequenceClassification.from_pretrained(str(job.folder / "model"), num_labels=CLASSES)
    if not full:
        from peft import LoraConfig, get_peft_model

        names = ["query", "key", "value", "dense"]
        settings = LoraConfig(
            r=shape.rank,
            lora_alpha=2 * shape.rank,
            target_modules=names,
            exclude_modules=["bert.pooler.dense"],
            task_type="SEQ_CLS",
        )
        model = get_peft_model(model, settings)
    arguments = TrainingArguments(
        output_dir=str(job.folder / "peers"),
        per_device_train_batch_size=shape.batch,
        max_steps=job.steps,
        learning_rate=1e-4,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[_callback(meter)],
    )
    inner = trainer.training_step

    def training_step(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        meter.batch(len(inputs["labels"]), int(inputs["attention_mask"].sum()))
        return inner(model, inputs, *args, **kwargs)

    trainer.training_step = training_step
    trainer.train()
    return meter.result()


def hf_padded_full(job: Job) -> Measured:
    """The same with every weight trained."""
    return hf_padded(job, full=True)


def ours(job: Job, full: bool = False) -> Measured:
    """A whole run of tui-tuner: journal, heartbeat, commands, reports."""
    shape = shape_of(job.folder)
    method = (
        {"kind": "full"}
        if full
        else {"kind": "lora", "rank": shape.rank, "alpha": 2 * shape.rank, "dropout": 0.0}
    )
    values = {
        "task": "classification",
        "model": {"name": str(job.folder / "model"), "dtype": job.dtype},
        "data": {
            "path": str(job.folder / "texts.jsonl"),
            "validation": None,
            "max_length": shape.max_length,
            "workers": 1,
            "preflight": "warn",
        },
        "method": method,
        "training": {
            "max_steps": job.steps,
            "batch_size": shape.batch,
            "micro_batch": shape.batch,
            "learning_rate": 1e-4,
            "gradient_checkpointing": False,
            "optimizer": "adamw",
            "autocast": False,
            "seed": shape.seed,
        },
        "evaluation": {"samples": 0, "every": None},
        "output": {"folder": str(job.folder / "runs"), "save_every": None},
        "hardware": {"devices": "cpu"},
    }
    return our_run(job, values, lambda result: (len(result.rows), result.tokens))


def ours_full(job: Job) -> Measured:
    """The same with every weight trained."""
    return ours(job, full=True)


PEERS: dict[str, Callable[[Job], Measured]] = {
    "hf_padded": hf_padded,
    "hf_padded_full": hf_padded_full,
    "ours": ours,
    "ours_full": ours_full,
}


if __name__ == "__main__":
    measure_peer(PEERS)
