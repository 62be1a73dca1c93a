"""Prepare the rows of a run: its tokenizer, its examples, and a check that a resumed run sees the same."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.moment import get_current_moment, set_moment
from tui_tuner.data.examples import identity
from tui_tuner.data.examples.prepare import (
    PreparedRows,
    PreparingCancelled,
    prepare_examples,
    read_training_texts,
)
from tui_tuner.data.new_words.growing_tokenizer import grow_tokenizer, measure_growth
from tui_tuner.errors import DataError, RowsError
from tui_tuner.locales import N_, _
from tui_tuner.models.growing.growth import RECORD, find_growth
from tui_tuner.models.loading import load_tokenizer
from tui_tuner.runs.event_lines import format_vocabulary_event
from tui_tuner.runs.events import VocabularyGrown
from tui_tuner.runs.private_files import read_small_file
from tui_tuner.text import join_sentence_items, one_line
from tui_tuner.training.context import LEARNED, TOKENIZER, RunContext
from tui_tuner.training.run_commands import StopRequested

MOMENT = "moment.json"
SHOWN = 8  # new tokens that the journal names
# The parts of a run's identity, causes first: another tokenizer changes all the rows as well.
PARTS = {
    "tokenizer": N_("the tokenizer"),
    "splitting": N_("the way the tokenizer splits text"),
    "template": N_("the chat template"),
    "training": N_("the training rows"),
    "validation": N_("the validation rows"),
}


def load_run_tokenizer(context: RunContext, config: RunConfig) -> Any:
    """Load the tokenizer of a run; one that is trained on its data is kept in its folder."""
    context.reporter.report_phase("loading", note=_("tokenizer"))
    tokenizer = _load_tokenizer(context, config)
    set_moment(tokenizer, _find_moment(context))
    return tokenizer


def _load_tokenizer(context: RunContext, config: RunConfig) -> Any:
    kept = context.folder.path / TOKENIZER
    if config.model.new_tokens is not None and not (kept / RECORD).is_file():
        _grow_tokenizer(context, config, kept)
    elif config.model.tokenizer == "train" and not (kept / "tokenizer.json").is_file():
        from tui_tuner.models.tokenizer_training import train_tokenizer

        context.reporter.report_phase("tokenizing", note=_("training a tokenizer"))
        train_tokenizer(read_training_texts(config), config.model.vocabulary).save_pretrained(str(kept))
    # An adapter that the run begins with may have brought one along, too.
    if not (kept / "tokenizer.json").is_file():
        return load_tokenizer(config.model)
    # Not used as made, but loaded from the disk, as a resumed run will do.
    return load_tokenizer(config.model.model_copy(update={"tokenizer": str(kept)}))


def _grow_tokenizer(context: RunContext, config: RunConfig, kept: Path) -> None:
    """Write the tokenizer of the run with its new tokens into the run's folder."""
    context.reporter.report_phase("tokenizing", note=_("finding new tokens"))
    tokenizer = load_tokenizer(config.model)
    set_moment(tokenizer, _find_moment(context))
    try:
        if context.ranks.is_main:
            stop = context.commands.stop_wanted
            grown = grow_tokenizer(config, tokenizer, context.task, kept, context, stop)
            for note in grown.notes:
                context.reporter.report_log(note)
    except PreparingCancelled:
        raise StopRequested from None
    context.ranks.any_rank(False)  # the others wait for it


def report_growth(context: RunContext, config: RunConfig, prepared: PreparedRows) -> None:
    """Say what the new tokens of a run save, once: characters per token before and after."""
    growth = find_growth(prepared.tokenizer)
    if growth is None or config.model.new_tokens is None or context.checkpoint is not None:
        return
    found = measure_growth(load_tokenizer(config.model), prepared.tokenizer, prepared)
    # The longest: those of byte-pair encoding begin with the steps that lead to them. Once with and without
    # a space before it.
    words = {token.text.strip() for token in growth.tokens} - {""}
    shown = sorted(words, key=lambda word: (-len(word), word))[:SHOWN]
    grown = VocabularyGrown(len(growth.tokens), growth.rows, **found, samples=shown)
    context.reporter.emit(grown)
    context.reporter.report_log(format_vocabulary_event(grown) + ".")


