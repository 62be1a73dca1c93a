"""Trains the runs of `recipes.py` and keeps their journals: `python -m tests.verdicts.make [NAME ...]`.

Only what a verdict can rest on is kept of a journal, one small file a run. A run that is there is not done
again, unless it is named.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import logging
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tests.verdicts.recipes import RECIPES, Recipe
from tests.verdicts.recorded import JOURNALS, journal_of
from tests.verdicts.rows import made_rows, write_rows
from tui_tuner import demo
from tui_tuner.config.load import build_config
from tui_tuner.config.values import edit_values
from tui_tuner.runs.events import (
    Evaluation,
    EvaluationTable,
    Event,
    EventBody,
    Finished,
    HeldOutRows,
    Resolved,
    RolledBack,
    RowLedger,
    RunStarted,
    Step,
    Warned,
)
from tui_tuner.runs.wire import encode_event, list_event_fields

KEPT = (RunStarted, Step, Evaluation, HeldOutRows, EvaluationTable, RowLedger, Resolved, RolledBack, Finished)
WARNINGS = ("leakage", "bad_numbers")  # that tell something of the curve
# Of a step: the rest is about speed and memory
STEP_FIELDS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "supervised_tokens")
DIGITS = 6
OF_THIS_MACHINE = (
    ("data", "path"),
    ("data", "validation"),
    ("output", "folder"),
    ("model", "name"),
    ("model", "tokenizer"),
)
OF_FOLDER = ("SmolLM2-135M",)  # models that are no part of this package, in the folder RECORDED_MODELS
# What every run shares, unless its recipe says otherwise
COMMON: dict[str, Any] = {
    "model.dtype": "float32",
    "data.max_length": 128,
    "data.workers": 1,
    "data.max_dropped": 1.0,
    "data.preflight": "warn",
    "training.autocast": False,
    "training.compile": False,
    "training.batch_size": 8,
    "evaluation.samples": 0,
    "evaluation.metric_rows": 0,
    "output.save_every": None,
    "output.keep": 1,
    "hardware.devices": "cpu",
}


class Kept:
    """A sink that keeps what a verdict can rest on."""

    def __init__(self, root: str) -> None:
        self.root = root  # of its files, which no journal names
        self.bodies: list[EventBody] = []

    def emit(self, body: EventBody) -> None:
        if isinstance(body, KEPT) or (isinstance(body, Warned) and body.code in WARNINGS):
            if isinstance(body, Warned | Finished):
                body = replace(body, message=body.message.replace(f"{self.root}/", ""))
            self.bodies.append(body)


def train_run(recipe: Recipe, root: Path) -> Kept:
    """Train a recipe for real, in this process."""
    from tui_tuner.runs.control import CommandReceiver
    from tui_tuner.runs.store import RunStore
    from tui_tuner.training.session import run_training

    train, held_out = made_rows(recipe.rows)
    values = {
        **COMMON,
        "data.path": write_rows(root / "rows.jsonl", train),
        "data.validation": write_rows(root / "held-out.jsonl", held_out) if held_out else None,
        "output.folder": str(root / "runs"),
        **recipe.values,
    }
    if values.get("model.tokenizer") == "demo":
        values["model.tokenizer"] = str(demo.MODEL_DIR)
    if values.get("model.name") in OF_FOLDER:
        values["model.name"] = str(Path(os.environ["RECORDED_MODELS"]) / values["model.name"])
    config = edit_values(build_config({"task": recipe.task}), values)
    folder = RunStore(config.output.folder).create_run(config)
    kept = Kept(str(root))
    run_training(config, folder, kept, CommandReceiver(folder.control_path))
    return kept


def reduced(recipe: Recipe, bodies: list[EventBody]) -> list[bytes]:
    """Lines of a journal with its recipe's name and key, fewer fields, digits and tables."""
    tabled = [body.step for body in bodies if isinstance(body, EvaluationTable)]
    lines = []
    for number, body in enumerate(bodies):
        if isinstance(body, EvaluationTable) and body.step not in (min(tabled), max(tabled)):
            continue
        kept = slim(body)
        if isinstance(kept, RunStarted):
            kept = replace(kept, versions={**kept.versions, "recipe": recipe.key})
        lines.append(encode_event(Event(kept, run=recipe.name, seq=number, time=float(number + 1))))
    return lines


