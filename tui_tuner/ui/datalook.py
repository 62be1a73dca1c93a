"""Reads what the data screen shows, in a worker thread; `tui_tuner.data` is imported only there."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from tui_tuner.config.advice import list_hint_fixes
from tui_tuner.config.applying import can_method_train
from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import DataError, TunerError
from tui_tuner.locales import _
from tui_tuner.runs.wire import convert_to_plain_json
from tui_tuner.text import one_line
from tui_tuner.ui.form_values import build_draft_config, find_draft_value, find_given
from tui_tuner.ui.start_checking import Refusal, convert_error_to_refusal, suggest_better_task

if TYPE_CHECKING:
    from tui_tuner.data.read_data import ReadRow
    from tui_tuner.data.spool import RowSpool, SpooledRow
    from tui_tuner.tasks.preview.forward_rows import ForwardRows
    from tui_tuner.tasks.preview.row_window import RowWindow

DataPath = str | list[Any]  # like `data.path` of a draft: one path, or several with their shares
ROWS = 100
MOST_AROUND = 200  # rows whose lengths are shown
_BROKEN = "\ufffd"
_MOST_PARTS = 6


@dataclass(frozen=True)
class Token:
    """One token as the model sees it, or several (`count`) that form one character.

    `trained`: the model learns to produce it. `piece`: which sequence of the row, from 0."""

    text: str
    trained: bool
    special: bool
    piece: int = 0
    count: int = 1
    weight: float = 1.0


@dataclass(frozen=True)
class RowMask:
    """A row's tokens. `outcome` and `reason` are those of the row ledger; `teaches` describes what the row
    teaches, if its tokens do not show it."""

    tokens: tuple[Token, ...]
    notes: tuple[str, ...] = ()
    origin: str = ""
    outcome: str = "kept"
    reason: str = ""
    teaches: tuple[str, ...] = ()

    @property
    def trained(self) -> int:
        return sum(token.count for token in self.tokens if token.trained)

    @property
    def count(self) -> int:
        return sum(token.count for token in self.tokens)


@dataclass(frozen=True)
class DataPreview:
    """The first rows of a data set. `sure`: confidence of the format, 0 to 1; None if the user set it."""

    path: DataPath
    format: str
    sure: float | None
    why: str
    columns: dict[str, str] = field(default_factory=dict)
    rows: tuple[SpooledRow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowCensus:
    """All rows, counted: the ledger's outcomes, its most frequent reasons, lengths in characters.

    Rows that the task of the draft cannot use are counted as dropped; `refusal` is why the first of them was.
    """

    read: int
    outcomes: dict[str, int]
    reasons: tuple[str, ...]
    longest: int
    mean: float
    done: bool
    refusal: Refusal | None = None


_tokenizers: dict[str, Any] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class ColumnSeen:
    """A column of a file, and one of the values in it."""

    name: str
    example: str


@dataclass(frozen=True)
class ColumnTable:
    """The columns of a file, with the detected or most likely format and roles."""

    columns: tuple[ColumnSeen, ...]
    format: str
    roles: dict[str, str]


@dataclass(frozen=True)
class RowReading:
    """A row as it is read with certain columns: its lines, or why it cannot be read.

    `place`: the row's number, from 0; that of the last row if the requested one does not exist.
    """

    format: str
    lines: tuple[str, ...]
    refusal: Refusal | None = None
    place: int = 0


_SAID = ("format", "columns", "field", "encoding", "header")  # fields of `data` that describe one file


def make_path_draft(draft: dict[str, Any], path: DataPath) -> dict[str, Any]:
    """Return a draft with another path, without settings that describe the previous file."""
    found = copy.deepcopy(draft)
    data = found.get("data")
    data = data if isinstance(data, dict) else {}
    if data.get("path") not in (None, path):
        data = {name: value for name, value in data.items() if name not in _SAID}
    found["data"] = {**data, "path": path}
    return found


def make_held_out_draft(draft: dict[str, Any], path: DataPath) -> dict[str, Any]:
    """Return a draft whose data are its held-out rows; read like training rows, without a limit."""
    data = draft.get("data")
    return {**draft, "data": {**(data if isinstance(data, dict) else {}), "path": path, "limit": None}}


def make_draft_sections(draft: dict[str, Any], path: DataPath) -> tuple[ModelSection, DataSection]:
    """Return model and data section of a draft with another path.

    Raises:
        ConfigError: the draft's model or data section is invalid.
    """
    config = _make_config(draft, path)
    return config.model, config.data


def _make_config(draft: dict[str, Any], path: DataPath, *more: str) -> RunConfig:
    """Build a config with another path from only the sections that data needs (and `more`)."""
    named = {name: draft.get(name) or {} for name in ("model", "method", *more)}
    if "task" in draft:
        named["task"] = draft["task"]
    # A method that does not fit the task would make the config invalid, but does not affect how rows are
    # read.
    if not can_method_train(str(find_draft_value(draft, "task")), str(find_given(draft, "method.kind"))):
        named.pop("method")
    data = draft.get("data")
    return build_draft_config({**named, "data": {**(data if isinstance(data, dict) else {}), "path": path}})


def read_draft_rows(draft: dict[str, Any], path: DataPath) -> DataPreview:
    """Read the first rows of `path`.

    Raises:
        DataError: it cannot be read or understood.
        ConfigError: the draft is invalid.
    """
    from tui_tuner.data.read_data import DataReading

    config = _make_config(draft, path)
    reading = DataReading(config.data)
    rows = tuple(_keep_row(read) for read in islice(reading, ROWS))
    if not rows:
        where, hint = one_line(path), _("Check data.path.")
        raise DataError(_("holds no rows."), where=where, hint=hint, field="data.path")
    # Detections exist only after rows were read: each file is recognised at its first row.
    detections = [item.to_json() for item in reading.detections]
    found = detections[0] if detections else {}
    notes = [one_line(note) for note in reading.notes]
    notes += [
        f"{one_line(other['file'])}: {one_line(other['format'])}, {other['confidence']:.0%}"
        for other in detections[1:]
    ]
    return DataPreview(
        path,
        str(found.get("format", "")),
        None if found.get("chosen") else found.get("confidence"),
        str(found.get("why", "")),
        dict(found.get("columns") or {}),
        rows,
        tuple(notes),
    )


def _keep_row(read: ReadRow) -> SpooledRow:
    from tui_tuner.data.spool import SpooledRow

    return SpooledRow(read, "kept" if read.record is not None else "merged" if read.merged else "dropped")


def find_draft_refusal(draft: dict[str, Any], path: DataPath) -> Refusal | None:
    """Return why the task of a draft cannot use `path`; None if it can."""
    try:
        return _check_config(_make_config(draft, path))
    except TunerError as error:
        return convert_error_to_refusal(error)


def find_better_draft_task(draft: dict[str, Any], path: DataPath) -> Refusal | None:
    """Return the suggestion of another task if one fits `path` better than the draft's."""
    try:
        return suggest_better_task(_make_config(draft, path))
    except TunerError:
        return None


