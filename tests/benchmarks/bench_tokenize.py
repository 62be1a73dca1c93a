"""Data preparation against the tokenizer's own batch call on the same texts, on all cores.

Two questions, kept apart. *Tokenising*: rendered texts to ids and loss mask, by the code that a run uses,
against the batch call that gives ids alone. *All of it*: from the file to the finished cache (reading,
recognising, rendering, tokenising, masking, counting, storing), which the batch call does not do.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
os.environ["TOKENIZERS_PARALLELISM"] = "true"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
from side_by_side import Claim, judge, machine, table  # noqa: E402

from tui_tuner.config.load import build_config  # noqa: E402
from tui_tuner.data.chat.template_choice import choose_template  # noqa: E402
from tui_tuner.data.examples.prepare import is_batch_full, prepare_examples  # noqa: E402
from tui_tuner.data.examples.record_encoder import RecordEncoder  # noqa: E402
from tui_tuner.data.examples.workers import encode_batches_in_order  # noqa: E402
from tui_tuner.data.read_data import DataReading  # noqa: E402
from tui_tuner.data.records import list_record_texts  # noqa: E402
from tui_tuner.models.tokenizer_training import train_tokenizer  # noqa: E402
from tui_tuner.tasks import find_task  # noqa: E402

ROUNDS = 4
ROWS = {"chats": 8000, "instruction rows": 10_000, "plain text": 4000}
VOCABULARY = 8192
LETTERS = "etaoinshrdlcumwfgypbvk"
TASKS = {"chats": "sft", "instruction rows": "sft", "plain text": "pretraining"}


class Words:
    """Text of made-up words, as frequent as words are (Zipf's law)."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(1)
        draw = self.generator
        self.known = ["".join(draw.choice(list(LETTERS), draw.integers(2, 9))) for _ in range(20_000)]

    def some(self, low: int, high: int) -> str:
        places = (self.generator.zipf(1.3, int(self.generator.integers(low, high))) - 1) % len(self.known)
        return " ".join(self.known[place] for place in places)

    def row(self, kind: str) -> dict[str, Any]:
        if kind == "chats":
            turns = [("user", 10, 60), ("assistant", 10, 60), ("user", 5, 20), ("assistant", 20, 80)]
            return {"messages": [{"role": r, "content": self.some(a, b)} for r, a, b in turns]}
        if kind == "instruction rows":
            names = [("instruction", 5, 30), ("input", 0, 40), ("output", 10, 80)]
            return {name: self.some(low, high) for name, low, high in names}
        return {"text": self.some(50, 400)}


@dataclass
class Times:
    """Best seconds of each part of one kind of data; `processor` holds seconds of all cores together."""

    tokens: int = 0
    best: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)

    def measure(self, name: str, work: Callable[[], Any]) -> Any:
        began, used = time.perf_counter(), time.process_time()
        found = work()
        wall, used = time.perf_counter() - began, time.process_time() - used
        self.best[name] = min(wall, self.best.get(name, wall))
        self.processor[name] = min(used, self.processor.get(name, used))
        return found


class Rendered:
    """The encoder of a task whose chats are rendered already."""

    def __init__(self, encoder: RecordEncoder, batches: list[Any]) -> None:
        self.encoder = encoder
        self.kept = {id(records): encoder.begin_batch(records) for records in batches}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def begin_batch(self, records: list[Any]) -> Any:
        return replace(self.kept[id(records)])


def batched(records: list[Any]) -> Iterator[list[Any]]:
    """Records in batches as a run makes them."""
    batch: list[Any] = []
    size = 0
    for record in records:
        batch.append(record)
        size += sum(map(len, list_record_texts(record)))
        if is_batch_full(len(batch), size):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def one_kind(kind: str, folder: Path) -> Times:
    """Everything about one kind of data, in turn, several rounds."""
    path = folder / "rows.jsonl"
    words = Words()
    path.write_text("".join(json.dumps(words.row(kind)) + "\n" for _ in range(ROWS[kind])), encoding="utf-8")
    tokenizer = train_tokenizer([words.some(50, 100) for _ in range(4000)], VOCABULARY)
    values = {"path": str(path), "validation": None, "preflight": "warn", "max_length": 1024}
    config = build_config({"task": TASKS[kind], "data": values})
    if config.task == "sft":
        choose_template(tokenizer)
    task = find_task(config.task)
    records = [read.record for read in DataReading(config.data) if read.record is not None]
    batches = list(batched(records))
    encoder: Any = Rendered(task.make_encoder(config, tokenizer), batches)
    begun = encoder.kept.values()
    rendered = [one.text for part in begun for one in getattr(part, "rendered", ())]
    texts = rendered or [record.text for record in records]
    times, caches, backend = Times(), [folder], tokenizer.backend_tokenizer
    gc.collect()
    gc.freeze()  # what stays for the whole comparison is no work of the one or the other
    for number in range(ROUNDS):
        call = times.measure("call", lambda: tokenizer(texts, add_special_tokens=False)["input_ids"])
        times.tokens = sum(map(len, call))
        del call
        times.measure("batch", lambda: [e.ids for e in backend.encode_batch(texts, add_special_tokens=False)])
        ours = times.measure(
            "tokenise", lambda: list(encode_batches_in_order(encoder, enumerate(batches), task.make_encoder))
        )
        found = sum(len(piece) for _, rows in ours for row in rows for piece in row.examples)
        assert 0 <= found - times.tokens <= 2 * len(records), "other tokens than the batch call's"
        del ours
        times.measure("read", lambda: sum(read.record is not None for read in DataReading(config.data)))
        times.measure("render", lambda: [encoder.encoder.begin_batch(part) for part in batches])
        caches.append(folder / f"cache{number}")
        prepared = times.measure(
            "whole", lambda: prepare_examples(config, tokenizer, task, cache_dir=caches[-1])
        )
        assert int(prepared.train.lengths.sum()) == found, "other tokens in the cache"
    return times


def main() -> int:
    lines, claims = [], []
    names = {
        "call": "tokenizer(texts), ids",
        "batch": "encode_batch(texts), ids",
        "tokenise": "tui-tuner, texts to ids and mask",
        "read": "tui-tuner, reading alone",
        "render": "tui-tuner, rendering alone",
        "whole": "tui-tuner, file to finished cache",
    }
    for kind in TASKS:
        with tempfile.TemporaryDirectory(prefix="bench-tokenize-") as scratch:
            times = one_kind(kind, Path(scratch))
        fastest = min(times.best["call"], times.best["batch"])
        for name, words in names.items():
            wall, used = times.best[name], times.processor[name]
            speed = f"{times.tokens / wall:,.0f}"
            lines.append([f"{kind}: {words}", speed, f"{fastest / wall:.2f}", f"{wall:.2f}", f"{used:.2f}"])
        claims.append(
            Claim(f"{kind}: tokenising / tokenizer(texts)", times.best["call"] / times.best["tokenise"], 0.9)
        )
    print(f"\nPreparing data, best of {ROUNDS}. {machine()}\n")
    header = ["", "tokens/s", "x", "seconds", "of all cores"]
    print(table(header, lines), "\n")
    return judge(claims)


if __name__ == "__main__":
    sys.exit(main())
