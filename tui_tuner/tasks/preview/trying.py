"""Whether rows of a run's data come through its template and its tokenizer: tried on the first ones.

What is wrong with all rows of a file (a template that refuses them, nothing left to learn, all too long) is
said before a run is begun. Work for a helper process: it loads the tokenizer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.data.examples.encoder import RowEncoder
from tui_tuner.data.examples.prepare import nothing_left
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.reading import Reading
from tui_tuner.data.records import IGNORE, Example
from tui_tuner.data.sources.files import resolve
from tui_tuner.errors import HubError
from tui_tuner.models.loading import is_settled, load_tokenizer, tokenizer_source
from tui_tuner.tasks import Task, find_task
from tui_tuner.tasks.preview.mask import Collected
from tui_tuner.tasks.preview.own_tokenizer import own_tokenizer

FIRST, MOST = 8, 512  # rows that are tried at once, and in all: later ones may be better
LONGEST = 10.0  # seconds of trying: whoever has asked waits
_tokenizers: dict[str, Any] = {}  # of this process, the newest alone


def try_rows(config: RunConfig, cancelled: Callable[[], bool] = lambda: False) -> int:
    """Encode rows of each source until one comes through; returns of how many sources one has.

    A source of which none does is no fault where another has some, for a run trains on what is left.

    Raises:
        DataError: none of any source does, and all rows were tried that a run could take.
        TunerError: the tokenizer or the template cannot be used.
    """
    task, data = find_task(config.task), config.data
    tokenizer, _notes = own_tokenizer(config, _tokenizer(config.model))
    ledger, done, tried, until = Ledger(), 0, 0, time.monotonic() + LONGEST
    whole = True  # nothing is left that nobody knows about
    legible = False
    limit = None if data.pick == "random" else data.limit  # where these are picked, any may be among them
    for resolved in resolve(data):
        if limit is not None and (done or tried >= limit):
            break  # a run may not come so far
        if resolved.far_off:
            whole = False
            continue
        left = None if limit is None else limit - tried
        encoder = RowEncoder(task.encoder(config, tokenizer))
        reading = Reading(data.model_copy(update={"path": [resolved.source], "limit": left}))
        rows, looked, size = iter(reading), 0, FIRST
        while batch := list(islice(rows, min(size, MOST - looked))):
            looked, size = looked + len(batch), 2 * size
            collected = Collected()
            encoder.add(batch, collected, ledger)
            if any(_teaches(task, one) for one in collected.examples):
                done += 1
                break
            if looked >= MOST or time.monotonic() > until or cancelled():
                whole = False
                break
        tried, legible = tried + looked, legible or bool(reading.detections)
    if whole and not done:
        raise nothing_left(data, ledger, legible)
    return done


def _teaches(task: Task, example: Example) -> bool:
    """Whether anything is learnt from an example: at its tokens, or as a whole, such as its class."""
    if task.trained_mask(example).any():
        return True
    return bool(task.columns) and bool((example.labels == IGNORE).all())


def answer(arguments: dict[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]) -> int:
    """For a helper process: `config` as plain values. What is not on this machine yet is not asked for."""
    config = build_config(arguments["config"])
    try:
        if not _is_here(config.model):
            return 0
        return try_rows(config, cancelled)
    except HubError:  # the run fetches it, and sees
        return 0


def _is_here(model: ModelSection) -> bool:
    """Whether the tokenizer is on this machine; one that is yet to be learnt is not."""
    if model.tokenizer == "train":
        return False
    source = tokenizer_source(model)
    return os.path.isdir(source) or is_settled(source, model.revision if model.tokenizer is None else None)


def _tokenizer(model: ModelSection) -> Any:
    key = model.model_dump_json()
    if key not in _tokenizers:
        _tokenizers.clear()
        _tokenizers[key] = load_tokenizer(model)
    return _tokenizers[key]
