"""How many rows and tokens a run will see, counted before it: quickly by default, or to the last token."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.planning.data_facts import DataFacts, counted_facts
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.examples.prepare import RowTask
    from tui_tuner.data.reading import Read

SAMPLED = 200  # rows that are tokenised
LINES_LIMIT = 256 * 1024**2  # bytes of JSON lines that are counted without reading them as JSON
CHUNK = 1 << 20
PLAIN_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Counted:
    """What is known of the rows; `facts` is None without them. `basis`: how they were counted."""

    facts: DataFacts | None
    basis: str
    exact: bool = False

    def to_json(self) -> dict[str, Any]:
        """Counts and where they come from."""
        facts = self.facts
        return {
            "rows": facts.rows if facts else None,
            "validation_rows": facts.validation_rows if facts else None,
            "tokens": facts.tokens if facts else None,
            "supervised_tokens": facts.supervised if facts else None,
            "longest": facts.longest if facts else None,
            "basis": self.basis,
            "exact": self.exact,
        }


def count(config: RunConfig, seconds: float = 0.1) -> Counted:
    """Rows and tokens, as far as a moment's reading tells. Asks no network and imports no torch.

    Rows are read for `seconds`; those of larger JSON-lines files are counted as lines. Tokens are those of
    the first rows' text, without what a chat template adds, times the rows.
    """
    if not _local(config):
        return Counted(None, _("the data is not on this machine"))
    try:
        read, done = _read(config, seconds)
    except TunerError as error:
        return Counted(None, _("the data cannot be read: {error}", error=one_line(error, 160)))
    except OSError as error:
        return Counted(None, _("the data cannot be read: {error}", error=one_line(error, 160)))
    rows = len(read) if done else _lines(config)
    if done and not rows:
        return Counted(None, _("the data holds no row that can be read"))
    if not rows:
        return Counted(
            None, _("more than {read:,} rows, not counted to the end; --data counts them", read=len(read))
        )
    held, training = _split(config, rows)
    tokens = _tokens(config, read)
    if tokens is None:
        if done:
            basis = _("{rows:,} rows counted; the model's tokenizer is not here", rows=rows)
        else:
            basis = _("{rows:,} lines counted; the model's tokenizer is not here", rows=rows)
        return Counted(DataFacts(training, validation_rows=held), basis)
    if done:
        basis = _(
            "{rows:,} rows counted; tokens of the first {read:,}, without the chat template's own",
            rows=rows,
            read=tokens.rows,
        )
    else:
        basis = _(
            "{rows:,} lines counted; tokens of the first {read:,}, without the chat template's own",
            rows=rows,
            read=tokens.rows,
        )
    share = training / tokens.rows
    return Counted(
        DataFacts(
            training,
            round(tokens.total * share),
            round(tokens.supervised * share),
            tokens.longest if tokens.rows == rows else None,
            held,
        ),
        basis,
    )


def count_exactly(config: RunConfig, task: RowTask) -> Counted:
    """The same from the rows as training will see them. Tokenises everything, into the cache the run reads.

    Imports transformers. Takes seconds to minutes, by the size of the data.

    Raises:
        DataError: the data cannot be read or used.
        ModelError, HubError: the tokenizer cannot be had.
    """
    from tui_tuner.data.examples.prepare import prepare
    from tui_tuner.models.loading import load_tokenizer

    prepared = prepare(config, load_tokenizer(config.model), task)
    return Counted(
        counted_facts(prepared.train, prepared.validation),
        _("all rows read and tokenised as in the run"),
        True,
    )


def _paths(config: RunConfig) -> list[str]:
    paths = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    return [item if isinstance(item, str) else item.path for item in paths]


def _local(config: RunConfig) -> bool:
    """Whether all data is the embedded one or lies on a disk here."""
    return all(path.startswith("demo") or os.path.exists(os.path.expanduser(path)) for path in _paths(config))


def _read(config: RunConfig, seconds: float) -> tuple[list[Read], bool]:
    """Rows that became records until the time is up, and whether those are all."""
    from tui_tuner.data.reading import Reading

    until = time.monotonic() + seconds
    found = []
    for read in Reading(config.data):
        if read.record is not None:
            found.append(read)
        if time.monotonic() > until and len(found) >= 2:
            return found, False
    return found, True


def _lines(config: RunConfig) -> int | None:
    """Lines that are not empty of JSON-lines files; None for other kinds, and where there are too many."""
    files = [Path(path).expanduser() for path in _paths(config)]
    if any(file.suffix.lower() not in (".jsonl", ".ndjson") or not file.is_file() for file in files):
        return None
    if sum(file.stat().st_size for file in files) > LINES_LIMIT:
        return None
    total = 0
    for file in files:
        with open(file, "rb") as source:
            last = b"\n"
            while chunk := source.read(CHUNK):
                total += chunk.count(b"\n") - chunk.count(b"\n\n")
                last = chunk
            total += not last.endswith(b"\n")
    limit = config.data.limit
    return total if limit is None else min(limit, total)


def _split(config: RunConfig, rows: int) -> tuple[int, int]:
    """Rows held out, and rows trained."""
    share = config.data.validation
    if not isinstance(share, float) or not 0 < share < 1:
        return 0, rows
    held = min(rows - 1, max(1, round(rows * share)))
    return held, rows - held


@dataclass(frozen=True)
class _Sample:
    rows: int
    total: int
    supervised: int
    longest: int


def _tokens(config: RunConfig, read: list[Read]) -> _Sample | None:
    """Tokens of the first rows by the model's own tokenizer; None where it is not on this disk."""
    from tui_tuner.data.records import Text, answers_of, texts_of

    tokenizer = _tokenizer(config)
    if tokenizer is None or not read:
        return None
    longest = config.data.max_length
    lengths, supervised = [], 0
    for one in read[:SAMPLED]:
        assert one.record is not None
        whole = sum(_lengths(tokenizer, texts_of(one.record))) + 1  # the stop token
        lengths.append(min(whole, longest))
        answers = _lengths(tokenizer, answers_of(one.record))
        text = isinstance(one.record, Text) or not answers
        supervised += lengths[-1] if text else min(sum(answers) + len(answers), longest)
    return _Sample(len(lengths), sum(lengths), supervised, max(lengths))


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    return [len(found) for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _tokenizer(config: RunConfig) -> Any:
    """The fast tokenizer's file, from the demo or a folder; None otherwise."""
    name = config.model.tokenizer or config.model.name
    from tui_tuner.models.tiny import own_folder

    path = (own_folder(name) or Path(name).expanduser()) / PLAIN_TOKENIZER
    if not path.is_file():
        return None
    import tokenizers  # Rust, some ms; not transformers

    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception:  # the library raises a bare Exception for a damaged file; loading the model names it
        return None
