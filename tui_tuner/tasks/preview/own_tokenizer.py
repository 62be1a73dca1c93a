"""A tokenizer as one task uses it, beside the one that others hold.

Tasks change a tokenizer: a chat template, a padding token, a space before each word of a list. Whoever looks
at rows of several tasks with one tokenizer must see the tokens of each, whatever was looked at before.
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

from tui_tuner.config.schema import RunConfig
from tui_tuner.tasks import find_task

# a copy takes tenths of a second, which would be felt at each row
_made: WeakKeyDictionary[Any, dict[tuple[str, str], tuple[Any, list[str]]]] = WeakKeyDictionary()


def own_tokenizer(config: RunConfig, tokenizer: Any) -> tuple[Any, list[str]]:
    """A copy of `tokenizer` with what the task of `config` needs, made once; and what was done, in words.

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
