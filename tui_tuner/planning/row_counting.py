"""Counts of rows and tokens before a run: estimated quickly by default, or exact to the last token."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.planning.data_facts import DataFacts, make_facts
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.data.examples.prepare import RowTask
    from tui_tuner.data.read_data import ReadRow
    from tui_tuner.data.records import Record
    from tui_tuner.runs.events import EventSink

SAMPLED = 200  # rows that are tokenised
LINES_LIMIT = 256 * 1024**2  # bytes of JSON lines that are counted without reading them as JSON
CHUNK = 1 << 20
EXACT_SECONDS = 60.0  # of reading rows for the classes in them
PLAIN_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class RowCount:
    """What is known of the rows; `facts` is None if nothing is. `basis` describes how they were counted.

    `vocabulary` says how many new tokens there are, and characters per token before and after.
    """

    facts: DataFacts | None
    basis: str
    exact: bool = False
    vocabulary: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the counts and their basis as JSON."""
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
            **({"new_tokens": dict(self.vocabulary)} if self.vocabulary is not None else {}),
        }


def count_rows_quickly(config: RunConfig, seconds: float = 0.1, patience: float = 0.0) -> RowCount:
    """Estimate rows and tokens from a few seconds of reading. Uses no network and imports no torch.

    Rows are read for `seconds`; those of larger JSON-lines files are counted as lines. Tokens are those of
    the first rows' text, without what a chat template adds, times the rows.

    Args:
        patience: Seconds of reading where the rows name the classes that a head tells apart, which the last
            row may name first.
    """
    if not _is_local(config):
        return RowCount(None, _("the data is not on this machine"))
    try:
        seen = _read_rows(config, seconds, patience)
    except TunerError as error:
        return RowCount(None, _("the data cannot be read: {error}", error=one_line(error, 160)))
    except OSError as error:
        return RowCount(None, _("the data cannot be read: {error}", error=one_line(error, 160)))
    rows = seen.count if seen.done else _count_lines(config)
    # No readable row is an error of the data, unlike too many rows to count in time
    if seen.done and not rows:
        return RowCount(None, _("the data has no row that can be read"))
    if not rows:
        basis = _("more than {read:,} rows, not counted to the end; --data counts them", read=seen.count)
        return RowCount(
            DataFacts(0, outputs=seen.outputs, regression=seen.regression) if seen.outputs else None, basis
        )
    held, training = _split_rows(config, rows)
    tokens = _count_tokens(config, seen.first)
    if tokens is None:
        if seen.done:
            basis = _("{rows:,} rows counted; the model's tokenizer is not on this machine", rows=rows)
        else:
            basis = _("{rows:,} lines counted; the model's tokenizer is not on this machine", rows=rows)
        facts = DataFacts(training, validation_rows=held, outputs=seen.outputs, regression=seen.regression)
        return RowCount(facts, basis)
    windows = tokens.windows / tokens.rows
    facts = DataFacts(
        round(training * windows),
        round(tokens.total * training / tokens.rows),
        round(tokens.supervised * training / tokens.rows),
        # The longest row of a sample says nothing about the longest of all
        tokens.longest if tokens.rows == rows else None,
        round(held * windows),
        outputs=seen.outputs,
        regression=seen.regression,
    )
    return RowCount(facts, _describe_basis(config, seen, rows, tokens))


def _describe_basis(config: RunConfig, seen: _Seen, rows: int, tokens: _Sample) -> str:
    """Describe what the counts rest on."""
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


