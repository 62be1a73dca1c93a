"""What the data screen shows. It is read in a worker thread; the data room is imported only there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import DataSection, ModelSection, RunConfig
from tui_tuner.locales import _
from tui_tuner.runs.wire import plain
from tui_tuner.text import mark_blanks, one_line

if TYPE_CHECKING:
    from tui_tuner.tasks.preview.around import Around
    from tui_tuner.tasks.preview.forward_rows import ForwardRows

ROWS = 100
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
    """A row's tokens. `outcome` and `reason`: what the row ledger says of it."""

    tokens: tuple[Token, ...]
    notes: tuple[str, ...] = ()
    origin: str = ""
    outcome: str = "kept"
    reason: str = ""

    @property
    def trained(self) -> int:
        return sum(token.count for token in self.tokens if token.trained)

    @property
    def count(self) -> int:
        return sum(token.count for token in self.tokens)


@dataclass(frozen=True)
class Row:
    """A row as it stands in the file, on one line; `problem` if it was not understood."""

    text: str
    problem: str = ""


@dataclass(frozen=True)
class Look:
    """The first rows of a data set. `sure`: 0 to 1, how sure the format is; None if the user said it."""

    path: str
    format: str
    sure: float | None
    why: str
    columns: dict[str, str] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Census:
    """All rows, counted: the ledger's outcomes, its most frequent reasons, lengths in characters."""

    read: int
    outcomes: dict[str, int]
    reasons: tuple[str, ...]
    longest: int
    mean: float
    done: bool


_tokenizers: dict[str, Any] = {}
_lock = threading.Lock()


def sections(draft: dict[str, Any], path: str) -> tuple[ModelSection, DataSection]:
    """Model and data of a draft, with another path.

    Raises:
        ConfigError: the draft's model or data section is invalid.
    """
    config = _config(draft, path)
    return config.model, config.data


def _config(draft: dict[str, Any], path: str, *more: str) -> RunConfig:
    """The config of a draft with another path, and only the sections that data needs (and `more`)."""
    named = {name: draft.get(name) or {} for name in ("model", "method", *more)}
    return build_config({**named, "data": {**(draft.get("data") or {}), "path": path}})


def look(draft: dict[str, Any], path: str) -> Look:
    """Read the first rows of `path`.

    Raises:
        DataError: it cannot be read or understood.
        ConfigError: the draft is invalid.
    """
    from tui_tuner.data.preview import first_rows

    _model, data = sections(draft, path)
    preview = first_rows(data, ROWS)
    found = preview.detections[0] if preview.detections else {}
    rows = tuple(Row(_one_row(row.values), one_line(row.problem)) for row in preview.rows)
    notes = [one_line(note) for note in preview.notes]
    notes += [
        f"{one_line(other['file'])}: {one_line(other['format'])}, {other['confidence']:.0%}"
        for other in preview.detections[1:]
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


def census(
    draft: dict[str, Any], path: str, said: Callable[[Census], None], cancelled: Callable[[], bool]
) -> None:
    """Read everything once and say the counts as they grow.

    Raises:
        DataError: it cannot be read or understood.
    """
    from tui_tuner.data.preview import inspect

    _model, data = sections(draft, path)
    inspection = inspect(
        data,
        lambda _count, ledger: said(Census(ledger.read, dict(ledger.outcomes), (), 0, 0.0, False)),
        cancelled,
    )
    ledger, lengths = inspection.ledger, inspection.lengths
    reasons = [f"{reason.count:,} {_(reason.outcome)}: {_(reason.reason)}" for reason in ledger.reasons()[:3]]
    mean = lengths.total / lengths.count if lengths.count else 0.0
    if not cancelled():
        said(Census(ledger.read, dict(ledger.outcomes), tuple(reasons), lengths.longest, mean, True))


def mask(draft: dict[str, Any], path: str, row: int) -> Mask:
    """The tokens of one row (from 0), and which of them are trained.

    Raises:
        TunerError: no tokenizer, or a row that cannot be used.
    """
    from tui_tuner.tasks.preview.mask import mask_row

    model, data = sections(draft, path)
    tokenizer = _tokenizer(model)
    view = mask_row(model, data, row + 1, tokenizer)
    tokens = tuple(_whole_characters(view.tokens, tokenizer))
    notes = tuple(one_line(note) for note in view.notes)
    return Mask(tokens, notes, one_line(view.origin), view.outcome, one_line(view.reason))


def around(draft: dict[str, Any], path: str, row: int) -> tuple[Around, ForwardRows | None]:
    """The rows around a row (from 0) as tokens, and the forward pass it would be in, if it has tokens.

    Raises:
        TunerError: no tokenizer, or rows that cannot be used.
    """
    from tui_tuner.tasks.preview.around import look_around
    from tui_tuner.tasks.preview.forward_rows import forward_rows

    config = _config(draft, path, "training")
    found = look_around(config.model, config.data, row + 1, _tokenizer(config.model), wanted=config.task)
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


def _tokenizer(model: ModelSection) -> Any:
    """The tokenizer of a model, loaded once while the app is open."""
    from tui_tuner.models.loading import load_tokenizer

    key = model.model_dump_json()
    with _lock:
        if key not in _tokenizers:
            _tokenizers[key] = load_tokenizer(model)
        return _tokenizers[key]


def _one_row(values: dict[str, Any]) -> str:
    return one_line(mark_blanks(orjson.dumps(plain(values), default=str).decode()), 400)
