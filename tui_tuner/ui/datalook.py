"""What the data screen shows. It is read in a worker thread; the data room is imported only there."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from tui_tuner.config.advice import fixes_of
from tui_tuner.config.applying import methods_of
from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import DataError, TunerError
from tui_tuner.locales import _
from tui_tuner.runs.wire import plain
from tui_tuner.text import one_line
from tui_tuner.ui.checking import Refusal, better_of, refusal_of
from tui_tuner.ui.form import at, config_of, given

if TYPE_CHECKING:
    from tui_tuner.data.reading import Read
    from tui_tuner.data.spool import Kept, RowSpool
    from tui_tuner.tasks.preview.around import Around
    from tui_tuner.tasks.preview.forward_rows import ForwardRows

DataPath = str | list[Any]  # as `data.path` of a draft: one, or several with their shares
ROWS = 100
MOST_AROUND = 200  # rows whose lengths are shown
_BROKEN = "\ufffd"
_MOST_PARTS = 6


@dataclass(frozen=True)
class Token:
    """One token as the model sees it; several (`count`) where it takes them to make one character.

    `trained`: the model learns to produce it. `piece`: which sequence of the row, from 0.
    """

    text: str
    trained: bool
    special: bool
    piece: int = 0
    count: int = 1


@dataclass(frozen=True)
class Mask:
    """A row's tokens. `outcome` and `reason`: what the row ledger says of it; `teaches`: what it teaches, in
    words, where its tokens do not say it.
    """

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
class Look:
    """The first rows of a data set. `sure`: 0 to 1, how sure the format is; None if the user said it."""

    path: DataPath
    format: str
    sure: float | None
    why: str
    columns: dict[str, str] = field(default_factory=dict)
    rows: tuple[Kept, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Census:
    """All rows, counted: the ledger's outcomes, its most frequent reasons, lengths in characters.

    A row that the task of the draft cannot use is counted as dropped; `refusal` says why the first one is.
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
class Table:
    """The columns of a file, and which format and roles they are taken for, or might be."""

    columns: tuple[ColumnSeen, ...]
    format: str
    roles: dict[str, str]


@dataclass(frozen=True)
class Reading:
    """How rows are read with certain columns: the lines of one, or why that cannot be.

    Args:
        place: Which row that is, from 0: the last one where it was asked for one beyond.
    """

    format: str
    lines: tuple[str, ...]
    refusal: Refusal | None = None
    place: int = 0


_SAID = ("format", "columns", "field", "encoding", "header")  # fields of `data` that are said of one file


def draft_for(draft: dict[str, Any], path: DataPath) -> dict[str, Any]:
    """A draft with another path: what was said of the rows of the file before is not said of this one."""
    found = copy.deepcopy(draft)
    data = found.get("data")
    data = data if isinstance(data, dict) else {}
    if data.get("path") not in (None, path):
        data = {name: value for name, value in data.items() if name not in _SAID}
    found["data"] = {**data, "path": path}
    return found


def held_out_draft(draft: dict[str, Any], path: DataPath) -> dict[str, Any]:
    """A draft whose data are its held-out rows: they are read as those that are trained, and all of them."""
    data = draft.get("data")
    return {**draft, "data": {**(data if isinstance(data, dict) else {}), "path": path, "limit": None}}


def sections(draft: dict[str, Any], path: DataPath) -> tuple[ModelSection, DataSection]:
    """Model and data of a draft, with another path.

    Raises:
        ConfigError: the draft's model or data section is invalid.
    """
    config = _config(draft, path)
    return config.model, config.data


def _config(draft: dict[str, Any], path: DataPath, *more: str) -> RunConfig:
    """The config of a draft with another path, and only the sections that data needs (and `more`)."""
    named = {name: draft.get(name) or {} for name in ("model", "method", *more)}
    if "task" in draft:
        named["task"] = draft["task"]
    if given(draft, "method.kind") not in methods_of(str(at(draft, "task"))):
        named.pop("method")  # which says nothing about rows
    data = draft.get("data")
    return config_of({**named, "data": {**(data if isinstance(data, dict) else {}), "path": path}})


