"""The data question of the guide: what a file is, how much of it there is, and what is wrong with it.

The rows are read once, to the end or for as long as one waits, and it is said which. Imports no torch.
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
from tui_tuner.config.values import with_values
from tui_tuner.data.labels.problem import REGRESSION
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.reading import Read, Reading
from tui_tuner.data.records import Record, Text
from tui_tuner.errors import DataError, TunerError
from tui_tuner.guiding.amounts import Need, need_of, say_need
from tui_tuner.guiding.examples import can_annotate
from tui_tuner.guiding.looking.concerns import (
    UNLABELLED,
    by_hand,
    concerns_of,
    held_out_copies,
    problem_of,
    refusal_concern,
    words_of_fix,
    wrong_shape,
)
from tui_tuner.guiding.looking.tally import Spread, Tally
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import N_, _, _n
from tui_tuner.models.facts import load_facts
from tui_tuner.planning.counting import count, row_tokens
from tui_tuner.tasks import find_task, name_of_task
from tui_tuner.tasks.preview.suiting import better_task
from tui_tuner.text import one_line

SECONDS = 8.0  # of reading: whoever has asked waits; most files that fit a disk's cache are read by then
FIRST = 3  # rows that are shown

Stop = Callable[[], bool]


@dataclass(frozen=True)
class DataLook:
    """What the rows are.

    Args:
        task: What they were looked at for: the task asked for, or else the one that they suit.
        rows: All rows; None where nobody knows. `read` of them were looked at, `whole`: those are all.
        usable: Rows of those read that the task can use; `refused` the others, by reason.
        basis: How they were counted, in a sentence.
        suits: Tasks that the rows are for, as they come.
        format: The record format, and `columns` the column of each role.
        characters: How long a row is; `answers`: an answer; `tokens`: a row, where a tokenizer is here.
        total_tokens: Of all rows; None without a tokenizer or a count of rows.
        labels: Rows of each class; `tags`: marked places of each kind. The most frequent ones.
        problem: What labels are: `single`, `multi`, `regression`; empty without labels.
        language: An ISO code where nearly all rows are in one language that can be told.
        first: The first rows, each as lines.
        to_mark: Rows with a text and nothing said of it, which can be marked by hand (`guiding.annotate`).
        need: How many such rows are needed, by whose rule.
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
        """Whether nothing stands in the way."""
        return not any(concern.stops for concern in self.concerns)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
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
    """Read rows and judge them. Raises nothing: what is wrong is a concern.

    Args:
        path: As `data.path`.
        task: A name of `config.kinds.TASKS`; None looks for the one that the rows are for.
        columns: As `data.columns`.
        stop: Whether to give up; what was read by then is judged.
        more: Other fields by their dotted names, such as `model.name`, whose tokenizer counts tokens where
            it is on this machine, and `data.validation`. Fields that say nothing of rows are left aside.
        seconds: How long to read at most.
        said: Told how many rows were read, now and then.
    """
    began = time.monotonic()
    config = build_config({"task": task or "sft", "data": {"path": path}})
    try:
        config = _config(config, columns, more or {})
        if task is None:
            config = with_values(config, {"task": _suited(config)})
        return _Looking(config, path, stop or (lambda: False), said, began, seconds).look()
    except (TunerError, OSError) as error:
        return DataLook(
            one_line(path),
            config.task,
            concerns=(refusal_concern(error, config),),
            need=need_of(config.task),
            seconds=time.monotonic() - began,
        )


def _config(config: RunConfig, columns: Mapping[str, str] | None, more: Mapping[str, Any]) -> RunConfig:
    """The config with what was said of the rows, and with a model if that is possible for the task."""
    told = {name: value for name, value in more.items() if name.startswith("data.") and name != "data.path"}
    if columns:
        told["data.columns"] = dict(columns)
    config = with_values(config, told)
    model = {name: value for name, value in more.items() if name.startswith("model.")}
    try:
        return with_values(config, model) if model else config
    except TunerError:  # what is wrong with the model is said where models are chosen
        return config


def _suited(config: RunConfig) -> str:
    """The task that the first row is for, as it comes; the one asked for where nobody can tell."""
    ledger = Ledger()
    try:
        for read in islice(Reading(config.data), 20):
            record = read.begun(ledger)
            if record is not None:
                return name_of_task(record) or config.task
    except (TunerError, OSError):
        pass
    return config.task


