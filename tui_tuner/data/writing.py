"""Write data again, cleaned in its own layout or converted to a plain one; never only half of a file."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import orjson

from tui_tuner.config.schema import DataSection
from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.data.records import Chat, JudgedChat, Message, Preference, Record, list_record_texts
from tui_tuner.errors import DataError, DiskFullError, UsageError
from tui_tuner.locales import N_, _
from tui_tuner.runs.wire import convert_to_plain_json
from tui_tuner.text import one_line

DEFAULT_CLEANING = (
    "data.cleaning.exact_duplicates=true",
    "data.cleaning.refusals=true",
    "data.cleaning.control_characters=true",
)


def write_cleaned_file(data: DataSection, out: str | None, force: bool = False) -> Ledger:
    """Write what cleaning keeps: unchanged rows exactly as they were read, changed ones as plain records.

    Nothing is written if `out` is None. The ledger goes to `OUT.ledger.json` and dropped rows go to
    `OUT.dropped.jsonl`, so that cleaning can be undone.

    Raises:
        UsageError: the file exists and `force` is not given, or it is one of the files that are read.
        DataError: the data cannot be read or understood.
        DiskFullError: the file cannot be written.
    """
    return _write_rows(
        data, out, force, lambda read, record, changed: _to_plain_row(record) if changed else read.row.values
    )


def write_converted_file(data: DataSection, out: str, force: bool = False) -> Ledger:
    """Write every record in one plain layout: messages; text; prompt, chosen, rejected; and so on.

    Raises:
        UsageError, DataError, DiskFullError: as `write_cleaned_file`.
    """
    return _write_rows(data, out, force, lambda read, record, changed: _to_plain_row(record))


_Layout = Callable[[ReadRow, Record, bool], dict[str, Any]]


def _write_rows(data: DataSection, out: str | None, force: bool, layout: _Layout) -> Ledger:
    ledger = Ledger()
    if out is None:
        for _unused in _select_rows(data, ledger, layout):
            pass
        return _check_not_empty(ledger, data)
    target = Path(out).expanduser()
    _check_target(target, data, force)
    # Written under other names first: whatever happens, the files with the real names are complete.
    mark = uuid.uuid4().hex[:8]
    parts = {
        target: target.with_name(f".{target.name}.{mark}"),
        target.with_name(f"{target.name}.dropped.jsonl"): target.with_name(f".{target.name}.dropped.{mark}"),
        target.with_name(f"{target.name}.ledger.json"): target.with_name(f".{target.name}.ledger.{mark}"),
    }
    kept, dropped, book = parts.values()
    try:
        with open(kept, "wb") as file, open(dropped, "wb") as aside:
            for row, is_kept in _select_rows(data, ledger, layout):
                (file if is_kept else aside).write(
                    orjson.dumps(convert_to_plain_json(row), default=str) + b"\n"
                )
        # Nothing gets its real name if there was no row: an empty file would look like a result.
        _check_not_empty(ledger, data)
        book.write_text(json.dumps(ledger.to_json(), ensure_ascii=False, indent=1), encoding="utf-8")
        # Only now, since a rename cannot fail halfway as writing can.
        for whole, part in parts.items():
            part.replace(whole)
    except OSError as error:
        raise DiskFullError(
            _("cannot be written: {problem}.", problem=error.strerror), where=one_line(target)
        ) from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return ledger


def _select_rows(data: DataSection, ledger: Ledger, layout: _Layout) -> Any:
    """Yield (row to write, whether it is kept), and count each row."""
    cleaner = Cleaner(data.cleaning)
    for read in DataReading(data):
        origin = read.row.origin
        record = read.count_start(ledger)
        if record is None:
            if not read.merged:  # what is merged is written with the row it is part of
                yield read.row.values, False
            continue
        cleaned = cleaner.clean_record(record, origin, ledger)
        if cleaned is None:
            yield read.row.values, False
            continue
        outcome = "changed" if cleaned.changed else "kept"
        reason = N_("changed by cleaning") if cleaned.changed else ""
        ledger.count_row(
            outcome, origin, reason, " | ".join(list_record_texts(cleaned.record)) if reason else "", 1
        )
        yield layout(read, cleaned.record, cleaned.changed), True


def _check_not_empty(ledger: Ledger, data: DataSection) -> Ledger:
    if not ledger.read:
        raise DataError(_("holds no rows."), where=one_line(data.path), field="data.path")
    return ledger


def _check_target(target: Path, data: DataSection, force: bool) -> None:
    sources = data.path if isinstance(data.path, list) else [data.path]
    paths = [Path(item if isinstance(item, str) else item.path).expanduser() for item in sources]
    # samefile also sees links: writing over the source would read what is being written.
    if any(path.exists() and target.exists() and path.samefile(target) for path in paths):
        raise UsageError(
            _("is one of the files that are read."), where=one_line(target), hint=_("Choose another -o.")
        )
    if target.exists() and not force:
        raise UsageError(
            _("already exists."), where=one_line(target), hint=_("Choose another -o, or add --force.")
        )
    if not target.parent.is_dir():
        raise UsageError(_("no such folder."), where=one_line(target.parent))


def _to_plain_row(record: Record) -> dict[str, Any]:
    """Write a record as a row that will be recognised again: chats as OpenAI messages, and so on."""
    if isinstance(record, Chat):
        return _add_tools({"messages": _to_plain_turns(record.messages)}, record.tools)
    if isinstance(record, Preference):
        pair: dict[str, Any] = {
            "messages": _to_plain_turns(record.messages),
            "chosen": _to_plain_turns(record.chosen),
            "rejected": _to_plain_turns(record.rejected),
        }
        return _add_tools(pair, record.tools)
    if isinstance(record, JudgedChat):
        return _add_tools(
            {"messages": _to_plain_turns(record.messages), "kto_tag": record.good}, record.tools
        )
    assert is_dataclass(record)
    row: dict[str, Any] = {
        key: value for key, value in asdict(record).items() if key != "kind" and value is not None
    }
    if record.kind == "labelled" and record.pair is not None:
        # The names of columns by which this pair is recognised when the file is read again.
        row = {"sentence1": record.text, "sentence2": record.pair, "label": record.label}
    if record.kind == "question":
        texts, starts = [a for a, _unused in record.answers], [s for _unused, s in record.answers]
        row["answers"] = {"text": texts, "answer_start": starts}
    return row


def _add_tools(row: dict[str, Any], tools: Any) -> dict[str, Any]:
    return {**row, "tools": tools} if tools else row


def _to_plain_turns(messages: list[Message]) -> list[dict[str, Any]]:
    turns = []
    for message in messages:
        turn = message.to_plain_turn()
        if message.train is not None:
            turn["train"] = message.train
        turns.append(turn)
    return turns
