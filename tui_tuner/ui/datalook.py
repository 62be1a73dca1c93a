"""What the data screen shows. It is read in a worker thread; the data room is imported only there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import DataSection, ModelSection
from tui_tuner.text import one_line

ROWS = 50


@dataclass(frozen=True)
class Token:
    """One token as the model sees it. `trained`: the model learns to produce it."""

    text: str
    trained: bool
    special: bool


@dataclass(frozen=True)
class Mask:
    tokens: tuple[Token, ...]
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> int:
        return sum(token.trained for token in self.tokens)


@dataclass(frozen=True)
class Look:
    """The first rows of a data set. `sure`: 0 to 1, how sure the format is; None if the user said it."""

    path: str
    format: str
    sure: float | None
    why: str
    columns: dict[str, str] = field(default_factory=dict)
    rows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def sections(draft: dict[str, Any], path: str) -> tuple[ModelSection, DataSection]:
    """Model and data of a draft, with another path.

    Raises:
        ConfigError: the draft's model or data section is invalid.
    """
    data = {**(draft.get("data") or {}), "path": path}
    config = build_config({"model": draft.get("model") or {}, "data": data})
    return config.model, config.data


def look(draft: dict[str, Any], path: str) -> Look:
    """Read the first rows of `path`.

    Raises:
        DataError: it cannot be read or understood.
        ConfigError: the draft is invalid.
    """
    from tui_tuner.data.preview import first_rows

    _model, data = sections(draft, path)
    return _look(path, first_rows(data, ROWS))


def mask(draft: dict[str, Any], path: str, row: int) -> Mask:
    """The tokens of one row (from 0), and which of them are trained.

    Raises:
        TunerError: no tokenizer, or a row that cannot be used.
    """
    from tui_tuner.data.preview import mask_row

    model, data = sections(draft, path)
    view = mask_row(model, data, row)
    tokens = tuple(Token(str(t.text), bool(t.trained), bool(t.special)) for t in view.tokens)
    return Mask(tokens, tuple(one_line(note) for note in view.notes))


def _look(path: str, preview: Any) -> Look:
    return Look(path, "", None, "", {}, ())
