"""How many rows and tokens a run will see, counted before it: quickly by default, or to the last token."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
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
    from tui_tuner.data.records import Record
    from tui_tuner.runs.events import Sink

SAMPLED = 200  # rows that are tokenised
LINES_LIMIT = 256 * 1024**2  # bytes of JSON lines that are counted without reading them as JSON
CHUNK = 1 << 20
EXACT_SECONDS = 60.0  # of reading rows for the classes in them
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
            "rows": facts.rows or None if facts else None,
            "validation_rows": facts.validation_rows if facts else None,
            "tokens": facts.tokens if facts else None,
            "supervised_tokens": facts.supervised if facts else None,
            "longest": facts.longest if facts else None,
            "basis": self.basis,
            "outputs": facts.outputs or None if facts else None,
            "exact": self.exact,
        }


def count(config: RunConfig, seconds: float = 0.1, patience: float = 0.0) -> Counted:
    """Rows and tokens, as far as a moment's reading tells. Asks no network and imports no torch.

    Rows are read for `seconds`; those of larger JSON-lines files are counted as lines. Tokens are those of
    the first rows' text, without what a chat template adds, times the rows.

    Args:
        patience: Seconds of reading where the rows name the classes that a head tells apart, which the last
            row may name first.
    """
    if not _local(config):
        return Counted(None, _("the data is not on this machine"))
    try:
        seen = _read(config, seconds, patience)
    except TunerError as error:
        return Counted(None, _("the data cannot be read: {error}", error=one_line(error, 160)))
    except OSError as error:
        return Counted(None, _("the data cannot be read: {error}", error=one_line(error, 160)))
    rows = seen.count if seen.done else _lines(config)
    if seen.done and not rows:
        return Counted(None, _("the data holds no row that can be read"))
    if not rows:
        basis = _("more than {read:,} rows, not counted to the end; --data counts them", read=seen.count)
        return Counted(
            DataFacts(0, outputs=seen.outputs, regression=seen.regression) if seen.outputs else None, basis
        )
    held, training = _split(config, rows)
    tokens = _tokens(config, seen.first)
    if tokens is None:
        if seen.done:
            basis = _("{rows:,} rows counted; the model's tokenizer is not here", rows=rows)
        else:
            basis = _("{rows:,} lines counted; the model's tokenizer is not here", rows=rows)
        facts = DataFacts(training, validation_rows=held, outputs=seen.outputs, regression=seen.regression)
        return Counted(facts, basis)
    windows = tokens.windows / tokens.rows
    facts = DataFacts(
        round(training * windows),
        round(tokens.total * training / tokens.rows),
        round(tokens.supervised * training / tokens.rows),
        tokens.longest if tokens.rows == rows else None,
        round(held * windows),
        outputs=seen.outputs,
        regression=seen.regression,
    )
    return Counted(facts, _basis(config, seen, rows, tokens))


def _basis(config: RunConfig, seen: _Seen, rows: int, tokens: _Sample) -> str:
    """What the counts rest on."""
    said = {"rows": rows, "read": tokens.rows}
    if tokens.windows > tokens.rows:
        return _(
            "{rows:,} rows counted; tokens and windows of the first {read:,}, {windows:.2f} windows a row",
            windows=tokens.windows / tokens.rows,
            **said,
        )
    if config.task_kind.decides:
        if seen.done:
            return _("{rows:,} rows counted; tokens of the first {read:,}", **said)
        return _("{rows:,} lines counted; tokens of the first {read:,}", **said)
    if seen.done:
        return _(
            "{rows:,} rows counted; tokens of the first {read:,}, without the chat template's own", **said
        )
    return _("{rows:,} lines counted; tokens of the first {read:,}, without the chat template's own", **said)


def count_exactly(
    config: RunConfig,
    task: RowTask,
    sink: Sink | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Counted:
    """The same from the rows as training will see them. Tokenises everything, into the cache the run reads.

    Args:
        sink: Told how far it is, by phases.
        cancelled: Whether to give up.

    Imports transformers. Takes seconds to minutes, by the size of the data.

    Raises:
        DataError: the data cannot be read or used.
        ModelError, HubError: the tokenizer cannot be had.
    """
    from tui_tuner.data.examples.prepare import prepare
    from tui_tuner.models.loading import load_tokenizer

    prepared = prepare(config, load_tokenizer(config.model), task, sink=sink, cancelled=cancelled)
    facts = counted_facts(prepared.train, prepared.validation)
    if config.task_kind.decides:
        quick = count(config, patience=EXACT_SECONDS).facts
        facts = replace(facts, outputs=quick.outputs, regression=quick.regression) if quick else facts
    return Counted(
        facts,
        _("all rows read and tokenised as in the run"),
        True,
    )


def _paths(config: RunConfig) -> list[str]:
    paths = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    return [item if isinstance(item, str) else item.path for item in paths]


def _local(config: RunConfig) -> bool:
    """Whether all data is the embedded one or lies on a disk here."""
    return all(path.startswith("demo") or os.path.exists(os.path.expanduser(path)) for path in _paths(config))


@dataclass
class _Seen:
    """Rows that became records: how many, the first of them, whether those are all, and what they decide."""

    first: list[Read]
    count: int
    done: bool
    outputs: int = 0
    regression: bool = False


def _read(config: RunConfig, seconds: float, patience: float) -> _Seen:
    """Read rows until the time is up."""
    from tui_tuner.data.reading import Reading
    from tui_tuner.planning.heads.outputs import OutputCounter

    decides = bool(config.task_kind.decides)
    until = time.monotonic() + (max(seconds, patience) if decides else seconds)
    seen, counter = _Seen([], 0, True), OutputCounter(config)
    for read in Reading(config.data):
        if read.record is not None:
            seen.count += 1
            if len(seen.first) < SAMPLED:
                seen.first.append(read)
            if decides:
                counter.note(read.record)
        if time.monotonic() > until and seen.count >= 2:
            seen.done = False
            break
    seen.outputs, seen.regression = counter.found()
    return seen


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
    """The first rows: how many, the training sequences that they become, and their tokens."""

    rows: int
    windows: int
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
        if config.task_kind.decides:
            found, trained = _sequences(config, tokenizer, one.record)
            lengths += found
            supervised += trained
            continue
        whole = sum(_lengths(tokenizer, texts_of(one.record))) + 1  # the stop token
        lengths.append(min(whole, longest))
        answers = _lengths(tokenizer, answers_of(one.record))
        text = isinstance(one.record, Text) or not answers
        supervised += lengths[-1] if text else min(sum(answers) + len(answers), longest)
    return _Sample(min(len(read), SAMPLED), len(lengths), sum(lengths), supervised, max(lengths, default=0))


def row_tokens(config: RunConfig, records: list[Record]) -> list[int] | None:
    """Tokens of each record, uncut and without a chat template's own; None where no tokenizer is here."""
    from tui_tuner.data.records import texts_of

    tokenizer = _tokenizer(config)
    if tokenizer is None:
        return None
    return [sum(_lengths(tokenizer, texts_of(record))) + 1 for record in records]


