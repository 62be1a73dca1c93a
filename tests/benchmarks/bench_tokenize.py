"""Data preparation against the tokenizer's own batch call, and how soon a cached run makes its first step."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
os.environ["TOKENIZERS_PARALLELISM"] = "true"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
from side_by_side import Claim, judge, machine, table  # noqa: E402
from workload import Shape, make, run_values  # noqa: E402

ROUNDS = 3
ROWS = 20_000
LETTERS = "etaoinshrdlcumwfgypbvk"


def write_chats(path: Path, rows: int) -> None:
    """Chats of made-up words, about 150 tokens each for a BPE of a few thousand."""
    generator = np.random.default_rng(1)
    words = ["".join(generator.choice(list(LETTERS), generator.integers(2, 9))) for _ in range(5000)]

    def some(count: int) -> str:
        return " ".join(words[place] for place in (generator.zipf(1.3, count) - 1) % len(words))

    with open(path, "w", encoding="utf-8") as file:
        for _ in range(rows):
            turns = [
                {"role": "user", "content": some(int(generator.integers(20, 60)))},
                {"role": "assistant", "content": some(int(generator.integers(10, 50)))},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")


def tokenizing(folder: Path) -> tuple[float, float]:
    """Tokens a second of the tokenizer's batch call and of our whole preparation, best of a few."""
    from tui_tuner.config.load import build_config
    from tui_tuner.data.prepare import prepare
    from tui_tuner.models.tokenizer_training import train_tokenizer

    path = folder / "chats.jsonl"
    write_chats(path, ROWS)
    rows = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [turn["content"] for row in rows[:2000] for turn in row]
    tokenizer = train_tokenizer(texts, 4096)
    config = build_config({"data": {"path": str(path), "validation": None, "preflight": "warn"}})
    batch, ours = 0.0, 0.0
    for number in range(ROUNDS):
        rendered = tokenizer.apply_chat_template(rows, tokenize=False)
        began = time.perf_counter()
        ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        tokens = sum(map(len, ids))
        batch = max(batch, tokens / (time.perf_counter() - began))
        began = time.perf_counter()
        prepared = prepare(config, tokenizer, cache_dir=folder / f"cache{number}")
        found = int(prepared.train.lengths.sum())
        ours = max(ours, found / (time.perf_counter() - began))
        assert found > 0.95 * tokens, "other tokens than the template's"
    return batch, ours


def first_step(folder: Path) -> float:
    """Seconds from the loaded model to the beginning of the first step, in a run whose rows are cached."""
    from tui_tuner.config.load import build_config
    from tui_tuner.runs.control import Control
    from tui_tuner.runs.journal import JournalWriter
    from tui_tuner.runs.store import RunStore
    from tui_tuner.training.commands import Commands
    from tui_tuner.training.reporting import Reporter
    from tui_tuner.training.work import Work

    os.environ["XDG_CACHE_HOME"] = str(folder / "home")
    make(folder, Shape(hidden=64, layers=4, heads=4, kv_heads=4, intermediate=128, chats=20_000))
    waits = []
    for _ in range(2):
        config = build_config(run_values(folder, 2))
        run = RunStore(config.output.folder).create(config)
        reporter = Reporter(JournalWriter(run.events, run.name))
        work = Work(config, run, reporter, Commands(Control(run.control), reporter), None)
        times: dict[str, float] = {}
        load = work._model

        def loaded(load=load, times=times):  # type: ignore[no-untyped-def]
            model = load()
            times["loaded"] = time.perf_counter()
            return model

        work._model = loaded  # type: ignore[method-assign]
        work.prepare()
        step = work.engine.training_step

        def begins(*args, step=step, times=times, **kwargs):  # type: ignore[no-untyped-def]
            times.setdefault("step", time.perf_counter())
            return step(*args, **kwargs)

        work.engine.training_step = begins  # type: ignore[method-assign]
        work.train()
        waits.append(times["step"] - times["loaded"])
    return waits[-1]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="bench-tokenize-") as scratch:
        batch, ours = tokenizing(Path(scratch))
        wait = first_step(Path(scratch) / "run")
    print(f"\nPreparing {ROWS:,} chats, best of {ROUNDS}. {machine()}\n")
    lines = [
        ["the tokenizer's batch call, chats already rendered", f"{batch:,.0f}", "1.00"],
        ["tui-tuner: read, recognise, render, mask, tokenise, store", f"{ours:,.0f}", f"{ours / batch:.2f}"],
    ]
    print(table(["", "tokens/s", "x"], lines), "\n")
    return judge(
        [
            Claim("preparation / batch call", ours / batch, 0.9),
            Claim("seconds from loaded model to first step, cached rows", wait, 1.0, above=False),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
