"""What is computed once instead of many times: beginnings that rows share, and frozen layers over epochs.

Each is measured against the same run with that one thing off.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from side_by_side import Claim, Contender, judge, machine, rounds, table  # noqa: E402
from workload import Shape, make, prepare_rows  # noqa: E402

EPOCHS = 3


def shared(folder: Path, options: argparse.Namespace) -> list[Contender]:
    """128 tokens of 260 are a system prompt that all chats have."""
    prompt = 125  # and three of the template
    shape = Shape(shared=prompt, mean=131, spread=0.3, batch=options.batch, chats=256, seed=options.seed)
    make(folder, shape)
    prepare_rows(folder)
    found = [
        Contender("shared beginning, for each row", "ours_unshared"),
        Contender("shared beginning, once", "ours"),
    ]
    rounds(found, folder, options.steps + 2, 2, options.rounds)
    return found


def frozen(folder: Path, options: argparse.Namespace) -> list[Contender]:
    """LoRA on the two top layers of twelve, three epochs from the first to the last step."""
    chats = 8 * options.steps
    make(folder, Shape(chats=chats, seed=options.seed))
    prepare_rows(folder)
    found = [
        Contender("top 2 of 12 layers, plain", "top_layers_uncached"),
        Contender("top 2 of 12 layers, states below from disk", "top_layers"),
    ]
    rounds(found, folder, EPOCHS * options.steps, 1, options.rounds)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-prefixes-") as scratch:
        first = shared(Path(scratch) / "shared", options)
        second = frozen(Path(scratch) / "frozen", options)
    print(f"\nComputed once, best of {options.rounds} interleaved rounds. {machine()}\n")
    lines = [
        [row.label, f"{row.speed:.0f}", f"{row.speed / pair[0].speed:.2f}"]
        for pair in (first, second)
        if all(row.found for row in pair)
        for row in pair
    ]
    print(table(["", "supervised tokens/s", "x plain"], lines), "\n")
    for row in [*first, *second]:
        if not row.found:
            print(f"not measured: {row.label}: {row.problem}")
            return 1
    steady = [max(one["notes"]["steady"] for one in row.found) for row in second]
    print(f"  top 2 of 12 layers, without filling the file: {steady[1] / steady[0]:.2f} x plain")
    return judge(
        [
            Claim("shared beginning, 128 of 260 tokens", first[1].speed / first[0].speed, 1.5),
            Claim(
                f"top 2 layers over {EPOCHS} epochs, file included", second[1].speed / second[0].speed, 2.0
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
