"""Give each task its own copy of a tokenizer.

Tasks change a tokenizer: its chat template, its padding token, the space before each word of a list. A screen
that shows rows of several tasks must show the tokens of each, whatever was shown before.
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

from tui_tuner.config.schema import RunConfig
from tui_tuner.tasks import find_task

# A copy takes tenths of a second, which would be noticeable at each row. Weak keys, so that a tokenizer is
# freed with its copies.
_made: WeakKeyDictionary[Any, dict[tuple[str, str], tuple[Any, list[str]]]] = WeakKeyDictionary()


def copy_tokenizer(config: RunConfig, tokenizer: Any) -> tuple[Any, list[str]]:
    """Return a copy of a tokenizer prepared for the task of `config`, made once, and notes on its changes.

    Raises:
        ModelError: the tokenizer cannot be used.
    """
    key = (config.task, config.model.model_dump_json())
    known = _made.setdefault(tokenizer, {})
    if key not in known:
        own = copy.deepcopy(tokenizer)
        known[key] = (own, find_task(config.task).prepare_tokenizer(config, own))
    own, notes = known[key]
    return own, list(notes)