class _Looking:
    """One look at a data set."""

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
        self.bare = 0  # rows with a text and nothing said of it
        self.whole = True

    def look(self) -> DataLook:
        """Read, count and judge.

        Raises:
            DataError: it cannot be read or understood.
        """
        reading = Reading(self.config.data)
        for read in self._in_time(reading):
            self._take(read)
        if not self.read:
            raise DataError(_("holds no rows."), where=one_line(self.path), hint=_("Check data.path."))
        self.tally.finish()
        detection = reading.detections[0].detection if reading.detections else None
        rows = self.read if self.whole else self._lines()
        self.tally.tokens = self._token_lengths()
        tokens = Spread.of(self.tally.tokens)
        share = self.tally.rows / self.read
        total = round(tokens.mean * rows * share) if tokens and rows else None
        return DataLook(
            path=one_line(self.path),
            task=self.config.task,
            rows=rows,
            read=self.read,
            whole=self.whole,
            usable=self.tally.rows,
            refused=dict(self.refused.most_common()),
            basis=self._basis(rows),
            suits=tuple(name for name, _count in self.suits.most_common()),
            format=detection.format if detection else "",
            columns=dict(detection.columns) if detection else {},
            characters=Spread.of(self.tally.characters),
            answers=Spread.of(self.tally.answers),
            tokens=tokens,
            total_tokens=total,
            labels=dict(self.tally.labels.most_common(50)),
            tags=dict(self.tally.tags.most_common(50)),
            problem=problem_of(self.tally, self.config),
            duplicates=self.tally.duplicates,
            contradictions=self.tally.contradictions,
            language=self.tally.language(),
            notes=tuple(map(one_line, reading.notes)),
            first=tuple(self.first),
            to_mark=self.bare if can_annotate(self.config.task) else 0,
            concerns=tuple(self._concerns(tokens, total or 0)),
            need=need_of(self.config.task),
            seconds=time.monotonic() - self.began,
        )

    def _in_time(self, reading: Reading) -> Iterator[Read]:
        """The rows, until the time is up or nobody waits any more."""
        for read in reading:
            yield read
            if time.monotonic() > self.until or (self.read % 64 == 0 and self.stop()):
                self.whole = False
                return
            if self.said is not None and self.read % 256 == 0:
                self.said(self.read)

    def _take(self, read: Read) -> None:
        ledger = Ledger()
        record = read.begun(ledger)
        if read.merged:
            return
        self.read += 1
        if record is None:
            reasons = [reason.reason for reason in ledger.reasons("dropped")]
            self.refused.update(reasons)
            self.bare += UNLABELLED in reasons
            return
        suited = name_of_task(record)
        if suited is not None:
            self.suits[suited] += 1
        if len(self.first) < FIRST:
            self.first.append(_shown(record))
        if self._can_use(read, record):
            self.tally.add(read, record)

    def _can_use(self, read: Read, record: Record) -> bool:
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

    def _lines(self) -> int | None:
        """Rows of a file that was not read to its end: counted as lines, where it has them."""
        facts = count(self.config, seconds=0.0).facts
        rows = facts.rows + facts.validation_rows if facts else 0
        return rows if rows >= self.read else None

    def _token_lengths(self) -> list[int]:
        records = [read.record for read in self.tally.sample if read.record is not None]
        return row_tokens(self.config, records) or [] if records else []

    def _basis(self, rows: int | None) -> str:
        if self.whole:
            return _n(
                "{count:,} row, all of them read", "{count:,} rows, all of them read", rows or 0, count=rows
            )
        if rows is not None:
            return _("{rows:,} lines; the first {read:,} rows read", rows=rows, read=self.read)
        return _("the first {read:,} rows read; how many more there are was not counted", read=self.read)

    def _concerns(self, tokens: Spread | None, total: int) -> Iterator[Concern]:
        if not self.tally.rows:
            if self.refusal is not None:
                yield wrong_shape(self.refusal, self.config, self.bare)
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
                    _("Mend the file, or say which column is what (data.columns)."),
                    stops=True,
                    fixes=by_hand(self.config) if self.bare else (),
                )
            return
        better = better_task(self.config)
        if better is not None:
            fixes = tuple((words_of_fix(fix), fix) for fix in better.hint.fixes)
            yield Concern("better_task", better.sentence, better.hint.on_screen, fixes=fixes)
        limit = _limit(self.config)
        # Told small only where all rows are known: the rest may hold what is missing
        for concern in concerns_of(self.tally, self.config, self.read, self.refused, tokens, total, limit):
            if self.whole or concern.code not in ("few_rows", "few_in_class", "one_class", "no_tags"):
                yield concern
        yield from self._copies()

    def _copies(self) -> Iterator[Concern]:
        """Rows of a file that is held out, compared with those that are trained."""
        held = self.config.data.validation
        if not isinstance(held, str):
            return
        copies = seen = 0
        data = self.config.data.model_copy(update={"path": held, "validation": None, "limit": None})
        until = time.monotonic() + SECONDS
        try:
            for read in Reading(data):
                if read.record is not None:
                    seen += 1
                    copies += self.tally.holds(self.tally.hash_of(read.record))
                if time.monotonic() > until or self.stop():
                    break
        except (TunerError, OSError) as error:
            problem = refusal_concern(error, self.config)
            yield Concern("held_out_unreadable", problem.message, problem.way_out, True, problem.fixes)
            return
        yield from held_out_copies(copies, seen)


def _limit(config: RunConfig) -> int:
    """Tokens that the model takes at most, as far as its config.json is here; 0 where nobody can tell."""
    try:
        return load_facts(config.model, network=False).max_positions
    except (TunerError, OSError):
        return 0


def _shown(record: Record) -> tuple[str, ...]:
    from tui_tuner.data.report import record_lines

    held = {key: value for key, value in asdict(record).items() if value not in (None, "", [])}
    return tuple(line.strip() for line in record_lines(held))


def say_look(look: DataLook) -> list[str]:
    """The figures as sentences, one a line; concerns are told apart from them."""
    lines = [look.basis]
    if look.usable < look.read and look.usable:
        lines.append(
            _("{usable:,} can be used, {rest:,} cannot", usable=look.usable, rest=look.read - look.usable)
        )
    if look.tokens is not None:
        words = _(
            "{mean:,.0f} tokens a row on average, half of them at most {median:,}, the longest {longest:,}",
            mean=look.tokens.mean,
            median=look.tokens.median,
            longest=look.tokens.longest,
        )
        lines.append(words)
        if look.total_tokens:
            lines.append(_("about {count:,} tokens in all", count=look.total_tokens))
    elif look.characters is not None:
        words = _(
            "{mean:,.0f} characters a row on average, half of them at most {median:,}, the longest "
            "{longest:,} (tokens are counted once the model's tokenizer is here)",
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
        lines.append(_("language: {code}, as far as the words tell", code=look.language))
    return [line for line in lines if line]


__all__ = ["DataLook", "look_at_data", "say_look", "say_need"]
