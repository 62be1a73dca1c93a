"""Predicting the rows of a file beside plain transformers, whose `generate` gets the same batches.

Both answer the same prompts with one loaded model, in turn, several rounds. Ours reads the file, tokenises,
computes and writes the answers; the other one has its prompts tokenised and padded already, in batches of
similar length. Tokens a second are compared, the best round of each; where other programs use the same cores,
the tokens of a second of processor time say more, and are shown too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from side_by_side import Claim, judge, machine, table  # noqa: E402

WORDS = [
    "the",
    "coat",
    "is",
    "blue",
    "and",
    "warm",
    "but",
    "the",
    "red",
    "scarf",
    "was",
    "lost",
    "on",
    "a",
    "cold",
    "Sunday",
    "near",
    "the",
    "old",
    "harbour",
]


def rows(count: int) -> list[str]:
    """Prompts of unequal length."""
    return [" ".join(WORDS[(n * 7 + k) % len(WORDS)] for k in range(4 + (n * 13) % 40)) for n in range(count)]


def make_model(folder: Path, hidden: int, layers: int) -> None:
    """A Llama with random weights and the demo's tokenizer, in a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tui_tuner.config.schema import ModelSection
    from tui_tuner.models.loading import load_tokenizer

    tokenizer = load_tokenizer(ModelSection(name="demo"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def plain(model: Any, batches: list[tuple[Any, Any]], new: int, stops: list[int], pad: int) -> int:
    """Answer prepared batches with transformers alone; returns how many tokens were written."""
    import torch

    written = 0
    with torch.no_grad():
        for ids, mask in batches:
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=new,
                do_sample=False,
                eos_token_id=stops,
                pad_token_id=pad,
            )[:, ids.shape[1] :]
            ended = torch.isin(out, torch.tensor(stops)).cumsum(1)
            written += int((ended == 0).sum())
    return written


def prepare(answers: Any, texts: list[str], size: int, window: int) -> list[tuple[Any, Any]]:
    """The batches that ours computes too: of similar length inside of each window, padded on the left."""
    import torch

    from tui_tuner.data.records import Text

    pad = answers.loaded.tokenizer.pad_token_id
    prompts = [answers.prepare_row(n, Text(text)).payload for n, text in enumerate(texts)]
    found = []
    for begin in range(0, len(prompts), window):
        part = sorted(prompts[begin : begin + window], key=lambda ids: -len(ids))
        for at in range(0, len(part), size):
            group = part[at : at + size]
            longest = max(map(len, group))
            ids = [[pad] * (longest - len(one)) + one for one in group]
            mask = [[0] * (longest - len(one)) + [1] * len(one) for one in group]
            found.append((torch.tensor(ids), torch.tensor(mask)))
    return found


class Loading:
    """When the model was there, in seconds of processor time."""

    ended = 0.0

    def hear(self, message: dict[str, Any]) -> None:
        if message.get("doing") == "predicting":
            self.ended = self.ended or time.process_time()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--new", type=int, default=48, help="tokens of an answer at most")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    args = parser.parse_args()

    from tui_tuner.evaluation.writing.stop_tokens import find_stop_tokens
    from tui_tuner.inference.loading import ModelKeeper
    from tui_tuner.inference.origin import Origin
    from tui_tuner.inference.predicting.engine import BATCHES, predict_file
    from tui_tuner.inference.predicting.job import Job
    from tui_tuner.inference.predicting.predictors import TextPredictor

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_model(folder / "model", args.hidden, args.layers)
        texts = rows(args.rows)
        (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        job = Job(
            Origin("model", "model", str(folder / "model")),
            str(folder / "rows.jsonl"),
            str(folder / "out.jsonl"),
            max_new_tokens=args.new,
            batch_size=args.batch,
            device="cpu",
            force=True,
        )
        (loaded,) = ModelKeeper("cpu").load_all([job.model])
        answers = TextPredictor(job, loaded, print)
        batches = prepare(answers, texts, args.batch, args.batch * BATCHES)
        stops = sorted(find_stop_tokens(loaded.model, loaded.tokenizer))
        pad = loaded.tokenizer.pad_token_id
        plain(loaded.model, batches[:1], 4, stops, pad)
        speeds: dict[str, list[float]] = {"transformers": [], "tui-tuner predict": []}
        used: dict[str, list[float]] = {name: [] for name in speeds}
        counts = {}
        for _round in range(args.rounds):
            begun, spent = time.perf_counter(), time.process_time()
            counts["transformers"] = plain(loaded.model, batches, args.new, stops, pad)
            speeds["transformers"].append(counts["transformers"] / (time.perf_counter() - begun))
            used["transformers"].append(counts["transformers"] / (time.process_time() - spent))
            loading = Loading()
            found = predict_file(job, loading.hear)
            counts["tui-tuner predict"] = found.tokens
            speeds["tui-tuner predict"].append(found.tokens / found.seconds)
            used["tui-tuner predict"].append(found.tokens / (time.process_time() - loading.ended))
    print(f"\nAnswers to {args.rows} prompts, {args.batch} at once, {args.rounds} rounds. {machine()}\n")
    best = max(speeds["transformers"])
    lines = [
        [
            name,
            str(counts[name]),
            f"{max(all_):.0f}",
            f"{max(all_) / best:.2f}",
            f"{min(all_) / max(all_):.2f}",
            f"{max(used[name]):.0f}",
            f"{max(used[name]) / max(used['transformers']):.2f}",
        ]
        for name, all_ in speeds.items()
    ]
    print(table(["", "tokens", "tokens/s", "x transformers", "worst/best", "tokens/CPU s", "x"], lines), "\n")
    ratio = max(speeds["tui-tuner predict"]) / best
    return judge([Claim("tokens a second, predict / transformers", ratio, 0.95)])


if __name__ == "__main__":
    sys.exit(main())
