"""A config with nothing left to decide, as the step gets it."""

from __future__ import annotations

from typing import Any

from tests.conftest import MakeConfig
from tui_tuner.config.resolved import ResolvedConfig

VALUES = {
    "model__attention": "sdpa",
    "data__packing": True,
    "training__gradient_checkpointing": False,
    "training__optimizer": "adamw",
    "training__compile": False,
    "evaluation__best": "loss",
}


def make_settled(make_config: MakeConfig, **changes: Any) -> ResolvedConfig:
    return ResolvedConfig.from_config(make_config(**VALUES | changes))
