"""Classification with an encoder beside the Hugging Face Trainer, on the same texts, in one run.

The Trainer pads each batch to its longest text (`DataCollatorWithPadding`), as its examples do; here texts
lie side by side in one row. Examples a second and peak memory are compared as ratios.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from side_by_side import Claim, Contender, judge, machine, rounds, table  # noqa: E402
from task_peers import Shape, make  # noqa: E402

SCRIPT = "task_peers.py"


def contenders(full: bool) -> list[Contender]:
    """What is compared; `full` adds runs that train every weight."""
    found = [
        Contender("HF Trainer, padded", "hf_padded", script=SCRIPT),
        Contender("tui-tuner", "ours", script=SCRIPT),
    ]
    if full:
        found += [
            Contender("HF Trainer, padded, all weights", "hf_padded_full", script=SCRIPT),
            Contender("tui-tuner, all weights", "ours_full", script=SCRIPT),
        ]
    return found


def claims(rows: list[Contender]) -> list[Claim]:
    """The ratios that matter, of the programs that ran."""
    by = {row.peer: row for row in rows if row.found}
    found = []
    for end, bounds in (("", (2.0, 0.6)), ("_full", (2.0, 0.6))):
        ours, other = by.get(f"ours{end}"), by.get(f"hf_padded{end}")
        if ours and other:
            found.append(
                Claim(f"examples a second, {ours.label} / {other.label}", ours.speed / other.speed, bounds[0])
            )
            ratio = ours.memory / other.memory
            found.append(Claim(f"peak memory, {ours.label} / {other.label}", ratio, bounds[1], above=False))
    return found


def report(rows: list[Contender], shape: Shape, count: int) -> int:
    """Print the table and the claims."""
    print(f"\nClassification with an encoder, best of {count} interleaved rounds. {machine()}")
    print(
        f"BERT of hidden {shape.hidden}, {shape.layers} layers, vocabulary {shape.vocabulary}; "
        f"LoRA r={shape.rank} on all linear layers; texts of mean length {shape.mean:g}, "
        f"cut at {shape.max_length}, {shape.batch} a step\n"
    )
    lines = []
    for row in rows:
        if not row.found:
            print(f"not measured: {row.label}: {row.problem}")
            continue
        padded = next((one for one in rows if one.peer == row.peer.replace("ours", "hf_padded")), None)
        times = f"{row.speed / padded.speed:.2f}" if padded and padded.found else ""
        lines.append([row.label, f"{row.speed:.2f}", times, f"{row.spread:.2f}", f"{row.memory:.0f}"])
    header = ["", "examples/s", "x HF padded", "worst/best", "peak MB above the model"]
    print(table(header, lines), "\n")
    return judge(claims(rows))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="optimizer steps after the warm-up")
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--no-full", action="store_true", help="leave out the runs that train every weight")
    for name in dataclasses.fields(Shape):
        kind = float if name.name in ("mean", "spread", "dropout") else int
        parser.add_argument(f"--{name.name.replace('_', '-')}", type=kind, default=name.default)
    options = parser.parse_args()
    shape = Shape(**{name.name: getattr(options, name.name) for name in dataclasses.fields(Shape)})
    with tempfile.TemporaryDirectory(prefix="bench-tasks-") as scratch:
        folder = Path(scratch)
        make(folder, shape)
        rows = contenders(not options.no_full)
        rounds(rows, folder, options.steps + options.warm, options.warm, options.rounds)
        return report(rows, shape, options.rounds)


if __name__ == "__main__":
    sys.exit(main())
