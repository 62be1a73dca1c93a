"""From a config and a tokenizer to tokenised training and validation rows, with every row accounted for."""

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

from tui_tuner.config.advice import Command, advise, hints, setting
from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.data.chat.moment import one_moment
from tui_tuner.data.examples import cache
from tui_tuner.data.examples.encoder import CleanRow, Encoder, Facts, RowEncoder
from tui_tuner.data.examples.identity import cache_key, dates_written
from tui_tuner.data.examples.splitting import split_examples
from tui_tuner.data.examples.store import Store, StoreWriter, TokenizedRows
from tui_tuner.data.examples.workers import encoded_in_order
from tui_tuner.data.ledger import COPIES, REPEATED, Ledger
from tui_tuner.data.preflight import Problem, Report, check_split, repeated_rows, trained_too
from tui_tuner.data.reading import Read, Reading
from tui_tuner.data.records import Record, texts_of
from tui_tuner.data.sources.counting import rows_about
from tui_tuner.data.sources.files import resolve
from tui_tuner.errors import EXIT_INTERRUPTED, DataError, DiskFullError, RowsError, TunerError, about
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Log, Phase, RowLedger, Sink, Warned
from tui_tuner.text import one_line

BATCH = 1024
BATCH_CHARACTERS = 400_000
REPORT_SECONDS = 0.9
# What to do about the most frequent reason rows are dropped for, and in which field.
_WAYS = (
    ("max_length", "data.max_length", N_("Raise data.max_length.")),
    (
        "refuses system messages",
        "data.system_turns",
        N_(
            "Put them in front of the first question with {first}, or leave them out with {drop}.",
            first=setting({"data.system_turns": "first_user"}),
            drop=setting({"data.system_turns": "drop"}),
        ),
    ),
    (
        "chat template",
        "model.chat_template",
        N_(
            "Choose a template that can write them, such as {command}.",
            command=setting({"model.chat_template": "chatml"}),
        ),
    ),
    (
        "needs ",
        "data.media",
        N_(
            "To train the text alone, without what it speaks of: {command}.",
            command=setting({"data.media": "ignore"}),
        ),
    ),
)
_SEE = N_("See {command}.", command=Command("`tui-tuner data inspect FILE`", N_("the data screen")))
_MEND_ROWS = N_("Mend them.")


class RowTask(Protocol):
    """What preparing rows asks of a task (`tasks.base.Task`)."""

    records: tuple[type[Record], ...]
    columns: Mapping[str, str]

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]: ...
    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder: ...
    def read_beside(self, config: RunConfig, tokenizer: Any) -> Any: ...
    def check_rows(self, facts: Facts, ledger: Ledger, config: RunConfig) -> list[Problem]: ...
    def number(self, rows: TokenizedRows, learned: Mapping[str, Any], config: RunConfig) -> None: ...


class Cancelled(TunerError):
    """Preparing was cancelled by the user; nothing half-written is left."""

    exit_code = EXIT_INTERRUPTED


