"""Prepare tokenised training and validation rows from a config and a tokenizer; every row is counted."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tui_tuner.config.advice import Command, build_hint, join_hints, write_setting
from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.data.chat.moment import hold_moment
from tui_tuner.data.examples import cache
from tui_tuner.data.examples.identity import find_dates_written, make_cache_key
from tui_tuner.data.examples.record_encoder import CleanRow, RecordEncoder, RowEncoder, RowFacts
from tui_tuner.data.examples.splitting import split_examples
from tui_tuner.data.examples.store import StoreWriter, TokenizedRows, TokenStore
from tui_tuner.data.examples.workers import encode_batches_in_order
from tui_tuner.data.ledger import COPIES, REPEATED, Ledger
from tui_tuner.data.preflight import (
    PreflightReport,
    Problem,
    check_data_split,
    count_repeated_rows,
    find_trained_rows,
)
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.data.records import Record, list_record_texts
from tui_tuner.data.row_weights import WEIGHTLESS, describe_label_weights
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.data.sources.row_estimate import estimate_rows
from tui_tuner.errors import (
    EXIT_INTERRUPTED,
    DataError,
    DiskFullError,
    RowsError,
    TunerError,
    name_error_field,
)
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import EventSink, Log, Phase, RowLedger, Warned
from tui_tuner.text import one_line

BATCH = 1024
BATCH_CHARACTERS = 400_000
REPORT_SECONDS = 0.9
# The way out for the most frequent reasons of dropped rows, and the field that it changes.
_WAYS = (
    ("max_source", "data.max_source", N_("Raise data.max_source and data.max_target.")),
    ("max_length", "data.max_length", N_("Raise data.max_length.")),
    (
        "refuses system messages",
        "data.system_turns",
        N_(
            "Put them before the first question with {first}, or leave them out with {drop}.",
            first=write_setting({"data.system_turns": "first_user"}),
            drop=write_setting({"data.system_turns": "drop"}),
        ),
    ),
    (
        "chat template",
        "model.chat_template",
        N_(
            "Choose a template that can write them, such as {command}.",
            command=write_setting({"model.chat_template": "chatml"}),
        ),
    ),
    (
        "the weight of its losses",
        "data.loss_weight",
        N_("Write a number of 0 or more into that column, or leave the cell empty for 1."),
    ),
    (
        WEIGHTLESS,
        "data.loss_weight",
        N_("Give some rows a weight above 0, or name another column."),
    ),
    (
        "needs ",
        "data.media",
        N_(
            "To train on the text alone, without its pictures, sounds or films: {command}.",
            command=write_setting({"data.media": "ignore"}),
        ),
    ),
)
_SEE = N_("See {command}.", command=Command("`tui-tuner data inspect FILE`", N_("the data screen")))
_MEND_ROWS = N_("Fix them.")


class RowTask(Protocol):
    """The part of a task (`tasks.base.Task`) that preparing rows needs."""

    records: tuple[type[Record], ...]
    columns: Mapping[str, str]

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]: ...
    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder: ...
    def read_cache_extras(self, config: RunConfig, tokenizer: Any) -> Any: ...
    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]: ...
    def renumber_rows(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None: ...


class PreparingCancelled(TunerError):
    """The user cancelled; nothing half-written is left."""

    exit_code = EXIT_INTERRUPTED


@dataclass
class PreparedRows:
    """The data as training needs it.

    `detections` give the format of each file, `notes` are for the user (a fallback template, skipped files),
    `learned` is what the task's encoder found out beyond the examples.
    """

    train: TokenizedRows
    validation: TokenizedRows | None
    ledger: Ledger
    report: PreflightReport
    detections: list[dict[str, Any]]
    notes: list[str]
    learned: dict[str, Any]
    tokenizer: Any
    config: RunConfig

    @property
    def list_stop_ids(self) -> list[int]:
        """The ids of the tokens that end trained answers."""
        return sorted(set(self.learned.get("stop_tokens", {}).values()))


def prepare_examples(
    config: RunConfig,
    tokenizer: Any,
    task: RowTask,
    *,
    sink: EventSink | None = None,
    cache_dir: Path | str | None = None,
    cancelled: Callable[[], bool] | threading.Event | None = None,
) -> PreparedRows:
    """Read, clean, tokenise and split the data of a run, or take it from the cache.

    The tokenizer is changed: it gets what the task needs, such as a chat template. `cache_dir` defaults to
    the user's cache folder. Chats are rendered at the tokenizer's moment (`chat/moment.py`), or now.

    Raises:
        DataError: the data cannot be read or used, or too many rows would be dropped.
        PreflightError: a check found something that would waste the run.
        HubError: a hub data set cannot be reached.
        ModelError: the template cannot be used.
        Cancelled: `cancelled` returned True.
    """
    with hold_moment(tokenizer):
        return _prepare_at_moment(config, tokenizer, task, sink, cache_dir, cancelled)


def _prepare_at_moment(
    config: RunConfig,
    tokenizer: Any,
    task: RowTask,
    sink: EventSink | None,
    cache_dir: Path | str | None,
    cancelled: Callable[[], bool] | threading.Event | None,
) -> PreparedRows:
    notes = task.prepare_tokenizer(config, tokenizer)
    stop = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
    stop = stop or (lambda: False)
    root = cache.find_cache_root() if cache_dir is None else Path(cache_dir)
    store = _get_store(config, config.data, tokenizer, task, root, sink, stop)
    ledger = Ledger.from_json(store.meta["ledger"])
    _check_dropped(ledger, config.data, sink)
    second = held_ledger = None
    # A path; a number is the share that is split off.
    if isinstance(config.data.validation, str):
        # `limit` is for training rows; held-out rows are all used.
        held = config.data.model_copy(update={"path": config.data.validation, "limit": None})
        # An error in the validation file must not point to the field of the training file.
        with name_error_field("data.validation", instead_of="data.path"):
            second = _get_store(config, held, tokenizer, task, root, sink, stop)
        held_ledger = Ledger.from_json(second.meta["ledger"])
        _check_dropped(held_ledger, held, sink)
    train, validation = split_examples(store, second, config.data, ledger)
    # Numbers of classes are known only now, when every process has reported what it found.
    for rows in (train, validation):
        if rows is not None:
            task.renumber_rows(rows, store.meta["learned"], config)
    report = PreflightReport.from_problems(store.meta["report"])
    check_data_split(report, train, validation)
    if validation is not None:
        ledger.splits[COPIES] = int(find_trained_rows(train, validation).sum())
        ledger.splits[REPEATED] = count_repeated_rows(train)
    prepared = PreparedRows(
        train=train,
        validation=validation,
        ledger=ledger,
        report=report,
        detections=store.meta["detections"],
        notes=notes + store.meta["notes"] + ledger.notes + describe_label_weights(train),
        learned=store.meta["learned"],
        tokenizer=tokenizer,
        config=config,
    )
    if sink:
        held_rows = held_ledger.to_json() if held_ledger else None
        sink.emit(RowLedger(**ledger.to_json(), validation=held_rows))
        for problem in report.problems:
            sink.emit(Warned(problem.code, problem.format_message(), problem.hint, problem.on_screen))
        for note in prepared.notes:
            sink.emit(Log(note))
    # After everything was reported, so that the journal has the warnings as well as the error.
    if config.data.preflight == "stop":
        report.raise_errors()
    return prepared


def _get_store(
    config: RunConfig,
    data: DataSection,
    tokenizer: Any,
    task: RowTask,
    root: Path,
    sink: EventSink | None,
    stop: Callable[[], bool],
) -> TokenStore:
    """Return the store of one data section, from the cache or newly made."""
    sources = resolve_data_paths(data)
    key = make_cache_key(config, data, tokenizer, sources, task)
    store = cache.open_cached_store(root, key, sink)
    if store is not None:
        if sink:
            rows = store.meta["rows"]
            sink.emit(Phase("tokenizing", rows, rows, _("cached"), "rows"))
        return store
    beside = cache.name_temporary_store(root, key)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only when something is written: a run whose rows are cached needs no time for this.
        cache.delete_old_stores(root)
        _write_store(config, data, tokenizer, task, beside, sink, stop, estimate_rows(sources, data.limit))
        return cache.keep_cached_store(beside, root, key)
    # Reading errors are DataErrors already, so what arrives here is a failed write.
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise DiskFullError(
            _("tokenised rows cannot be written: {problem}.", problem=error.strerror or one_line(error)),
            where=one_line(root),
        ) from None
    # Also for KeyboardInterrupt and Cancelled: no half-written folder may stay.
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _write_store(
    config: RunConfig,
    data: DataSection,
    tokenizer: Any,
    task: RowTask,
    folder: Path,
    sink: EventSink | None,
    stop: Callable[[], bool],
    about: int | None = None,
) -> None:
    """Tokenise into `folder`; `about` is an estimate of the rows, used only for progress."""
    ledger, reading = Ledger(), DataReading(data, picks=data.pick == "random")
    encoder = task.make_encoder(config, tokenizer)
    rows_encoder = RowEncoder(encoder)
    last = 0.0
    cleaned = ((rows, [row.record for row in rows]) for rows in _clean_batches(reading, rows_encoder, ledger))
    with (
        StoreWriter(folder, task.columns) as writer,
        contextlib.closing(encode_batches_in_order(encoder, cleaned, task.make_encoder)) as encoded,
    ):
        for rows, found in encoded:
            if stop():
                raise PreparingCancelled(_("cancelled while tokenising."), hint=_("Nothing was written."))
            rows_encoder.store_rows(rows, found, writer, ledger)
            if sink and time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                # An estimate that was already passed is not shown as a total.
                total = about if about is not None and about > ledger.read else None
                note = "" if total is None else _("total estimated")
                sink.emit(Phase("tokenizing", ledger.read, total, note, "rows"))
        if not writer.examples:
            # The counts go out before the error: they say why no row is left.
            if sink and ledger.read:
                sink.emit(RowLedger(**ledger.to_json()))
            raise make_no_rows_error(data, ledger, bool(reading.detections))
        writer.finish_store(
            {
                "ledger": ledger.to_json(),
                "report": PreflightReport(
                    task.check_rows(rows_encoder.facts, ledger, config)
                ).export_problems(),
                "detections": [item.to_json() for item in reading.detections],
                "notes": reading.notes + encoder.notes,
                "learned": encoder.export_learned(),
                "made": _describe_origin(config, data, tokenizer, task),
            }
        )
    if sink:
        sink.emit(Phase("tokenizing", ledger.read, ledger.read, unit="rows"))


def _describe_origin(config: RunConfig, data: DataSection, tokenizer: Any, task: RowTask) -> dict[str, Any]:
    """Describe what a store was made from, for a list of the cache."""
    paths = data.path if isinstance(data.path, list) else [data.path]
    return {
        "data": [path if isinstance(path, str) else path.path for path in paths],
        "task": config.task,
        "model": config.model.name,
        "tokenizer": config.model.tokenizer or "",
        "dates": find_dates_written(tokenizer, task),
    }


def _clean_batches(reading: DataReading, encoder: RowEncoder, ledger: Ledger) -> Iterator[list[CleanRow]]:
    batch: list[ReadRow] = []
    size = 0
    for read in reading:
        batch.append(read)
        size += sum(map(len, list_record_texts(read.record))) if read.record is not None else 0
        if is_batch_full(len(batch), size):
            yield encoder.clean_rows(batch, ledger)
            batch, size = [], 0
    if batch:
        yield encoder.clean_rows(batch, ledger)


def is_batch_full(rows: int, characters: int) -> bool:
    """Return whether this much text makes a batch."""
    # Larger batches wait for each other in the workers, and smaller ones cost more calls.
    return rows >= BATCH or characters >= BATCH_CHARACTERS


def make_no_rows_error(data: DataSection, ledger: Ledger, legible: bool) -> DataError:
    """Make the error for data without a usable row: no rows, or the most frequent reason with its first row.

    Args:
        legible: Whether any row could be read; False if all were broken lines.
    """
    if not ledger.read:
        return DataError(
            _("holds no rows."), where=one_line(data.path), hint=_("Check data.path."), field="data.path"
        )
    reasons = ledger.list_reasons("dropped") or ledger.list_reasons("unused")
    worst = reasons[0] if reasons else None
    sample = worst.samples[0] if worst and worst.samples else None
    reason = worst.reason if worst else ""
    why = _(reason) if worst else _("all were deduplicated")
    if sample and sample["text"]:
        why += f" ({sample['text']})"
    return (RowsError if legible else DataError)(
        _(
            "no row can be trained on: {count:,} of {rows:,} rows: {why}.",
            count=worst.count if worst else 0,
            rows=ledger.read,
            why=why,
        ),
        where=sample["origin"] if sample else "",
        hint=build_hint(_find_way_out(reason, _SEE)),
        field=next((field for words, field, _way in _WAYS if words in reason), "data.path"),
    )


def _check_dropped(ledger: Ledger, data: DataSection, sink: EventSink | None) -> None:
    if ledger.dropped_share <= data.max_dropped:
        return
    if sink:
        sink.emit(RowLedger(**ledger.to_json()))
    dropped = ledger.outcomes["dropped"]
    worst = ledger.list_reasons("dropped")
    parts = [_("{count:,} because {why}", count=one.count, why=_(one.reason)) for one in worst[:3]]
    sample = worst[0].samples[0]
    if sample["text"]:
        parts[0] += f" ({sample['text']})"
    share = ledger.dropped_share
    # Rounded up, so that the suggested value really accepts this share.
    accepted = float(_round_up(share))
    raise DataError(
        _(
            "{dropped:,} of {rows:,} rows ({share:.1%}) would be dropped: {reasons}.",
            dropped=dropped,
            rows=ledger.read,
            share=share,
            reasons="; ".join(parts),
        ),
        where=sample["origin"],
        hint=join_hints(
            build_hint(_find_way_out(worst[0].reason, _MEND_ROWS)),
            build_hint(
                N_(
                    "Or accept the loss with {command}.",
                    command=write_setting({"data.max_dropped": accepted}),
                )
            ),
        ),
        field="data.max_dropped",
    )


def _find_way_out(reason: str, otherwise: str) -> str:
    """Return the way out for rows that are dropped for a reason."""
    return next((way for words, _field, way in _WAYS if words in reason), otherwise)


def _round_up(share: float) -> float:
    return min(1.0, np.ceil(share * 1000) / 1000)


def read_training_texts(config: RunConfig) -> Iterator[str]:
    """Yield every piece of text in the data, for training a tokenizer.

    Raises:
        DataError: the data cannot be read.
    """
    for read in DataReading(config.data):
        if read.record is not None:
            yield from list_record_texts(read.record)


__all__ = ["PreparedRows", "PreparingCancelled", "RowTask", "prepare_examples", "read_training_texts"]
