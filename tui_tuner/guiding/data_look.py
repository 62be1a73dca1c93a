"""The guide's look at data: format, counts, and problems of a file or data set.

The rows are read once, to the end or until the time is up; the result says which. Imports no torch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from tui_tuner.config.load import build_config
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.data.labels.problem import REGRESSION
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.data.records import Record, Text
from tui_tuner.errors import DataError, TunerError
from tui_tuner.guiding.amounts import Need, describe_example_need, find_example_need
from tui_tuner.guiding.example_rows import can_annotate
from tui_tuner.guiding.looking.concerns import (
    UNLABELLED,
    describe_copies,
    describe_refusal,
    describe_wrong_shape,
    find_concerns,
    find_row_label_problem,
    offer_annotation,
    word_concern_fix,
)
from tui_tuner.guiding.looking.tally import Spread, Tally
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import N_, _, _n
from tui_tuner.models.facts import load_facts
from tui_tuner.planning.row_counting import count_row_tokens, count_rows_quickly
from tui_tuner.tasks import find_task, name_of_task
from tui_tuner.tasks.preview.better_tasks import find_better_task
from tui_tuner.text import one_line

SECONDS = 8.0  # of reading, as the user is waiting; most files that fit a disk's cache are read by then
FIRST = 3  # rows that are shown

Stop = Callable[[], bool]


@dataclass(frozen=True)
class DataLook:
    """Figures and concerns about the rows of a data set.

    Args:
        task: The task they were judged for: the one asked for, or else the one that they fit.
        rows: All rows; None if unknown. `read` of them were read; `whole`: those are all.
        usable: Rows of those read that the task can use; `refused` the others, by reason.
        basis: How they were counted, in a sentence.
        suits: Tasks that the rows fit, the most frequent first.
        format: The record format, and `columns` the column of each role.
        characters: Lengths of rows; `answers`: of answers; `tokens`: of rows, with a local tokenizer.
        total_tokens: Of all rows; None without a tokenizer or a count of rows.
        labels: Rows of each class; `tags`: marks of each kind. The most frequent ones.
        problem: The kind of labels: `single`, `multi`, `regression`; empty without labels.
        language: An ISO code if nearly all rows are in one language that was recognised.
        first: The first rows, each as lines.
        to_mark: Rows with a text but no label, which can be annotated by hand (`guiding.annotate`).
        need: The rule for the number of rows needed.
    """

    path: str
    task: str
    rows: int | None = None
    read: int = 0
    whole: bool = True
    usable: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    basis: str = ""
    suits: tuple[str, ...] = ()
    format: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    characters: Spread | None = None
    answers: Spread | None = None
    tokens: Spread | None = None
    total_tokens: int | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""
    duplicates: int = 0
    contradictions: int = 0
    language: str = ""
    notes: tuple[str, ...] = ()
    first: tuple[tuple[str, ...], ...] = ()
    to_mark: int = 0
    concerns: tuple[Concern, ...] = ()
    need: Need | None = None
    seconds: float = 0.0

    @property
    def can_train(self) -> bool:
        """Return whether no concern blocks the start."""
        return not any(concern.stops for concern in self.concerns)

    def list_values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def look_at_data(
    path: str,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    stop: Stop | None = None,
    *,
    more: Mapping[str, Any] | None = None,
    seconds: float = SECONDS,
    said: Callable[[int], None] | None = None,
) -> DataLook:
    """Read rows and judge them. Raises nothing: every problem becomes a concern.

    Args:
        path: As `data.path`.
        task: A name of `config.kinds.tasks.TASKS`; None chooses the task that the rows fit.
        columns: As `data.columns`.
        stop: Returns true to stop early; the rows read by then are judged.
        more: Other fields by their dotted names, such as `data.validation`, and `model.name`, whose
            tokenizer counts tokens if it is on this machine. Fields unrelated to rows are ignored.
        seconds: How long to read at most.
        said: Called now and then with the number of rows read.
    """
    began = time.monotonic()
    # Any task will do to read the rows; the right one is found by looking at them
    config = build_config({"task": task or "sft", "data": {"path": path}})
    try:
        config = _apply_fields(config, columns, more or {})
        if task is None:
            config = edit_values(config, {"task": _find_suited_task(config)})
        return _DataReader(config, path, stop or (lambda: False), said, began, seconds).read_and_judge()
    except (TunerError, OSError) as error:
        return DataLook(
            one_line(path),
            config.task,
            concerns=(describe_refusal(error, config),),
            need=find_example_need(config.task),
            seconds=time.monotonic() - began,
        )


def _apply_fields(config: RunConfig, columns: Mapping[str, str] | None, more: Mapping[str, Any]) -> RunConfig:
    """Set the fields about rows, and those about the model if they are valid for the task."""
    told = {name: value for name, value in more.items() if name.startswith("data.") and name != "data.path"}
    if columns:
        told["data.columns"] = dict(columns)
    config = edit_values(config, told)
    model = {name: value for name, value in more.items() if name.startswith("model.")}
    try:
        return edit_values(config, model) if model else config
    except TunerError:
        # Errors about the model are reported when the model is chosen
        return config


def _find_suited_task(config: RunConfig) -> str:
    """Return the task that the first usable row fits; the task of the config if there is none."""
    ledger = Ledger()
    try:
        for read in islice(DataReading(config.data), 20):
            record = read.count_start(ledger)
            if record is not None:
                return name_of_task(record) or config.task
    except (TunerError, OSError):
        pass
    return config.task


class _DataReader:
    """Reads a data set once and turns its counts into a `DataLook`."""

    def __init__(
        self,
        config: RunConfig,
        path: str,
        stop: Stop,
        said: Callable[[int], None] | None,
        began: float,
        seconds: float,
    ) -> None:
        self.config, self.path, self.stop, self.said = config, path, stop, said
        self.began, self.until = began, began + seconds
        self.tally = Tally(config)
        self.refused: Counter[str] = Counter()
        self.refusal: DataError | None = None
        self.suits: Counter[str] = Counter()
        self.first: list[tuple[str, ...]] = []
        self.read = 0
        self.bare = 0  # rows with a text but no label
        self.whole = True

    def read_and_judge(self) -> DataLook:
        """Read the rows until the time is up; return their figures and concerns.

        Raises:
            DataError: it cannot be read or understood.
        """
        reading = DataReading(self.config.data)
        for read in self._read_in_time(reading):
            self._take_row(read)
        # An empty file is an error like an unreadable one, not a data set with zero rows
        if not self.read:
            raise DataError(_("holds no rows."), where=one_line(self.path), hint=_("Check data.path."))
        self.tally.finish_counts()
        detection = reading.detections[0].detection if reading.detections else None
        rows = self.read if self.whole else self._count_lines()
        self.tally.tokens = self._token_lengths()
        tokens = Spread.summarise_lengths(self.tally.tokens)
        share = self.tally.rows / self.read
        # Rows that the task cannot use count no tokens, at the share seen so far
        total = round(tokens.mean * rows * share) if tokens and rows else None
        return DataLook(
            path=one_line(self.path),
            task=self.config.task,
            rows=rows,
            read=self.read,
            whole=self.whole,
            usable=self.tally.rows,
            refused=dict(self.refused.most_common()),
            basis=self._describe_basis(rows),
            suits=tuple(name for name, _count in self.suits.most_common()),
            format=detection.format if detection else "",
            columns=dict(detection.columns) if detection else {},
            characters=Spread.summarise_lengths(self.tally.characters),
            answers=Spread.summarise_lengths(self.tally.answers),
            tokens=tokens,
            total_tokens=total,
            labels=dict(self.tally.labels.most_common(50)),
            tags=dict(self.tally.tags.most_common(50)),
            problem=find_row_label_problem(self.tally, self.config),
            duplicates=self.tally.duplicates,
            contradictions=self.tally.contradictions,
            language=self.tally.guess_language(),
            notes=tuple(map(one_line, reading.notes)),
            first=tuple(self.first),
            to_mark=self.bare if can_annotate(self.config.task) else 0,
            concerns=tuple(self._list_concerns(tokens, total or 0)),
            need=find_example_need(self.config.task),
            seconds=time.monotonic() - self.began,
        )

    def _read_in_time(self, reading: DataReading) -> Iterator[ReadRow]:
        """Yield the rows until the time is up or `stop` returns true."""
        for read in reading:
            yield read
            if time.monotonic() > self.until or (self.read % 64 == 0 and self.stop()):
                self.whole = False
                return
            if self.said is not None and self.read % 256 == 0:
                self.said(self.read)

    def _take_row(self, read: ReadRow) -> None:
        ledger = Ledger()
        record = read.count_start(ledger)
        # Rows that a format merges into one chat are counted with the row that they end up in
        if read.merged:
            return
        self.read += 1
        if record is None:
            reasons = [reason.reason for reason in ledger.list_reasons("dropped")]
            self.refused.update(reasons)
            self.bare += UNLABELLED in reasons
            return
        suited = name_of_task(record)
        if suited is not None:
            # Counted even if the task asked for cannot use the row: this is how another task is suggested
            self.suits[suited] += 1
        if len(self.first) < FIRST:
            self.first.append(_format_record(record))
        # Rows that another task could use are counted as refused, and not in the statistics
        if self._can_use(read, record):
            self.tally.count_row(read, record)

    def _can_use(self, read: ReadRow, record: Record) -> bool:
        encoder = find_task(self.config.task).encoder_class
        if self.config.task_kind.decides == "text" and getattr(record, "label", "") is None:
            self.refused[UNLABELLED] += 1
            self.bare += 1
            return False
        if encoder is None:
            return True
        try:
            encoder.check_kind(self.config, read, record)
        except DataError as error:
            self.refusal = self.refusal or error
            self.refused[N_("rows that this task cannot use")] += 1
            self.bare += isinstance(record, Text)
            return False
        return True

    def _count_lines(self) -> int | None:
        """Count the lines of a file that was not read to its end; None if they are not its rows."""
        facts = count_rows_quickly(self.config, seconds=0.0).facts
        rows = facts.rows + facts.validation_rows if facts else 0
        # Fewer lines than rows: one line holds several rows, so the count says nothing
        return rows if rows >= self.read else None

    def _token_lengths(self) -> list[int]:
        records = [read.record for read in self.tally.sample if read.record is not None]
        return count_row_tokens(self.config, records) or [] if records else []

    def _describe_basis(self, rows: int | None) -> str:
        if self.whole:
            return _n(
                "{count:,} row, all of it read", "{count:,} rows, all of them read", rows or 0, count=rows
            )
        if rows is not None:
            return _("{rows:,} lines; the first {read:,} rows were read", rows=rows, read=self.read)
        return _("the first {read:,} rows were read; the rest was not counted", read=self.read)

    def _list_concerns(self, tokens: Spread | None, total: int) -> Iterator[Concern]:
        if not self.tally.rows:
            if self.refusal is not None:
                yield describe_wrong_shape(self.refusal, self.config, self.bare)
            else:
                reason, number = self.refused.most_common(1)[0]
                yield Concern(
                    "no_usable_row",
                    _(
                        "{path}: none of {rows:,} rows can be used: {reason} ({count:,}).",
                        path=one_line(self.path, 200),
                        rows=self.read,
                        reason=one_line(_(reason)),
                        count=number,
                    ),
                    _("Fix the file, or name the columns (data.columns)."),
                    stops=True,
                    fixes=offer_annotation(self.config) if self.bare else (),
                )
            return
        better = find_better_task(self.config)
        if better is not None:
            fixes = tuple((word_concern_fix(fix), fix) for fix in better.hint.fixes)
            yield Concern("better_task", better.sentence, better.hint.on_screen, fixes=fixes)
        limit = _find_model_limit(self.config)
        # "Too few" is only certain if every row was read: the rest may hold what is missing
        for concern in find_concerns(self.tally, self.config, self.read, self.refused, tokens, total, limit):
            if self.whole or concern.code not in ("few_rows", "few_in_class", "one_class", "no_tags"):
                yield concern
        # Last, as it reads a second file
        yield from self._find_held_out_copies()

    def _find_held_out_copies(self) -> Iterator[Concern]:
        """Compare the rows of a separate held-out file with the training rows."""
        held = self.config.data.validation
        if not isinstance(held, str):
            return
        copies = seen = 0
        # The limit is about training rows; a held-out file is always read whole
        data = self.config.data.model_copy(update={"path": held, "validation": None, "limit": None})
        until = time.monotonic() + SECONDS
        try:
            for read in DataReading(data):
                if read.record is not None:
                    seen += 1
                    copies += self.tally.has_hash(self.tally.hash_record(read.record))
                if time.monotonic() > until or self.stop():
                    break
        except (TunerError, OSError) as error:
            problem = describe_refusal(error, self.config)
            yield Concern("held_out_unreadable", problem.message, problem.way_out, True, problem.fixes)
            return
        yield from describe_copies(copies, seen)


def _find_model_limit(config: RunConfig) -> int:
    """Return the model's limit in tokens; 0 if its config.json is not on this machine."""
    try:
        return load_facts(config.model, network=False).max_positions
    except (TunerError, OSError):
        return 0