def _find_moment(context: RunContext) -> datetime:
    """Return the time at which the run's chats are rendered: that of its beginning."""
    path = context.folder.path / MOMENT
    # Templates may print the date, and a resumed run must train on the same tokens.
    kept = context.progress.moment
    if not kept and path.is_file():
        try:
            kept = str(json.loads(read_small_file(path))["rendered_at"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            kept = ""  # no step has been saved yet, so another time does no harm
    found = _read_moment(kept) or _moment_of_older(context) or get_current_moment()
    context.progress.moment = found.isoformat()
    context.write_text(MOMENT, json.dumps({"rendered_at": found.isoformat()}))
    return found


def _moment_of_older(context: RunContext) -> datetime | None:
    """Return when a run of version 0.1 began, which kept no moment."""
    created = context.folder.read_manifest().get("created") if context.checkpoint is not None else None
    return datetime.fromtimestamp(int(created)) if isinstance(created, int | float) else None


def _read_moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def prepare_rows(context: RunContext, config: RunConfig, tokenizer: Any) -> PreparedRows:
    """Read, clean, tokenise and split the data; every row ends in the ledger.

    Raises:
        DataError, PreflightError: the rows cannot be trained on.
        StopRequested: a stop was requested meanwhile.
    """
    context.reporter.report_phase("tokenizing")
    stop = context.commands.stop_wanted
    try:
        prepared = prepare_examples(config, tokenizer, context.task, sink=context, cancelled=stop)
    except PreparingCancelled:
        raise StopRequested from None
    if not len(prepared.train):
        raise RowsError(
            _("nothing is left to train on."), where=one_line(config.data.path), field="data.path"
        )
    _check_same(context, config, prepared)
    report_growth(context, config, prepared)
    context.write_text(LEARNED, json.dumps(prepared.learned, indent=1))
    return prepared


# ---- what the run began with ------------------------------------------------------------------------------


def digest_run_identity(prepared: PreparedRows) -> dict[str, str]:
    """Return digests of everything that decides which tokens a run trains on, and is judged by."""
    import tokenizers

    tokenizer = prepared.tokenizer
    return {
        "tokenizer": identity.digest_vocabulary(tokenizer),
        # The library decides how it is written, so it can be compared only within one of its versions.
        "splitting": f"{tokenizers.__version__} {identity.digest_splitting(tokenizer)}",
        "template": identity.digest_template(tokenizer),
        "training": identity.digest_rows(prepared.train),
        "validation": identity.digest_rows(prepared.validation),
    }


def _check_same(context: RunContext, config: RunConfig, prepared: PreparedRows) -> None:
    """Raise `DataError` if a resumed run would train on other tokens than before, or be judged by others."""
    found, before = digest_run_identity(prepared), context.progress.identity
    changed = [
        part for part in PARTS if part in before and _is_part_different(part, before[part], found[part])
    ]
    # A run of version 0.1 knows its rows by their lengths alone.
    if not before and context.progress.rows not in ("", _lengths_identity(prepared)):
        changed = ["training"]
    if changed:
        raise DataError(
            _(
                "{parts} are not those the run began with, so it cannot be resumed exactly.",
                parts=join_sentence_items(_(PARTS[part]) for part in changed),
            ),
            where=_find_place(config, changed),
            field=_find_field(config, changed),
            hint=_way_back(changed),
        )
    context.progress.identity = found


def _is_part_different(part: str, before: str, now: str) -> bool:
    if part != "splitting":
        return before != now
    (version, digest), (version_now, digest_now) = before.split(" ", 1), now.split(" ", 1)
    return version == version_now and digest != digest_now


def _lengths_identity(prepared: PreparedRows) -> str:
    """Return the value by which version 0.1 knew its rows."""
    found = hashlib.sha256()
    for array in (prepared.train.lengths, prepared.train.trained_tokens):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def _find_place(config: RunConfig, changed: list[str]) -> str:
    """Return the file or name that the first changed part comes from."""
    model, data = config.model, config.data
    if changed[0] in ("tokenizer", "splitting"):
        return one_line(model.tokenizer or model.name)
    if changed[0] == "template":
        return one_line(model.chat_template or model.tokenizer or model.name)
    if changed == ["validation"] and isinstance(data.validation, str):
        return one_line(data.validation)
    return one_line(data.path)


def _find_field(config: RunConfig, changed: list[str]) -> str:
    """Return the config field of that file or name."""
    if changed[0] == "template" and config.model.chat_template:
        return "model.chat_template"
    if changed[0] in ("tokenizer", "splitting", "template"):
        return "model.tokenizer" if config.model.tokenizer else "model.name"
    held = changed == ["validation"] and isinstance(config.data.validation, str)
    return "data.validation" if held else "data.path"


def _way_back(changed: list[str]) -> str:
    if changed[0] in ("tokenizer", "splitting"):
        return _("Put the old tokenizer's files back, or start a new run.")
    if changed[0] == "template":
        return _("Put the old chat template back, or start a new run.")
    return _("Put the old file back, or start a new run.")