@dataclass
class Prepared:
    """What training needs of the data.

    `detections` say which format each file has, `notes` what the user should know (a fallback template, files
    that were skipped), `learned` is what the task's encoder found out beyond the examples.
    """

    train: TokenizedRows
    validation: TokenizedRows | None
    ledger: Ledger
    report: Report
    detections: list[dict[str, Any]]
    notes: list[str]
    learned: dict[str, Any]
    tokenizer: Any
    config: RunConfig

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end the trained answers."""
        return sorted(set(self.learned.get("stop_tokens", {}).values()))


def prepare(
    config: RunConfig,
    tokenizer: Any,
    task: RowTask,
    *,
    sink: Sink | None = None,
    cache_dir: Path | str | None = None,
    cancelled: Callable[[], bool] | threading.Event | None = None,
) -> Prepared:
    """Read, clean, tokenise and split the data of a run, or take it from the cache.

    What the task needs of the tokenizer, such as a chat template, is set on it. `cache_dir` defaults to the
    user's cache folder. Chats are rendered at the tokenizer's moment (`chat/moment.py`), or now.

    Raises:
        DataError: the data cannot be read or used, or too many rows would be dropped.
        PreflightError: a check found something that would waste the run.
        HubError: a hub data set cannot be reached.
        ModelError: the template cannot be used.
        Cancelled: `cancelled` said so.
    """
    with one_moment(tokenizer):
        return _prepare(config, tokenizer, task, sink, cache_dir, cancelled)


def _prepare(
    config: RunConfig,
    tokenizer: Any,
    task: RowTask,
    sink: Sink | None,
    cache_dir: Path | str | None,
    cancelled: Callable[[], bool] | threading.Event | None,
) -> Prepared:
    notes = task.prepare_tokenizer(config, tokenizer)
    stop = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
    stop = stop or (lambda: False)
    root = cache.cache_root() if cache_dir is None else Path(cache_dir)
    store = _tokenised(config, config.data, tokenizer, task, root, sink, stop)
    ledger = Ledger.from_json(store.meta["ledger"])
    _check_dropped(ledger, config.data, sink)
    second = held_ledger = None
    if isinstance(config.data.validation, str):
        held = config.data.model_copy(update={"path": config.data.validation, "limit": None})
        with about("data.validation", instead_of="data.path"):
            second = _tokenised(config, held, tokenizer, task, root, sink, stop)
        held_ledger = Ledger.from_json(second.meta["ledger"])
        _check_dropped(held_ledger, held, sink)
    train, validation = split_examples(store, second, config.data, ledger)
    for rows in (train, validation):
        if rows is not None:
            task.number(rows, store.meta["learned"], config)
    report = Report.from_json(store.meta["report"])
    check_split(report, train, validation)
    if validation is not None:
        ledger.splits[COPIES] = int(trained_too(train, validation).sum())
        ledger.splits[REPEATED] = repeated_rows(train)
    prepared = Prepared(
        train=train,
        validation=validation,
        ledger=ledger,
        report=report,
        detections=store.meta["detections"],
        notes=notes + store.meta["notes"] + ledger.notes,
        learned=store.meta["learned"],
        tokenizer=tokenizer,
        config=config,
    )
    if sink:
        held_rows = held_ledger.to_json() if held_ledger else None
        sink.emit(RowLedger(**ledger.to_json(), validation=held_rows))
        for problem in report.problems:
            sink.emit(Warned(problem.code, problem.sentence(), problem.hint, problem.on_screen))
        for note in prepared.notes:
            sink.emit(Log(note))
    if config.data.preflight == "stop":
        report.stop()
    return prepared


def _tokenised(
    config: RunConfig,
    data: DataSection,
    tokenizer: Any,
    task: RowTask,
    root: Path,
    sink: Sink | None,
    stop: Callable[[], bool],
) -> Store:
    """The store of one data section: from the cache, or made now."""
    sources = resolve(data)
    key = cache_key(config, data, tokenizer, sources, task)
    store = cache.open_store(root, key, sink)
    if store is not None:
        if sink:
            rows = store.meta["rows"]
            sink.emit(Phase("tokenizing", rows, rows, _("cached"), "rows"))
        return store
    beside = cache.beside(root, key)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache.forget_old(root)
        _write(config, data, tokenizer, task, beside, sink, stop, rows_about(sources, data.limit))
        return cache.keep(beside, root, key)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise DiskFullError(
            _("tokenised rows cannot be written: {problem}.", problem=error.strerror or one_line(error)),
            where=one_line(root),
        ) from None
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _write(
    config: RunConfig,
    data: DataSection,
    tokenizer: Any,
    task: RowTask,
    folder: Path,
    sink: Sink | None,
    stop: Callable[[], bool],
    about: int | None = None,
) -> None:
    """Tokenise into `folder`; `about` is the estimated number of rows, for progress alone."""
    ledger, reading = Ledger(), Reading(data, picks=data.pick == "random")
    encoder = task.encoder(config, tokenizer)
    rows_encoder = RowEncoder(encoder)
    last = 0.0
    cleaned = ((rows, [row.record for row in rows]) for rows in _cleaned(reading, rows_encoder, ledger))
    with (
        StoreWriter(folder, task.columns) as writer,
        contextlib.closing(encoded_in_order(encoder, cleaned, task.encoder)) as encoded,
    ):
        for rows, found in encoded:
            if stop():
                raise Cancelled(_("cancelled while tokenising."), hint=_("Nothing was written."))
            rows_encoder.store(rows, found, writer, ledger)
            if sink and time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                total = about if about is not None and about > ledger.read else None
                note = "" if total is None else _("total estimated")
                sink.emit(Phase("tokenizing", ledger.read, total, note, "rows"))
        if not writer.examples:
            if sink and ledger.read:
                sink.emit(RowLedger(**ledger.to_json()))
            raise nothing_left(data, ledger, bool(reading.detections))
        writer.finish(
            {
                "ledger": ledger.to_json(),
                "report": Report(task.check_rows(rows_encoder.facts, ledger, config)).to_json(),
                "detections": [item.to_json() for item in reading.detections],
                "notes": reading.notes + encoder.notes,
                "learned": encoder.learned(),
                "made": _made_of(config, data, tokenizer, task),
            }
        )
    if sink:
        sink.emit(Phase("tokenizing", ledger.read, ledger.read, unit="rows"))


def _made_of(config: RunConfig, data: DataSection, tokenizer: Any, task: RowTask) -> dict[str, Any]:
    """What a store was made of, in words, for a list of the cache."""
    paths = data.path if isinstance(data.path, list) else [data.path]
    return {
        "data": [path if isinstance(path, str) else path.path for path in paths],
        "task": config.task,
        "model": config.model.name,
        "tokenizer": config.model.tokenizer or "",
        "dates": dates_written(tokenizer, task),
    }


def _cleaned(reading: Reading, encoder: RowEncoder, ledger: Ledger) -> Iterator[list[CleanRow]]:
    batch: list[Read] = []
    size = 0
    for read in reading:
        batch.append(read)
        size += sum(map(len, texts_of(read.record))) if read.record is not None else 0
        if full(len(batch), size):
            yield encoder.clean(batch, ledger)
            batch, size = [], 0
    if batch:
        yield encoder.clean(batch, ledger)


def full(rows: int, characters: int) -> bool:
    """Whether so much text makes a batch: larger ones wait for each other, smaller ones cost more calls."""
    return rows >= BATCH or characters >= BATCH_CHARACTERS


def nothing_left(data: DataSection, ledger: Ledger, legible: bool) -> DataError:
    """What is said where no row is left: that there was none, or the most frequent reason with its first row.

    Args:
        legible: Whether any row could be looked at: not all were broken lines.
    """
    if not ledger.read:
        return DataError(
            _("holds no rows."), where=one_line(data.path), hint=_("Check data.path."), field="data.path"
        )
    worst = ledger.reasons("dropped")[0] if ledger.reasons("dropped") else None
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
        hint=advise(_way_out(reason, _SEE)),
        field=next((field for words, field, _way in _WAYS if words in reason), "data.path"),
    )


def _check_dropped(ledger: Ledger, data: DataSection, sink: Sink | None) -> None:
    if ledger.dropped_share <= data.max_dropped:
        return
    if sink:
        sink.emit(RowLedger(**ledger.to_json()))
    dropped = ledger.outcomes["dropped"]
    worst = ledger.reasons("dropped")
    parts = [_("{count:,} because {why}", count=one.count, why=_(one.reason)) for one in worst[:3]]
    sample = worst[0].samples[0]
    if sample["text"]:
        parts[0] += f" ({sample['text']})"
    share = ledger.dropped_share
    accepted = float(_rounded_up(share))
    raise DataError(
        _(
            "{dropped:,} of {rows:,} rows ({share:.1%}) would be dropped: {reasons}.",
            dropped=dropped,
            rows=ledger.read,
            share=share,
            reasons="; ".join(parts),
        ),
        where=sample["origin"],
        hint=hints(
            advise(_way_out(worst[0].reason, _MEND_ROWS)),
            advise(N_("Or accept the loss with {command}.", command=setting({"data.max_dropped": accepted}))),
        ),
        field="data.max_dropped",
    )


def _way_out(reason: str, otherwise: str) -> str:
    """What to do about rows that are dropped for a reason."""
    return next((way for words, _field, way in _WAYS if words in reason), otherwise)


def _rounded_up(share: float) -> float:
    return min(1.0, np.ceil(share * 1000) / 1000)


def texts(config: RunConfig) -> Iterator[str]:
    """Every piece of text in the data, for learning a tokenizer.

    Raises:
        DataError: the data cannot be read.
    """
    for read in Reading(config.data):
        if read.record is not None:
            yield from texts_of(read.record)


__all__ = ["Cancelled", "Prepared", "RowTask", "prepare", "texts"]