def _check_config(config: RunConfig) -> Refusal | None:
    """Return why the task of a config cannot use its data; None if it can."""
    from tui_tuner.launch.beforehand import check_config_data

    try:
        check_config_data(config)
    except (TunerError, OSError) as error:
        return convert_error_to_refusal(error)
    return None


def open_row_spool() -> RowSpool:
    """Create storage for rows that are viewed in any order."""
    from tui_tuner.data.examples.cache import find_cache_root
    from tui_tuner.data.spool import RowSpool

    return RowSpool(find_cache_root())


def count_draft_rows(
    draft: dict[str, Any],
    path: DataPath,
    said: Callable[[RowCensus], None],
    cancelled: Callable[[], bool],
    kept: RowSpool | None = None,
) -> None:
    """Read all rows once and report the counts as they grow; `kept` gets every row.

    Raises:
        DataError: it cannot be read or understood.
    """
    from tui_tuner.data.preview import inspect_data
    from tui_tuner.tasks import find_task

    config = _make_config(draft, path)
    encoder = find_task(config.task).encoder_class
    inspection = inspect_data(
        config.data,
        lambda _count, ledger: said(RowCensus(ledger.read, dict(ledger.outcomes), (), 0, 0.0, False)),
        cancelled,
        partial(encoder.check_kind, config) if encoder is not None else None,
        kept.add_row if kept is not None else None,
    )
    if kept is not None:
        # Only a spool with every row may answer for rows near its end.
        kept.done = not cancelled()
    refusal = convert_error_to_refusal(inspection.refusal) if inspection.refusal is not None else None
    ledger, lengths = inspection.ledger, inspection.lengths
    reasons = [
        f"{reason.count:,} {_(reason.outcome)}: {_(reason.reason)}" for reason in ledger.list_reasons()[:3]
    ]
    mean = lengths.total / lengths.count if lengths.count else 0.0
    if not cancelled():
        outcomes = dict(ledger.outcomes)
        said(RowCensus(ledger.read, outcomes, tuple(reasons), lengths.longest, mean, True, refusal))


