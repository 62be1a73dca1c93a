"""Chat against plain transformers with TextIteratorStreamer: first token, tokens a second, memory of models.

    python tests/benchmarks/bench_chat.py [MODEL [ROUNDS]]

Both write the same greedy answer of the same weights, in turns; what counts is the median of the ratios of
the rounds. The process's memory is read after one model, after a second one that shares its base, and after
another whole one.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]

import psutil  # noqa: E402
import torch  # noqa: E402
from transformers import TextIteratorStreamer  # noqa: E402

from tui_tuner.inference.answering import Sampling, answer_with_all_models  # noqa: E402
from tui_tuner.inference.loading import LoadedModel, ModelKeeper  # noqa: E402
from tui_tuner.inference.origin import Origin  # noqa: E402
from tui_tuner.inference.prompts import encode_chat_prompt  # noqa: E402

TOKENS = 48
FIRST_GOAL, RATE_GOAL = 1.2, 0.95
ASKED = [{"role": "user", "content": "Tell me a long story about a fox, a crow and a piece of cheese."}]


def ours(loaded: LoadedModel, prompt: list[int]) -> tuple[float, float]:
    """Seconds to the first piece, and tokens a second after it."""
    begun, seen = time.perf_counter(), []

    def hear(_place: int, piece: str, _tokens: int) -> None:
        if piece and not seen:
            seen.append(time.perf_counter() - begun)

    (answer,) = answer_with_all_models([loaded], [prompt], Sampling(max_new_tokens=TOKENS), hear)
    return seen[0], (answer.tokens - 1) / (time.perf_counter() - begun - seen[0])


def plain(loaded: LoadedModel, prompt: list[int]) -> tuple[float, float]:
    """The same of transformers alone, as its documentation streams."""
    model, tokenizer = loaded.model, loaded.tokenizer
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    ids = torch.tensor([prompt], device=model.device)
    values: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "streamer": streamer}
    counted: list[int] = []

    def write() -> None:
        found = model.generate(**values, do_sample=False, max_new_tokens=TOKENS)
        counted.append(found.shape[1] - len(prompt))

    begun, first = time.perf_counter(), 0.0
    thread = threading.Thread(target=write)
    thread.start()
    for piece in streamer:
        if piece and not first:
            first = time.perf_counter() - begun
    thread.join()
    return first, (counted[0] - 1) / (time.perf_counter() - begun - first)


def held() -> float:
    """MiB of this process."""
    return psutil.Process().memory_info().rss / 2**20


def main(name: str, rounds: int) -> int:
    before = held()
    models = ModelKeeper("auto")
    origin = Origin("model", name, str(Path(name).resolve()) if Path(name).is_dir() else name)
    (loaded,) = models.load_all([origin])
    print(f"one model: {held() - before:,.0f} MiB")
    twice = Origin("model", f"{name} again", origin.path)
    models.load_all([origin, twice])
    print(f"two that share their base: {held() - before:,.0f} MiB")
    apart = ModelKeeper("auto")
    apart.load_all([origin])
    print(f"two whole ones: {held() - before:,.0f} MiB")
    del apart
    prompt = encode_chat_prompt(loaded, ASKED)
    firsts, rates = [], []
    for turn in range(rounds + 1):
        sides = (ours, plain) if turn % 2 else (plain, ours)
        found = {side: side(loaded, prompt) for side in sides}
        if turn:  # the first one warms both
            firsts.append(found[ours][0] / found[plain][0])
            rates.append(found[ours][1] / found[plain][1])
            print(f"round {turn}: first {found[ours][0]:.3f} / {found[plain][0]:.3f} s, "
                  f"rate {found[ours][1]:.2f} / {found[plain][1]:.2f} tokens/s")  # fmt: skip
    first, rate = statistics.median(firsts), statistics.median(rates)
    print(f"first token {first:.2f} x (goal {FIRST_GOAL}), tokens/s {rate:.2f} x (goal {RATE_GOAL})")
    return int(first > FIRST_GOAL or rate < RATE_GOAL)


if __name__ == "__main__":
    named, *more = sys.argv[1:] or ["demo"]
    raise SystemExit(main(named, int(more[0]) if more else 5))