def count_rows_exactly(
    config: RunConfig,
    task: RowTask,
    sink: EventSink | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> RowCount:
    """Count the rows as training will see them. Tokenises everything, into the cache that the run reads.

    Args:
        sink: Receives the progress, as phases.
        cancelled: Asked again and again whether to give up.

    Imports transformers. Takes seconds to minutes, by the size of the data.

    Raises:
        DataError: the data cannot be read or used.
        ModelError, HubError: the tokenizer cannot be had.
    """
    # Imported here, as it takes transformers along, which quick counts do without
    from tui_tuner.data.new_words.growing_tokenizer import prepare_planned

    prepared, vocabulary = prepare_planned(config, task, sink, cancelled)
    facts = make_facts(prepared.train, prepared.validation, config.trained_share)
    if config.task_kind.decides:
        # Prepared rows have numbers for labels; the classes themselves are only in the raw rows
        quick = count_rows_quickly(config, patience=EXACT_SECONDS).facts
        facts = replace(facts, outputs=quick.outputs, regression=quick.regression) if quick else facts
    basis = _("all rows read and tokenised as in the run")
    if vocabulary is not None:
        basis = _(
            "all rows read and tokenised as in the run, with {count:,} new tokens: {before:.2f} "
            "characters per token became {after:.2f}",
            count=vocabulary["tokens"],
            before=vocabulary["before"],
            after=vocabulary["after"],
        )
    return RowCount(facts, basis, True, vocabulary)


def _list_paths(config: RunConfig) -> list[str]:
    paths = config.data.path if isinstance(config.data.path, list) else [config.data.path]
    return [item if isinstance(item, str) else item.path for item in paths]


def _is_local(config: RunConfig) -> bool:
    """Return whether all data is embedded or on a disk of this machine."""
    return all(
        path.startswith("demo") or os.path.exists(os.path.expanduser(path)) for path in _list_paths(config)
    )


@dataclass
class _Seen:
    """Rows that became records: how many, the first of them, whether those are all, and what they decide."""

    first: list[ReadRow]
    count: int
    done: bool
    outputs: int = 0
    regression: bool = False


def _read_rows(config: RunConfig, seconds: float, patience: float) -> _Seen:
    """Read rows until the time is up."""
    from tui_tuner.data.read_data import DataReading
    from tui_tuner.planning.heads.outputs import OutputCounter

    decides = bool(config.task_kind.decides)
    # Classes may turn up in late rows, so heads are given more time than a mere count
    until = time.monotonic() + (max(seconds, patience) if decides else seconds)
    seen, counter = _Seen([], 0, True), OutputCounter(config)
    for read in DataReading(config.data):
        if read.record is not None:
            seen.count += 1
            if len(seen.first) < SAMPLED:
                seen.first.append(read)
            if decides:
                counter.count_record(read.record)
        # Two rows at least, for a share of held-out rows needs a row on both sides
        if time.monotonic() > until and seen.count >= 2:
            seen.done = False
            break
    seen.outputs, seen.regression = counter.report_outputs()
    return seen


def _count_lines(config: RunConfig) -> int | None:
    """Count the lines of JSON-lines files that are not empty; None for other files, or too many lines."""
    files = [Path(path).expanduser() for path in _list_paths(config)]
    if any(file.suffix.lower() not in (".jsonl", ".ndjson") or not file.is_file() for file in files):
        return None
    # Counting newlines of larger files takes longer than the form may wait
    if sum(file.stat().st_size for file in files) > LINES_LIMIT:
        return None
    total = 0
    for file in files:
        with open(file, "rb") as source:
            last = b"\n"
            while chunk := source.read(CHUNK):
                # Empty lines are not rows. One across two chunks is counted, which an estimate can bear
                total += chunk.count(b"\n") - chunk.count(b"\n\n")
                last = chunk
            total += not last.endswith(b"\n")
    limit = config.data.limit
    return total if limit is None else min(limit, total)


def _split_rows(config: RunConfig, rows: int) -> tuple[int, int]:
    """Return how many rows are held out, and how many are trained on."""
    share = config.data.validation
    if not isinstance(share, float) or not 0 < share < 1:
        return 0, rows
    # As the split of the data does it: at least one row on either side
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


def _count_tokens(config: RunConfig, read: list[ReadRow]) -> _Sample | None:
    """Count the tokens of the first rows with the model's own tokenizer; None if it is not on this disk."""
    from tui_tuner.data.records import Text, list_record_answers, list_record_texts

    tokenizer = _find_tokenizer(config)
    if tokenizer is None or not read:
        return None
    longest = config.data.max_length
    lengths, supervised = [], 0
    for one in read[:SAMPLED]:
        assert one.record is not None
        if config.task_kind.decides:
            found, trained = _measure_sequences(config, tokenizer, one.record)
            lengths += found
            supervised += trained
            continue
        whole = sum(_measure_lengths(tokenizer, list_record_texts(one.record))) + 1  # the stop token
        answers = _measure_lengths(tokenizer, list_record_answers(one.record))
        if config.task_kind.encoder_decoder and answers:
            source, target = _measure_sides(config, tokenizer, whole, answers[-1])
            lengths.append(source + target)
            supervised += target
            continue
        lengths.append(min(whole, longest))
        text = isinstance(one.record, Text) or not answers
        supervised += lengths[-1] if text else min(sum(answers) + len(answers), longest)
    supervised = round(supervised * config.trained_share)
    return _Sample(min(len(read), SAMPLED), len(lengths), sum(lengths), supervised, max(lengths, default=0))


def _measure_sides(config: RunConfig, tokenizer: Any, whole: int, answer: int) -> tuple[int, int]:
    """Return the tokens of a row's source and of its target, each with a stop token and cut at its limit.

    Args:
        whole: Tokens of all texts of a row, and one stop token. answer: Of its last answer.
    """
    prefix = _measure_lengths(tokenizer, [config.data.prefix or ""])[0]
    source = min(whole - answer + prefix, config.data.max_source)
    return source, min(answer + 1, config.data.max_target)


def count_row_tokens(config: RunConfig, records: list[Record]) -> list[int] | None:
    """Count the tokens of each record, uncut, without those of a chat template; None without tokenizer."""
    from tui_tuner.data.records import list_record_texts

    tokenizer = _find_tokenizer(config)
    if tokenizer is None:
        return None
    return [sum(_measure_lengths(tokenizer, list_record_texts(record))) + 1 for record in records]


def _measure_sequences(config: RunConfig, tokenizer: Any, record: Record) -> tuple[list[int], int]:
    """Return the lengths of the sequences that a record becomes for a head, and their trained positions.

    A text has one label, a word one tag, and each window of a text with an answer two positions.
    """
    from tui_tuner.data.records import Question, TaggedText, list_record_texts

    most = config.data.max_length
    if isinstance(record, Question):
        question, context = _measure_lengths(tokenizer, [record.question, record.context])
        special = _count_special(tokenizer, pair=True)
        windows = measure_row_windows(context, most - special - min(question, most // 2), config.data.stride)
        # The question is repeated in every window, and takes at most half of it
        found = [part + special + min(question, most // 2) for part in windows]
        return found, 2 * len(found)
    special = _count_special(tokenizer, pair=len(list_record_texts(record)) > 1)
    whole = sum(_measure_lengths(tokenizer, list_record_texts(record)))
    if isinstance(record, TaggedText):
        return [
            part + special for part in measure_row_windows(whole, most - special, config.data.stride)
        ], len(record.tokens)
    return [min(whole + special, most)], 1


def measure_row_windows(tokens: int, room: int, shared: int) -> list[int]:
    """Return the lengths of the windows that a text is read in.

    Args:
        room: Tokens of a window. shared: Tokens that two of them share.
    """
    room = max(1, room)
    # A stride as large as the window would never advance
    step = max(1, room - min(shared, room - 1))
    found = [min(tokens, room)]
    begin = 0
    while begin + room < tokens:
        begin += step
        found.append(min(room, tokens - begin))
    return found


def _count_special(tokenizer: Any, pair: bool) -> int:
    """Count the tokens that a tokenizer puts around one text, or around two."""
    return int(tokenizer.num_special_tokens_to_add(pair))


def _measure_lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    return [len(found) for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _find_tokenizer(config: RunConfig) -> Any:
    """Return the fast tokenizer's file, of the demo or in a folder; None if there is neither."""
    name = config.model.tokenizer or config.model.name
    from tui_tuner.models.tiny import find_tiny_folder

    # No hub is asked: this runs while a form is being filled in
    path = (find_tiny_folder(name) or Path(name).expanduser()) / PLAIN_TOKENIZER
    if not path.is_file():
        return None
    import tokenizers  # Rust, some ms; not transformers

    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception:  # the library raises a bare Exception for a damaged file; loading the model names it
        return None