def read_raw_table(draft: dict[str, Any], path: DataPath) -> ColumnTable:
    """Read the columns of `path`, whatever its format.

    Raises:
        DataError: it cannot be read, or has none.
        ConfigError: the draft is invalid.
    """
    from tui_tuner.data.formats.parts.columns import ColumnSample
    from tui_tuner.data.formats.recognise import recognise_format
    from tui_tuner.data.preview import read_raw_rows

    config = _make_config(draft, path)
    data = config.data
    sample = ColumnSample(read_raw_rows(data, ROWS), one_line(path))
    if not sample.columns:
        raise DataError(_("holds no rows."), where=one_line(path))
    columns = tuple(
        ColumnSeen(column.name, _format_example(column.example)) for column in sample.columns.values()
    )
    fix: Mapping[str, Any] = {}
    try:
        found = recognise_format(sample.rows, data.format, data.columns, sample.where)
        refusal = _check_config(config)
        # The refusal may suggest other columns: the first suggestion that is not refused itself is shown.
        for fix in refusal.fixes if refusal is not None else ():
            told = dict(fix.get("data.columns") or {})
            if (
                told
                and _check_config(edit_values(config, {"data.columns": told, "data.format": "auto"})) is None
            ):
                found = recognise_format(sample.rows, "auto", told, sample.where)
                break
        return ColumnTable(columns, found.format, dict(found.columns))
    except DataError as error:
        fix = next(iter(list_hint_fixes(error.hint)), {})
    roles = data.columns or fix.get("data.columns") or {}
    format = fix.get("data.format") or (data.format if data.format != "auto" else "prompt_response")
    # Roles of a previous file may name columns that this one does not have.
    known = {column.name for column in columns}
    return ColumnTable(columns, format, {role: name for role, name in roles.items() if name in known})