def slim(body: EventBody) -> EventBody:
    """The same event with what a verdict needs of it."""
    fields = list_event_fields(body)
    if isinstance(body, Step):
        fields = {name: fields[name] for name in STEP_FIELDS if name in fields}
    if isinstance(body, RowLedger):
        fields = {name: fields[name] for name in ("read", "outcomes", "pieces", "splits", "closes")}
    if isinstance(body, RunStarted):
        fields["process"] = 0
        fields["config"] = without_paths(fields["config"])
        fields["versions"] = {
            name: version for name, version in fields["versions"].items() if isinstance(version, str)
        }
    return type(body)(**rounded(fields))


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the folders of the machine that it ran on."""
    plain = {name: dict(value) if isinstance(value, dict) else value for name, value in config.items()}
    for section, field in OF_THIS_MACHINE:
        value = plain.get(section, {}).get(field)
        if isinstance(value, str):
            plain[section][field] = "demo" if value == str(demo.MODEL_DIR) else Path(value).name
    return plain


def rounded(value: Any) -> Any:
    """The same with fewer digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value


def write_journal(recipe: Recipe, kept: Kept) -> Path:
    """One file a run; the same bytes for the same events."""
    JOURNALS.mkdir(exist_ok=True)
    path = journal_of(recipe.name)
    path.write_bytes(gzip.compress(b"".join(reduced(recipe, kept.bodies)), 9, mtime=0))
    return path


def curve(kept: Kept) -> str:
    """The curve in a line, for whoever looks whether a recipe gave what it is meant to give."""
    steps = [body for body in kept.bodies if isinstance(body, Step)]
    losses = [body.loss for body in steps if body.loss is not None]
    marks = [sum(part) / len(part) for part in parts(losses, 8)]
    measured = [body for body in kept.bodies if isinstance(body, Evaluation) and body.stage == "validation"]
    told = " ".join(f"{body.step}:{body.metrics.get('loss') or float('nan'):.3f}" for body in measured)
    names = [name for name in ("accuracy", "f1") if measured and name in measured[-1].metrics]
    scores = " ".join(
        f"{name} {measured[0].metrics[name]:.2f}->{measured[-1].metrics[name]:.2f}" for name in names
    )
    train = " ".join(f"{mark:.3f}" for mark in marks)
    return f"{len(steps)} steps, train {train} | held-out {told} | {scores}"


def parts(values: list[float], count: int) -> list[list[float]]:
    """Up to `count` runs of neighbours, of about the same size."""
    count = max(min(count, len(values)), 1)
    cuts = [len(values) * number // count for number in range(count + 1)]
    return [values[low:high] for low, high in itertools.pairwise(cuts) if low < high]


def say(words: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="recipes; all that have no journal yet, where none is named")
    chosen = parser.parse_args().names
    logging.disable(logging.WARNING)
    unknown = set(chosen) - {recipe.name for recipe in RECIPES}
    if unknown:
        sys.exit(f"no recipe is called {', '.join(sorted(unknown))}")
    for recipe in RECIPES:
        there = journal_of(recipe.name).exists()
        if recipe.name not in chosen if chosen else there:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as root:
            kept = train_run(recipe, Path(root))
        if not any(isinstance(body, Step) for body in kept.bodies):
            say(f"{recipe.name}: {kept.bodies[-1:]}")
            continue
        path = write_journal(recipe, kept)
        ended = [body for body in kept.bodies if isinstance(body, Finished)]
        status = f"{ended[-1].status} {ended[-1].message[:150]}" if ended else "no end"
        took = time.monotonic() - began
        say(f"{recipe.name} [{recipe.expected}] {took:.0f} s, {path.stat().st_size} bytes, {status}")
        say(f"    {curve(kept)}")


if __name__ == "__main__":
    main()
