"""Training speed and memory beside other programs, on the same rows.

LLaMA-Factory needs other versions than ours: name the interpreter of its environment in
`LLAMAFACTORY_PYTHON` (or `--llamafactory`). Rows whose program is not installed are left out, and said.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from side_by_side import Claim, Contender, judge, machine, rounds, table  # noqa: E402
from workload import Shape, make, prepare_rows, shape_of  # noqa: E402


def contenders(llamafactory: str | None, half: bool) -> list[Contender]:
    """What is compared; `half` adds the bfloat16 rows."""
    found = [
        Contender("HF Trainer, padded", "hf_padded"),
        Contender("HF Trainer, length-grouped", "hf_grouped"),
    ]
    trl = importlib.util.find_spec("trl") is not None
    if trl:
        found += [
            Contender("TRL, default (bf16 autocast, checkpointing)", "trl_default"),
            Contender("TRL, packing", "trl_packing"),
        ]
    if llamafactory:
        found.append(Contender("LLaMA-Factory, neat_packing", "llamafactory", python=llamafactory))
    found += [
        Contender("bare PyTorch loop, our batches", "bare"),
        Contender("tui-tuner", "ours"),
    ]
    if half:
        found += [Contender("TRL, packing, bf16", "trl_packing", "bfloat16")] if trl else []
        if llamafactory:
            found.append(
                Contender("LLaMA-Factory, neat_packing, bf16", "llamafactory", "bfloat16", llamafactory)
            )
        found.append(Contender("tui-tuner, bf16", "ours", "bfloat16"))
    return found


def claims(rows: list[Contender]) -> list[Claim]:
    """The ratios that matter, of the programs that ran."""
    by = {(row.peer, row.dtype): row for row in rows if row.found}
    found = []

    def ratio(peer: str, bound: float, dtype: str = "float32") -> None:
        ours, other = by.get(("ours", dtype)), by.get((peer, dtype))
        if ours and other:
            found.append(Claim(f"tui-tuner / {other.label}", ours.speed / other.speed, bound))

    ratio("hf_padded", 2.5)
    ratio("hf_grouped", 1.1)
    ratio("trl_packing", 1.8)
    ratio("trl_packing", 1.8, "bfloat16")
    ratio("llamafactory", 1.5)
    ratio("llamafactory", 1.5, "bfloat16")
    ratio("bare", 0.95)
    ours, trl = by.get(("ours", "float32")), by.get(("trl_default", "float32"))
    if ours and trl:
        found.append(
            Claim("peak memory, tui-tuner / TRL default", ours.memory / trl.memory, 0.5, above=False)
        )
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps after the warm-up")
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--no-half", action="store_true", help="leave the bfloat16 rows out")
    parser.add_argument("--only", help="peers to run, separated by commas")
    parser.add_argument("--llamafactory", default=os.environ.get("LLAMAFACTORY_PYTHON"))
    for name in dataclasses.fields(Shape):
        kind = float if name.name in ("mean", "spread", "supervised") else int
        parser.add_argument(f"--{name.name.replace('_', '-')}", type=kind, default=name.default)
    return parser.parse_args()


def build(folder: Path, shape: Shape) -> None:
    """Make model and rows in a process of its own, so that nothing stays in this one's memory."""
    make(folder, shape)
    prepare_rows(folder)


def main() -> int:
    options = _options()
    shape = Shape(**{name.name: getattr(options, name.name) for name in dataclasses.fields(Shape)})
    with tempfile.TemporaryDirectory(prefix="bench-training-") as scratch:
        folder = Path(scratch)
        build(folder, shape)
        rows = contenders(options.llamafactory, not options.no_half)
        if options.only:
            wanted = options.only.split(",")
            rows = [row for row in rows if row.peer in wanted]
        rounds(rows, folder, options.steps + options.warm, options.warm, options.rounds)
        return report(rows, shape_of(folder), options.rounds)


def report(rows: list[Contender], shape: Shape, count: int) -> int:
    """Print the table and the claims."""
    base = next((row.speed for row in rows if row.peer == "hf_padded"), 0.0)
    print(f"\nTraining speed, best of {count} interleaved rounds. {machine()}")
    print(
        f"Llama of hidden {shape.hidden}, {shape.layers} layers, vocabulary {shape.vocabulary}; "
        f"LoRA r={shape.rank} on all linear layers; chats of mean length {shape.mean:g}, "
        f"{shape.supervised:.0%} supervised, {shape.batch} a step\n"
    )
    lines = []
    for row in rows:
        if not row.found:
            print(f"not measured: {row.label}: {row.problem}")
            continue
        times = f"{row.speed / base:.2f}" if base else ""
        cells = [row.label, "float32" if row.dtype == "float32" else "bf16", f"{row.speed:.0f}", times]
        lines.append([*cells, f"{row.spread:.2f}", f"{row.memory:.0f}"])
    header = ["", "dtype", "supervised tokens/s", "x HF padded", "worst/best", "peak MB above the model"]
    print(table(header, lines), "\n")
    return judge(claims(rows))


if __name__ == "__main__":
    sys.exit(main())
