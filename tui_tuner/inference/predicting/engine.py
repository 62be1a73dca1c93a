"""A job from its first row to its last: read, computed in batches of similar length, written in order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.inference.bringing import bring_missing
from tui_tuner.inference.loading import Models
from tui_tuner.inference.places import config_of
from tui_tuner.inference.predicting.answers import Answers, Made, Prepared, Stop, answers_of
from tui_tuner.inference.predicting.counts import Counts
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.output import Output
from tui_tuner.inference.predicting.source import Asked, Source
from tui_tuner.inference.predicting.stamp import stamp_of
from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import Cancelled
from tui_tuner.models.hub.kinds import Progress as Fetched
from tui_tuner.runs.wire import plain
from tui_tuner.text import one_line

BATCHES = 4  # in a window: rows of similar length are looked for in so many batches
TOLD = 0.3  # seconds between two messages
NEWEST = 3  # predictions that a message shows
SHOWN = 300  # characters of each

Progress = Callable[[dict[str, Any]], None]
GO, AFTER_BATCH, AT_ONCE = range(3)  # what `stop` says


@dataclass
class Predicted:
    """What a job came to.

    Args:
        total: Rows of the input; 0 where it ended before they were counted.
        before: Rows that were there when it began.
        stopped: It was asked to end before the last row.
        cut: Answers that came to the longest length, of those that were written now.
    """

    path: str
    total: int
    before: int = 0
    counts: Counts = field(default_factory=Counts)
    stopped: bool = False
    cut: int = 0
    tokens: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether every row is there."""
        return 0 < self.total <= self.counts.rows

    def plain(self) -> dict[str, Any]:
        """In plain values."""
        counts = self.counts.plain()
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "counts"}
        return {**own, **counts, "done": self.done}


def predict(job: Job, progress: Progress = lambda _: None, stop: Callable[[], int] = lambda: GO) -> Predicted:
    """Predict every row of a file that its output does not have yet.

    Args:
        progress: Told {"doing": "counting", "rows"}, {"doing": "fetching", "name", "done", "total"} in bytes,
            {"doing": "loading", "name", "done", "total"} in weights, {"doing": "predicting", "rows",
            "total", "before", "seconds", "tokens", "unused", "unlabelled", "newest": [{"row", "prediction",
            "problem"}]}, and {"note": sentence}.
        stop: GO; AFTER_BATCH writes the batch that is computed, and ends; AT_ONCE ends without it.

    Raises:
        UsageError: options, prompt or output do not fit.
        DataError: the input cannot be read, or its columns are not clear.
        ModelError, RunError, HubError, OutOfMemoryError: the model cannot be loaded, or used.
        DiskFullError: the output cannot be written; the same job goes on later.
    """
    job.check()
    run = job.model.kind == "run"
    source = Source(job, config_of(job.model) if run else None)
    source.roles()
    if source.holds(Path(job.out).expanduser()):
        raise UsageError(
            _("is, or would be, one of the files that are read."),
            where=one_line(job.out, 300),
            hint=_("Choose another -o, outside of what is read."),
        )
    made_of = {"model": stamp_of(job.model), "input": source.fingerprint(), "options": job.options()}
    with Output(job, made_of) as output:
        try:
            return _Work(job, source, output, progress, stop).run()
        finally:
            output.discard()


