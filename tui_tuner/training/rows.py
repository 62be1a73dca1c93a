"""The rows of a run: its tokenizer, its examples, and whether a resumed run sees the same ones."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.prepare import Cancelled, Prepared, prepare, texts
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.text import one_line
from tui_tuner.training.commands import Stopped
from tui_tuner.training.context import LEARNED, RunContext

TOKENIZER = "tokenizer"


def load_run_tokenizer(context: RunContext, config: RunConfig) -> Any:
    """The tokenizer of a run; one that is learnt from its data is kept in its folder."""
    reporter = context.reporter
    reporter.phase("loading", note=_("tokenizer"))
    if config.model.tokenizer != "train":
        return load_tokenizer(config.model)
    kept = context.folder.path / TOKENIZER
    if (kept / "tokenizer.json").is_file():
        return load_tokenizer(config.model.model_copy(update={"tokenizer": str(kept)}))
    from tui_tuner.models.tokenizer_training import train_tokenizer

    reporter.phase("tokenizing", note=_("learning a tokenizer"))
    tokenizer = train_tokenizer(texts(config), config.model.vocabulary)
    tokenizer.save_pretrained(str(kept))
    return tokenizer


def prepare_rows(context: RunContext, config: RunConfig, tokenizer: Any) -> Prepared:
    """Read, clean, tokenise and split the data; every row ends in the ledger.

    Raises:
        DataError, PreflightError: the rows cannot be trained on.
        Stopped: a stop was asked for meanwhile.
    """
    context.reporter.phase("tokenizing")
    stop = context.commands.stop_wanted
    try:
        prepared = prepare(config, tokenizer, context.task, sink=context, cancelled=stop)
    except Cancelled:
        raise Stopped from None
    if not len(prepared.train):
        raise DataError(_("nothing is left to train on."), where=one_line(config.data.path))
    _check_same_rows(context, config, prepared)
    context.write(LEARNED, json.dumps(prepared.learned, indent=1))
    return prepared


def _check_same_rows(context: RunContext, config: RunConfig, prepared: Prepared) -> None:
    """Raise `DataError` if a resumed run would see other rows than before."""
    found = hashlib.sha256()
    for array in (prepared.train.lengths, prepared.train.trained_tokens):
        found.update(np.ascontiguousarray(array).tobytes())
    digest = found.hexdigest()[:16]
    progress = context.progress
    if progress.rows and progress.rows != digest:
        raise DataError(
            _("the training rows are not those the run began with, so it cannot be resumed exactly."),
            where=one_line(config.data.path),
            hint=_("Put the old file back, or start a new run."),
        )
    progress.rows = digest
