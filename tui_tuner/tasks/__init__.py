"""What is learnt: a registry from `task` to how its model is loaded.

A new task is named in `config.kinds.TASKS` and registered here under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.models.loading import load_model


@dataclass(frozen=True)
class Task:
    """One way to learn.

    Args:
        load: Loads the model of a run: (config, device, tokenizer) -> model.
        generates: Whether its models answer prompts, so that samples make sense.
        chats: Whether held-out prompts are chats, which a chat template ends.
    """

    load: Callable[[RunConfig, str, Any], Any]
    generates: bool = True
    chats: bool = True


TASKS: dict[str, Task] = {
    "sft": Task(load_model),
    "pretraining": Task(load_model, chats=False),
}
