"""A short run of the tiny model, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Trained, chat_rows, write_jsonl
from tui_tuner.config.load import build_config
from tui_tuner.runs.store import RunFolder, RunStore


@pytest.fixture(scope="module")
def ran(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A LoRA run of two steps."""
    root = tmp_path_factory.mktemp("chat")
    values: dict[str, Any] = {
        "model": {"name": str(tiny_model), "dtype": "float32"},
        "data": {"path": str(write_jsonl(root / "chats.jsonl", chat_rows())), "workers": 1},
        "method": {"kind": "lora", "rank": 4},
        "training": {"max_steps": 2, "batch_size": 4, "learning_rate": 0.05, "autocast": False},
        "evaluation": {"samples": 1},
        "output": {"folder": str(root / "runs"), "name": "small"},
        "hardware": {"devices": "cpu"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        run = Trained(build_config(values))
    assert run.outcome.status == "completed", run.outcome
    return run.folder


@pytest.fixture
def store(ran: RunFolder) -> RunStore:
    return RunStore(ran.path.parent)