def list_format_roles(format: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the required and the optional roles of a format."""
    from tui_tuner.data.formats import find_format

    found = find_format(format)
    return tuple(found.needed), tuple(found.more)


def read_row_as_format(
    draft: dict[str, Any], path: DataPath, format: str, columns: dict[str, str], place: int = 0
) -> RowReading:
    """Read row `place` (from 0) of `path` with this format and these columns."""
    from tui_tuner.data.preview import read_first_rows
    from tui_tuner.data.report import format_record

    try:
        data = draft.get("data")
        told = {**(data if isinstance(data, dict) else {}), "format": format, "columns": columns or None}
        config = _make_config({**draft, "data": told}, path)
        rows = read_first_rows(config.data, place + 1).rows
        place = min(place, len(rows) - 1)
        row = rows[place]
        held = {key: value for key, value in (row.record or {}).items() if value is not None}
        lines = format_record(held) if row.record is not None else [_(row.problem)]
        return RowReading(format, tuple(one_line(line, 400) for line in lines), _check_config(config), place)
    except (TunerError, OSError) as error:
        return RowReading(format, (), convert_error_to_refusal(error), place)


def _format_example(value: Any) -> str:
    if isinstance(value, str):
        return one_line(value, 200)
    return one_line(orjson.dumps(convert_to_plain_json(value), default=str).decode(), 200)


def read_row_mask(draft: dict[str, Any], path: DataPath, row: int, kept: SpooledRow | None = None) -> RowMask:
    """Return the tokens of one row (from 0) and which are trained; `kept` is the row if already read.

    Raises:
        TunerError: there is no tokenizer, or the row cannot be used.
    """
    from tui_tuner.tasks.preview.mask import mask_read_row, mask_row

    config = _make_config(draft, path)
    tokenizer = _find_tokenizer(config.model)
    # The spool cuts very long rows, whose tokens would then be wrong: such a row is read from its file.
    if kept is not None and not kept.cut:
        view = mask_read_row(kept.read, config.model, config.data, tokenizer, config.task)
    else:
        view = mask_row(config.model, config.data, row + 1, tokenizer, config.task)
    tokens = tuple(_whole_characters(view.tokens, tokenizer))
    notes = tuple(one_line(note) for note in view.notes)
    teaches = tuple(one_line(words) for words in view.teaches)
    return RowMask(tokens, notes, one_line(view.origin), view.outcome, one_line(view.reason), teaches)


def read_rows_around(
    draft: dict[str, Any], path: DataPath, row: int, kept: RowSpool | None = None
) -> tuple[RowWindow, ForwardRows | None]:
    """Tokenise the rows around a row (from 0), and lay out the forward pass that contains it, if any.

    Raises:
        TunerError: there is no tokenizer, or the rows cannot be used.
    """
    from tui_tuner.tasks.preview.forward_rows import lay_forward_rows
    from tui_tuner.tasks.preview.row_window import tokenise_window

    config = _make_config(draft, path, "training")
    tokenizer, at = _find_tokenizer(config.model), None
    if kept is not None and (kept.done or kept.count > row + MOST_AROUND):
        spooled = kept

        def at(index: int) -> ReadRow:
            return spooled.read_row(index).read

    found = tokenise_window(config.model, config.data, row + 1, tokenizer, wanted=config.task, kept=at)
    return found, lay_forward_rows(found, row + 1, config)


def _whole_characters(tokens: list[Any], tokenizer: Any) -> Iterator[Token]:
    """Yield tokens, with those that form one character merged, as they mean nothing alone."""
    at = 0
    while at < len(tokens):
        first, size, text = tokens[at], 1, str(tokens[at].shown)
        # Byte-level tokenizers split a character of several bytes; a part decodes to U+FFFD.
        if not (first.special or first.wanted) and _BROKEN in tokenizer.decode([first.id]):
            for longer in range(2, _MOST_PARTS + 1):
                parts = tokens[at : at + longer]
                kinds = {(t.trained, t.special, t.piece) for t in parts}
                alike = kinds == {(first.trained, False, first.piece)}
                whole = tokenizer.decode([t.id for t in parts]) if alike and len(parts) == longer else _BROKEN
                if _BROKEN not in whole:
                    size, text = longer, whole
                    break
        yield Token(text, bool(first.trained), bool(first.special), int(first.piece), size, first.weight)
        at += size


def is_tokenizer_loaded(draft: dict[str, Any]) -> bool:
    """Return whether the tokenizer of a draft is loaded."""
    try:
        return _make_config(draft, "demo").model.model_dump_json() in _tokenizers
    except TunerError:
        return False


def _find_tokenizer(model: ModelSection) -> Any:
    """Return the tokenizer of a model, loaded once per process."""
    from tui_tuner.data.new_words.growing_tokenizer import load_planned_tokenizer

    key = model.model_dump_json()
    with _lock:
        # Loaded inside the lock, since two threads would load the same files twice.
        if key not in _tokenizers:
            _tokenizers[key] = load_planned_tokenizer(model)
        return _tokenizers[key]