def _sequences(config: RunConfig, tokenizer: Any, record: Record) -> tuple[list[int], int]:
    """Lengths of the training sequences that a record becomes under a head, and what is learnt of them.

    A text has one label, a word one tag, and each window of a text with an answer two positions.
    """
    from tui_tuner.data.records import Question, Tagged, texts_of

    most = config.data.max_length
    if isinstance(record, Question):
        question, context = _lengths(tokenizer, [record.question, record.context])
        special = _special(tokenizer, pair=True)
        windows = windows_of(context, most - special - min(question, most // 2), config.data.stride)
        found = [part + special + min(question, most // 2) for part in windows]
        return found, 2 * len(found)
    special = _special(tokenizer, pair=len(texts_of(record)) > 1)
    whole = sum(_lengths(tokenizer, texts_of(record)))
    if isinstance(record, Tagged):
        return [part + special for part in windows_of(whole, most - special, config.data.stride)], len(
            record.tokens
        )
    return [min(whole + special, most)], 1


def windows_of(tokens: int, room: int, shared: int) -> list[int]:
    """Lengths of the windows that a text is read in.

    Args:
        room: Tokens of a window. shared: Tokens that two of them share.
    """
    room = max(1, room)
    step = max(1, room - min(shared, room - 1))
    found = [min(tokens, room)]
    begin = 0
    while begin + room < tokens:
        begin += step
        found.append(min(room, tokens - begin))
    return found


def _special(tokenizer: Any, pair: bool) -> int:
    """Tokens that a tokenizer puts around a text, or around two."""
    return int(tokenizer.num_special_tokens_to_add(pair))


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