def look(draft: dict[str, Any], path: DataPath) -> Look:
    """Read the first rows of `path`.

    Raises:
        DataError: it cannot be read or understood.
        ConfigError: the draft is invalid.
    """
    from tui_tuner.data.reading import Reading

    config = _config(draft, path)
    reading = Reading(config.data)
    rows = tuple(_kept(read) for read in islice(reading, ROWS))
    if not rows:
        where, hint = one_line(path), _("Check data.path.")
        raise DataError(_("holds no rows."), where=where, hint=hint, field="data.path")
    detections = [item.to_json() for item in reading.detections]
    found = detections[0] if detections else {}
    notes = [one_line(note) for note in reading.notes]
    notes += [
        f"{one_line(other['file'])}: {one_line(other['format'])}, {other['confidence']:.0%}"
        for other in detections[1:]
    ]
    return Look(
        path,
        str(found.get("format", "")),
        None if found.get("chosen") else found.get("confidence"),
        str(found.get("why", "")),
        dict(found.get("columns") or {}),
        rows,
        tuple(notes),
    )


def _kept(read: Read) -> Kept:
    from tui_tuner.data.spool import Kept

    return Kept(read, "kept" if read.record is not None else "merged" if read.merged else "dropped")


def refusal(draft: dict[str, Any], path: DataPath) -> Refusal | None:
    """Why the task of a draft cannot use `path`, if it cannot."""
    try:
        return _refused(_config(draft, path))
    except TunerError as error:
        return refusal_of(error)


def better(draft: dict[str, Any], path: DataPath) -> Refusal | None:
    """What is said of `path` where another task fits it better than the draft's."""
    try:
        return better_of(_config(draft, path))
    except TunerError:
        return None


def _refused(config: RunConfig) -> Refusal | None:
    """Why the task of a config cannot use its data, if it cannot."""
    from tui_tuner.launch.beforehand import check_data

    try:
        check_data(config)
    except (TunerError, OSError) as error:
        return refusal_of(error)
    return None


def spool() -> RowSpool:
    """Room for rows to be looked at in any order."""
    from tui_tuner.data.examples.cache import cache_root
    from tui_tuner.data.spool import RowSpool

    return RowSpool(cache_root())


def census(
    draft: dict[str, Any],
    path: DataPath,
    said: Callable[[Census], None],
    cancelled: Callable[[], bool],
    kept: RowSpool | None = None,
) -> None:
    """Read everything once and say the counts as they grow; `kept` gets every row.

    Raises:
        DataError: it cannot be read or understood.
    """
    from tui_tuner.data.preview import inspect
    from tui_tuner.tasks import find_task

    config = _config(draft, path)
    encoder = find_task(config.task).encoder_class
    inspection = inspect(
        config.data,
        lambda _count, ledger: said(Census(ledger.read, dict(ledger.outcomes), (), 0, 0.0, False)),
        cancelled,
        partial(encoder.check_kind, config) if encoder is not None else None,
        kept.add if kept is not None else None,
    )
    if kept is not None:
        kept.done = not cancelled()
    refusal = refusal_of(inspection.refusal) if inspection.refusal is not None else None
    ledger, lengths = inspection.ledger, inspection.lengths
    reasons = [f"{reason.count:,} {_(reason.outcome)}: {_(reason.reason)}" for reason in ledger.reasons()[:3]]
    mean = lengths.total / lengths.count if lengths.count else 0.0
    if not cancelled():
        outcomes = dict(ledger.outcomes)
        said(Census(ledger.read, outcomes, tuple(reasons), lengths.longest, mean, True, refusal))


def table(draft: dict[str, Any], path: DataPath) -> Table:
    """The columns of `path`, whatever their format.

    Raises:
        DataError: it cannot be read, or has none.
        ConfigError: the draft is invalid.
    """
    from tui_tuner.data.formats.parts.columns import Sample
    from tui_tuner.data.formats.recognise import recognise
    from tui_tuner.data.preview import raw_rows

    config = _config(draft, path)
    data = config.data
    sample = Sample(raw_rows(data, ROWS), one_line(path))
    if not sample.columns:
        raise DataError(_("holds no rows."), where=one_line(path))
    columns = tuple(ColumnSeen(column.name, _example(column.example)) for column in sample.columns.values())
    fix: Mapping[str, Any] = {}
    try:
        found = recognise(sample.rows, data.format, data.columns, sample.where)
        refusal = _refused(config)
        for fix in refusal.fixes if refusal is not None else ():
            told = dict(fix.get("data.columns") or {})
            if told and _refused(with_values(config, {"data.columns": told, "data.format": "auto"})) is None:
                found = recognise(sample.rows, "auto", told, sample.where)
                break
        return Table(columns, found.format, dict(found.columns))
    except DataError as error:
        fix = next(iter(fixes_of(error.hint)), {})
    roles = data.columns or fix.get("data.columns") or {}
    format = fix.get("data.format") or (data.format if data.format != "auto" else "prompt_response")
    known = {column.name for column in columns}
    return Table(columns, format, {role: name for role, name in roles.items() if name in known})


