"""What a run whose rows are cached does before its first step, and how soon that begins.

Each round is a fresh process, as a run is, so imports count. Answers before training are off: they are work
that is asked for, not a wait; `--answers` switches them on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from side_by_side import Claim, judge, machine, table  # noqa: E402

ROUNDS = 3
SHAPES = {
    "tiny model": {"hidden": 64, "layers": 4, "heads": 4, "kv_heads": 4, "intermediate": 128},
    "hidden 384, 12 layers": {},
}
PARTS = {
    "import": "importing torch, transformers and ours",
    "load_run_tokenizer": "tokenizer",
    "prepare_rows": "rows out of the cache",
    "settle_config": "choosing what is auto",
    "load_trainable": "model: load and attach",
    "check_room": "room on the disk",
    "self_check": "proof that the fast loss is exact",
    "shared": "looking for shared beginnings",
    "Engine": "the engine",
    "_show": "answers before training",
    "rest": "optimizer and loop up to the first batch, and the rest",
    "loaded to step": "model loaded to first step begun",
    "all": "process begun to first step begun",
}


def one_run(folder: Path, answers: bool) -> dict[str, float]:
    """In a process of its own: seconds of each part of a run up to its first step."""
    spent: dict[str, float] = {}
    marks = {"begun": time.perf_counter()}

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                marks[name] = time.perf_counter()
                spent[name] = spent.get(name, 0.0) + marks[name] - began

        return wrapped

    from tui_tuner.config.load import build_config
    from tui_tuner.models.loading import silence_libraries

    def import_training() -> Any:
        from tui_tuner.training import train

        return train

    silence_libraries()
    train = timed("import", import_training)()
    from workload import run_values

    from tui_tuner.runs.control import CommandReceiver
    from tui_tuner.runs.journal import JournalWriter
    from tui_tuner.runs.store import RunStore
    from tui_tuner.training import session
    from tui_tuner.training.step.engine import Engine

    steps = ("load_run_tokenizer", "prepare_rows", "settle_config", "load_trainable", "check_room", "Engine")
    for name in steps:
        setattr(train, name, timed(name, getattr(train, name)))
    train.Training._show_samples = timed("_show", train.Training._show_samples)
    _time_the_proofs(timed)
    step = Engine.train_step

    def first_step(*args: Any, **kwargs: Any) -> Any:
        marks.setdefault("step", time.perf_counter())
        return step(*args, **kwargs)

    values = run_values(folder, 2)
    values["data"].pop("workers")
    if answers:
        values["data"]["validation"] = 0.05
        values["evaluation"] = {"every": None}
    config = build_config(values)
    run = RunStore(config.output.folder).create_run(config)
    Engine.train_step = first_step  # type: ignore[method-assign]
    outcome = session.run_training(
        config, run, JournalWriter(run.events_path, run.name), CommandReceiver(run.control_path)
    )
    assert outcome.status == "completed", outcome
    spent["loaded to step"] = marks["step"] - marks["load_trainable"]
    spent["all"] = marks["step"] - marks["begun"]
    between = ("check_room", "self_check", "shared", "Engine", "_show")
    spent["rest"] = spent["loaded to step"] - sum(spent.get(name, 0.0) for name in between)
    return spent


def _time_the_proofs(timed: Callable[..., Any]) -> None:
    from tui_tuner.compute import shared_check, shared_prefix
    from tui_tuner.objectives import objective, way_choosing
    from tui_tuner.objectives.causal import CausalObjective

    for module, name, part in (
        (objective, "find_randomness", "self_check"),
        (way_choosing, "self_check", "self_check"),
        (CausalObjective, "_choose_chunks", "self_check"),
        (shared_prefix, "measure_saving", "shared"),
        (shared_check, "check_shared", "shared"),
    ):
        setattr(module, name, timed(part, getattr(module, name)))


def rounds(folder: Path, answers: bool) -> dict[str, float]:
    """The round that came soonest from the loaded model to the first step; one before it fills the cache."""
    found = []
    for _ in range(ROUNDS + 1):
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(folder), *(["--answers"] if answers else [])],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"XDG_CACHE_HOME": str(folder / "home"), "PYTHONWARNINGS": "ignore"},
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return min(found[1:], key=lambda one: one["loaded to step"])


def main() -> int:
    answers = "--answers" in sys.argv
    if "--one" in sys.argv:
        print(json.dumps(one_run(Path(sys.argv[sys.argv.index("--one") + 1]), answers)))
        return 0
    from workload import Shape, make

    found = {}
    for name, sizes in SHAPES.items():
        with tempfile.TemporaryDirectory(prefix="bench-start-") as scratch:
            make(Path(scratch), Shape(**sizes, chats=20_000))
            found[name] = rounds(Path(scratch), answers)
    print(f"\nA run with 20,000 cached chats, best of {ROUNDS}. {machine()}\n")
    lines = [[words, *(f"{one.get(name, 0):.2f}" for one in found.values())] for name, words in PARTS.items()]
    print(table(["seconds", *found], lines), "\n")
    claims = [
        Claim(f"{name}: seconds from model loaded to first step", one["loaded to step"], 1.0, above=False)
        for name, one in found.items()
    ]
    return judge(claims)


if __name__ == "__main__":
    sys.exit(main())
