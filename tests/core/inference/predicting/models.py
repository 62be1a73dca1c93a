"""What tests of predicting share: short runs of small models, and rows for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Trained
from tui_tuner.config.load import build_config
from tui_tuner.inference.origin import Origin, find_origin
from tui_tuner.inference.predicting.job import Job
from tui_tuner.runs.store import RunFolder, RunStore

HEADS: dict[str, dict[str, Any]] = {
    "model": {"name": "tiny", "dtype": "float32"},
    "data": {"path": "demo", "max_length": 64, "stride": 16, "limit": 200, "workers": 1},
    "method": {"kind": "full"},
    "training": {"max_steps": 8, "batch_size": 8, "learning_rate": 0.002},
    "evaluation": {"every": 8, "samples": 0},
    "output": {"save_every": 8},
    "hardware": {"devices": "cpu"},
}


def train_head(task: str, root: Path, **more: Any) -> RunFolder:
    """The run of a task on a small model of ours and our own rows."""
    values = {name: {**section, **more.get(name, {})} for name, section in HEADS.items()}
    values["output"] = {**values["output"], "folder": str(root), "name": more.get("name", task)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        run = Trained(build_config({"task": task, **values}))
    assert run.outcome.status == "completed", run.outcome
    return run.folder


def origin_of(folder: RunFolder) -> Origin:
    return find_origin(str(folder.path), RunStore(folder.path.parent))


def job(origin: Origin, path: Path, **more: Any) -> Job:
    """A job on the processor; its output stands beside the input."""
    return Job(origin, str(path), str(path.with_suffix(".out.jsonl")), device="cpu", **more)


def read(path: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