class _Work:
    """One attempt at a job."""

    def __init__(
        self, job: Job, source: Source, output: Output, progress: Progress, stop: Callable[[], int]
    ) -> None:
        self.job, self.source, self.output = job, source, output
        self.progress, self.stop = progress, stop
        self.found = Predicted(str(output.path), 0, output.counts.rows, output.counts)
        self._newest: list[dict[str, Any]] = []
        self._begun = self._told = 0.0
        self._waiting = 0  # rows that are computed, and wait for one before them

    def run(self) -> Predicted:
        for note in self.source.notes:
            self._note(note)
        found = self.found
        found.total = self._count()
        if self.stop() and not found.total:
            found.stopped = True
            return found
        if found.counts.rows > found.total:
            raise UsageError(
                _(
                    "has {count:,} rows, and the input {total:,}.",
                    count=found.counts.rows,
                    total=found.total,
                ),
                where=one_line(self.output.path, 300),
                hint=_("Choose another -o, or begin anew with --force."),
            )
        if not found.done and not self.stop():
            self._all()
        found.stopped = not found.done
        self.output.finish()
        return found

    def _count(self) -> int:
        if self.output.rows is not None:
            return self.output.rows

        def counted(rows: int) -> None:
            self.progress({"doing": "counting", "rows": rows})
            if self.stop():
                raise Stop

        try:
            self.output.rows = self.source.survey(counted)
        except Stop:
            return 0  # nobody knows yet
        return self.output.rows

    def _all(self) -> None:
        def say(name: str, done: int, total: int) -> None:
            self.progress({"doing": "loading", "name": name, "done": done, "total": total})

        def fetched(name: str, at: Fetched) -> None:
            self.progress({"doing": "fetching", "name": name, "done": at.done, "total": at.total})

        try:
            bring_missing([self.job.model], fetched, lambda: self.stop() != GO)
        except Cancelled:
            return
        self.output.know_model(stamp_of(self.job.model))
        (loaded,) = Models(self.job.device).load([self.job.model], say)
        answers = answers_of(self.job, loaded, self._note)
        self.output.start()
        self._begun = time.monotonic()
        self._tell(force=True)
        rows = self.source.rows(self.found.counts.rows)
        while window := list(itertools.islice(rows, answers.batch_size * BATCHES)):
            made = self._window(answers, window)
            self._write(window, made)
            if self.stop():
                break
        self._tell(force=True)

    # ---- a window of rows ---------------------------------------------------------------------------------

    def _window(self, answers: Answers, window: Sequence[Asked]) -> dict[int, Made]:
        """The predictions of some rows, by number; not of all where the job is to end."""
        made: dict[int, Made] = {}
        todo: list[Prepared] = []
        for asked in window:
            if asked.number in self.output.ahead:
                value, problem = self.output.ahead[asked.number]
                made[asked.number] = Made(value, problem)
            elif asked.record is None:
                made[asked.number] = Made(None, asked.problem)
            else:
                try:
                    todo.append(answers.prepare(asked.number, asked.record))
                except RowProblem as problem:
                    made[asked.number] = Made(None, str(problem))
        todo.sort(key=lambda one: -one.length)
        while todo and not self.stop():
            batch, todo = todo[: answers.batch_size], todo[answers.batch_size :]
            try:
                found = answers.answer(batch, self._look)
            except Stop:
                break
            made.update(zip((one.number for one in batch), found, strict=True))
            self.found.tokens += sum(one.tokens for one in found)
            self.found.cut += sum(one.cut for one in found)
            self._waiting = len(made)
            self._tell()
        self._waiting = 0
        return made

    def _look(self, _tokens: int) -> None:
        if self.stop() == AT_ONCE:
            raise Stop
        self._tell()

    def _write(self, window: Sequence[Asked], made: dict[int, Made]) -> None:
        """Write the rows before the first without a prediction, and keep what there is behind it."""
        ready = list(itertools.takewhile(lambda asked: asked.number in made, window))
        self.output.write([self._line(asked, made[asked.number]) for asked in ready])
        for asked in ready:
            one = made.pop(asked.number)
            self.output.ahead.pop(asked.number, None)
            self.found.counts.add(one.value, one.problem)
            self._newest.append(
                {"row": asked.number + 1, "prediction": _short(one.value), "problem": one.problem}
            )
        self._newest = self._newest[-NEWEST:]
        if len(ready) < len(window):
            kept = {number: [one.value, one.problem] for number, one in made.items()}
            self.output.save_state({**self.output.ahead, **kept})

    def _line(self, asked: Asked, made: Made) -> bytes:
        field = self.job.field
        values = {**asked.row.values, field: made.value}
        if made.problem:
            values["problem" if "problem" not in asked.row.values else f"{field}_problem"] = made.problem
        try:
            return orjson.dumps(plain(values), default=str) + b"\n"
        except (TypeError, RecursionError):  # nested more deeply than JSON is written
            return (
                orjson.dumps(plain({field: made.value, "problem": made.problem or _("nested too deeply")}))
                + b"\n"
            )

    # ---- what is told -------------------------------------------------------------------------------------

    def _note(self, sentence: str) -> None:
        self.found.notes.append(sentence)
        self.progress({"note": sentence})

    def _tell(self, force: bool = False) -> None:
        now = time.monotonic()
        self.found.seconds = now - self._begun
        if not force and now - self._told < TOLD:
            return
        self._told = now
        counts = self.found.counts
        self.progress(
            {
                "doing": "predicting",
                "rows": counts.rows + self._waiting,
                "total": self.found.total,
                "before": self.found.before,
                "seconds": self.found.seconds,
                "tokens": self.found.tokens,
                "unused": counts.unused,
                "unlabelled": counts.unlabelled,
                "newest": self._newest,
            }
        )
        self._newest = []


def _short(value: Any) -> Any:
    """A prediction as a message shows it."""
    shown = plain(value)
    if isinstance(shown, str):
        return one_line(shown, SHOWN)
    text = orjson.dumps(shown).decode()
    return shown if len(text) <= SHOWN else one_line(text, SHOWN)