def _format_record(record: Record) -> tuple[str, ...]:
    from tui_tuner.data.report import format_record

    held = {key: value for key, value in asdict(record).items() if value not in (None, "", [])}
    return tuple(line.strip() for line in format_record(held))


def describe_look(look: DataLook) -> list[str]:
    """Describe the figures in sentences, one per line, without the concerns."""
    lines = [look.basis]
    if look.usable < look.read and look.usable:
        lines.append(
            _("{usable:,} can be used, {rest:,} cannot", usable=look.usable, rest=look.read - look.usable)
        )
    if look.tokens is not None:
        words = _(
            "{mean:,.0f} tokens per row on average, half of the rows at most {median:,}, the longest "
            "{longest:,}",
            mean=look.tokens.mean,
            median=look.tokens.median,
            longest=look.tokens.longest,
        )
        lines.append(words)
        if look.total_tokens:
            lines.append(_("about {count:,} tokens in all", count=look.total_tokens))
    elif look.characters is not None:
        words = _(
            "{mean:,.0f} characters per row on average, half of the rows at most {median:,}, the longest "
            "{longest:,} (tokens are counted once the model's tokenizer is on this machine)",
            mean=look.characters.mean,
            median=look.characters.median,
            longest=look.characters.longest,
        )
        lines.append(words)
    counted = look.labels or look.tags
    if counted and look.problem != REGRESSION:
        named = ", ".join(f"{one_line(name, 30)} {number:,}" for name, number in list(counted.items())[:6])
        lines.append(_("labels: {labels}", labels=named + (", …" if len(counted) > 6 else "")))
    if look.duplicates:
        lines.append(
            _n(
                "{count:,} row repeats another",
                "{count:,} rows repeat another",
                look.duplicates,
                count=look.duplicates,
            )
        )
    if look.language:
        lines.append(_("language: {code}, judging by the words", code=look.language))
    return [line for line in lines if line]


__all__ = ["DataLook", "describe_example_need", "describe_look", "look_at_data"]
