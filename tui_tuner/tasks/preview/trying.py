"""Whether rows of a run's data come through its template and its tokenizer: tried on the first ones.

What is wrong with all rows of a file (a template that refuses them, nothing left to learn, all too long) is
said before a run is begun. Work for a helper process: it loads the tokenizer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from typing import Any

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.data.examples.encoder import RowEncoder
from tui_tuner.data.examples.prepare import nothing_left
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.reading import Reading
from tui_tuner.errors import HubError
from tui_tuner.models.loading import is_settled, load_tokenizer, tokenizer_source
from tui_tuner.tasks import find_task
from tui_tuner.tasks.preview.mask import Collected
from tui_tuner.tasks.preview.own_tokenizer import own_tokenizer

FIRST, MOST = 8, 512  # rows that are tried at once, and in all: later ones may be better
_tokenizers: dict[str, Any] = {}  # of this process, the newest alone


def try_rows(config: RunConfig, cancelled: Callable[[], bool] = lambda: False) -> int:
    """Encode rows of each source until one comes through; returns how many have.

    Raises:
        DataError: none of a source does, and all of its rows were tried.
        TunerError: the tokenizer or the template cannot be used.
    """
    task = find_task(config.task)
    tokenizer, _notes = own_tokenizer(config, _tokenizer(config.model))
    sources = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    done = 0
    for number, source in enumerate(sources):
        data = config.data.model_copy(update={"path": [source]})
        encoder, ledger, tried = RowEncoder(task.encoder(config, tokenizer)), Ledger(), 0
        reading = Reading(data)
        rows = iter(reading)
        while tried < MOST and not cancelled():
            batch = list(islice(rows, FIRST if not tried else MOST - tried))
            if not batch:
                break
            tried += len(batch)
            collected = Collected()
            encoder.add(batch, collected, ledger)
            if any(task.trained_mask(one).any() for one in collected.examples):
                done += 1
                break
        else:
            continue  # there are more rows, and nobody knows about them
        if done <= number and not cancelled():
            raise nothing_left(data, ledger, True)
    return done


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