def roles_of(format: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The roles that a format needs, and those that it may have."""
    from tui_tuner.data.formats import find_format

    found = find_format(format)
    return tuple(found.needed), tuple(found.more)


def read_as(
    draft: dict[str, Any], path: DataPath, format: str, columns: dict[str, str], place: int = 0
) -> Reading:
    """How one of the first rows of `path`, counted from 0, is read with this format and these columns."""
    from tui_tuner.data.preview import first_rows
    from tui_tuner.data.report import record_lines

    try:
        data = draft.get("data")
        told = {**(data if isinstance(data, dict) else {}), "format": format, "columns": columns or None}
        config = _config({**draft, "data": told}, path)
        rows = first_rows(config.data, place + 1).rows
        place = min(place, len(rows) - 1)
        row = rows[place]
        held = {key: value for key, value in (row.record or {}).items() if value is not None}
        lines = record_lines(held) if row.record is not None else [_(row.problem)]
        return Reading(format, tuple(one_line(line, 400) for line in lines), _refused(config), place)
    except (TunerError, OSError) as error:
        return Reading(format, (), refusal_of(error), place)


def _example(value: Any) -> str:
    if isinstance(value, str):
        return one_line(value, 200)
    return one_line(orjson.dumps(plain(value), default=str).decode(), 200)


def mask(draft: dict[str, Any], path: DataPath, row: int, kept: Kept | None = None) -> Mask:
    """The tokens of one row (from 0), and which are trained; `kept` is the row, if it was read before.

    Raises:
        TunerError: no tokenizer, or a row that cannot be used.
    """
    from tui_tuner.tasks.preview.mask import mask_read, mask_row

    config = _config(draft, path)
    tokenizer = _tokenizer(config.model)
    if kept is not None and not kept.cut:
        view = mask_read(kept.read, config.model, config.data, tokenizer, config.task)
    else:
        view = mask_row(config.model, config.data, row + 1, tokenizer, config.task)
    tokens = tuple(_whole_characters(view.tokens, tokenizer))
    notes = tuple(one_line(note) for note in view.notes)
    teaches = tuple(one_line(words) for words in view.teaches)
    return Mask(tokens, notes, one_line(view.origin), view.outcome, one_line(view.reason), teaches)


def around(
    draft: dict[str, Any], path: DataPath, row: int, kept: RowSpool | None = None
) -> tuple[Around, ForwardRows | None]:
    """The rows around a row (from 0) as tokens, and the forward pass it would be in, if it has tokens.

    Raises:
        TunerError: no tokenizer, or rows that cannot be used.
    """
    from tui_tuner.tasks.preview.around import look_around
    from tui_tuner.tasks.preview.forward_rows import forward_rows

    config = _config(draft, path, "training")
    tokenizer, at = _tokenizer(config.model), None
    if kept is not None and (kept.done or kept.count > row + MOST_AROUND):
        spooled = kept

        def at(index: int) -> Read:
            return spooled.row(index).read

    found = look_around(config.model, config.data, row + 1, tokenizer, wanted=config.task, kept=at)
    return found, forward_rows(found, row + 1, config)


def _whole_characters(tokens: list[Any], tokenizer: Any) -> Iterator[Token]:
    """Tokens as they are, but the parts of one character, which say nothing alone, side by side."""
    at = 0
    while at < len(tokens):
        first, size, text = tokens[at], 1, str(tokens[at].text)
        if not first.special and _BROKEN in tokenizer.decode([first.id]):
            for longer in range(2, _MOST_PARTS + 1):
                parts = tokens[at : at + longer]
                alike = {(t.trained, t.special, t.piece) for t in parts} == {
                    (first.trained, False, first.piece)
                }
                whole = tokenizer.decode([t.id for t in parts]) if alike and len(parts) == longer else _BROKEN
                if _BROKEN not in whole:
                    size, text = longer, whole
                    break
        yield Token(text, bool(first.trained), bool(first.special), int(first.piece), size)
        at += size


def tokenizer_here(draft: dict[str, Any]) -> bool:
    """Whether the tokenizer of a draft is loaded."""
    try:
        return _config(draft, "demo").model.model_dump_json() in _tokenizers
    except TunerError:
        return False


def _tokenizer(model: ModelSection) -> Any:
    """The tokenizer of a model, loaded once while the app is open."""
    from tui_tuner.models.loading import load_tokenizer

    key = model.model_dump_json()
    with _lock:
        if key not in _tokenizers:
            _tokenizers[key] = load_tokenizer(model)
        return _tokenizers[key]
