"""Try the first rows of a run's data with its template and tokenizer, before the run starts.

This finds problems that all rows of a file have: a template that rejects them, nothing left to train on, or
too great a length. It is work for a helper process, because it loads the tokenizer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import ModelSection, RunConfig
from tui_tuner.data.examples.prepare import make_no_rows_error
from tui_tuner.data.examples.record_encoder import RowEncoder
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.new_words.growing_tokenizer import load_planned_tokenizer
from tui_tuner.data.read_data import DataReading
from tui_tuner.data.records import IGNORE, Example
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import HubError
from tui_tuner.models.loading import find_tokenizer_source, is_settled
from tui_tuner.tasks import Task, find_task
from tui_tuner.tasks.preview.mask import ExampleCollector
from tui_tuner.tasks.preview.own_tokenizer import copy_tokenizer

# Rows that are tried at first, and at most: a file may begin with unusable ones
FIRST, MOST = 8, 512
LONGEST = 10.0  # seconds, because a user waits for the answer
_tokenizers: dict[str, Any] = {}  # the newest one of this process


def try_source_rows(config: RunConfig, cancelled: Callable[[], bool] = lambda: False) -> int:
    """Encode rows of each source until one survives; return the number of sources with such a row.

    A source without such a row is not an error if another has some, because a run trains on what is left.

    Raises:
        DataError: no row of any source survives, and all rows that a run could use were tried.
        TunerError: the tokenizer or the template cannot be used.
    """
    task, data = find_task(config.task), config.data
    tokenizer, _notes = copy_tokenizer(config, _cached_tokenizer(config.model))
    ledger, done, tried, until = Ledger(), 0, 0, time.monotonic() + LONGEST
    # False once rows are left untried: then no error can be certain.
    whole = True
    legible = False
    # A random pick may contain any row, so the limit does not tell which ones to try.
    limit = None if data.pick == "random" else data.limit
    for resolved in resolve_data_paths(data):
        # The run may reach its limit of rows before this source.
        if limit is not None and (done or tried >= limit):
            break
        if resolved.is_far_off:
            whole = False
            continue
        left = None if limit is None else limit - tried
        encoder = RowEncoder(task.make_encoder(config, tokenizer))
        reading = DataReading(data.model_copy(update={"path": [resolved.source], "limit": left}))
        rows, looked, size = iter(reading), 0, FIRST
        # Each batch is twice as large: good data is recognised at once, and bad data with few batches.
        while batch := list(islice(rows, min(size, MOST - looked))):
            looked, size = looked + len(batch), 2 * size
            collected = ExampleCollector()
            encoder.encode_rows(batch, collected, ledger)
            if any(_is_teaching(task, one) for one in collected.examples):
                done += 1
                break
            if looked >= MOST or time.monotonic() > until or cancelled():
                whole = False
                break
        tried, legible = tried + looked, legible or bool(reading.detections)
    if whole and not done:
        raise make_no_rows_error(data, ledger, legible)
    return done


def _is_teaching(task: Task, example: Example) -> bool:
    """Return whether an example trains anything: its tokens, or a value for the whole, such as its class."""
    if task.trained_mask(example).any():
        return True
    return bool(task.columns) and bool((example.labels == IGNORE).all())


def run_try_operation(
    arguments: dict[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> int:
    """Try the rows of `config`, given as plain values, in a helper process. Nothing is downloaded."""
    config = build_config(arguments["config"])
    try:
        if not _is_here(config.model):
            return 0
        return try_source_rows(config, cancelled)
    # The run downloads the tokenizer and reports problems with its rows itself.
    except HubError:
        return 0


def _is_here(model: ModelSection) -> bool:
    """Return whether the tokenizer is on this machine; one that is still to be trained is not."""
    if model.tokenizer == "train":
        return False
    source = find_tokenizer_source(model)
    return os.path.isdir(source) or is_settled(source, model.revision if model.tokenizer is None else None)


def _cached_tokenizer(model: ModelSection) -> Any:
    key = model.model_dump_json()
    if key not in _tokenizers:
        _tokenizers.clear()
        _tokenizers[key] = load_planned_tokenizer(model)
    return _tokenizers[key]
