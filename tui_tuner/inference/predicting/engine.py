"""Runs a job: reads the rows, predicts them in batches of similar length, and writes them in order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import UsageError
from tui_tuner.inference.base_download import fetch_missing_bases
from tui_tuner.inference.loading import ModelKeeper
from tui_tuner.inference.model_places import build_origin_config
from tui_tuner.inference.predicting.counts import Counts
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.output import PredictionFile
from tui_tuner.inference.predicting.predictors import (
    Prediction,
    Predictor,
    PreparedRow,
    StopRequested,
    choose_predictor,
)
from tui_tuner.inference.predicting.roles import RESPONSE
from tui_tuner.inference.predicting.scoring import PredictionScores, score_prediction_file
from tui_tuner.inference.predicting.source import InputFiles, InputRow
from tui_tuner.inference.predicting.stamp import describe_model_state
from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import FetchCancelled
from tui_tuner.models.hub.kinds import Progress as Fetched
from tui_tuner.runs.wire import convert_to_plain_json
from tui_tuner.tasks import find_task
from tui_tuner.text import one_line

BATCHES = 4  # in a window, within which rows are sorted by length
TOLD = 0.3  # seconds between two messages
NEWEST = 3  # predictions that a message shows
SHOWN = 300  # characters of each

Progress = Callable[[dict[str, Any]], None]
GO, AFTER_BATCH, AT_ONCE = range(3)  # return values of `stop`


@dataclass
class PredictionOutcome:
    """The outcome of a job.

    Args:
        total: Rows of the input; 0 if it ended before they were counted.
        before: Rows that earlier attempts had written.
        stopped: Whether it was stopped before the last row.
        cut: Answers of this attempt that were cut at the longest length.
        scores: The answers of a complete file, compared with the targets that its rows have.
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
    scores: PredictionScores = field(default_factory=PredictionScores)

    @property
    def is_done(self) -> bool:
        """Return whether every row is written."""
        return 0 < self.total <= self.counts.rows

    def list_outcome_values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        counts = self.counts.list_counts()
        own = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("counts", "scores")
        }
        compared = self.scores
        scores = {
            "metrics": compared.metrics,
            "compared": compared.rows,
            "signatures": compared.signatures,
        }
        return {**own, **counts, **(scores if compared.rows else {}), "done": self.is_done}


def predict_file(
    job: Job, progress: Progress = lambda _: None, stop: Callable[[], int] = lambda: GO
) -> PredictionOutcome:
    """Predict the rows of a file that its output does not contain yet.

    Args:
        progress: Called with {"doing": "counting", "rows"}; {"doing": "fetching", "name", "done", "total"} in
            bytes; {"doing": "loading", "name", "done", "total"} in weights; {"doing": "predicting", "rows",
            "total", "before", "seconds", "tokens", "unused", "unlabelled", "newest": [{"row", "prediction",
            "problem"}]}; and {"note": sentence}.
        stop: Returns GO, AFTER_BATCH to end after the current batch, or AT_ONCE to end without it.

    Raises:
        UsageError: options, prompt or output are not valid.
        DataError: the input cannot be read, or its columns are ambiguous.
        ModelError, RunError, HubError, OutOfMemoryError: the model cannot be loaded or used.
        DiskFullError: the output cannot be written; the same job can be resumed.
    """
    job.check_options()
    run = job.model.kind == "run"
    source = InputFiles(job, build_origin_config(job.model) if run else None)
    # Columns are checked on the first rows, before a large model is loaded
    source.find_first_roles()
    if source.holds_target(Path(job.out).expanduser()):
        raise UsageError(
            _("is, or would become, one of the input files."),
            where=one_line(job.out, 300),
            hint=_("Choose another -o, outside of the input."),
        )
    made_of = {
        "model": describe_model_state(job.model),
        "input": source.fingerprint_files(),
        "options": job.list_options(),
    }
    # Opened before the model is loaded: a wrong output is reported in a moment, not after minutes
    with PredictionFile(job, made_of) as output:
        try:
            return _PredictionRun(job, source, output, progress, stop).run_job()
        finally:
            output.discard_empty()


class _PredictionRun:
    """One attempt at a job."""

    def __init__(
        self,
        job: Job,
        source: InputFiles,
        output: PredictionFile,
        progress: Progress,
        stop: Callable[[], int],
    ) -> None:
        self.job, self.source, self.output = job, source, output
        self.progress, self.stop = progress, stop
        self.found = PredictionOutcome(str(output.path), 0, output.counts.rows, output.counts)
        self._newest: list[dict[str, Any]] = []
        self._begun = self._told = 0.0
        self._waiting = 0  # rows that are predicted but wait for an earlier one

    def run_job(self) -> PredictionOutcome:
        for note in self.source.notes:
            self._note_sentence(note)
        found = self.found
        found.total = self._count_rows()
        if self.stop() and not found.total:
            found.stopped = True
            return found
        if found.counts.rows > found.total:
            raise UsageError(
                _(
                    "has {count:,} rows, but the input has only {total:,}.",
                    count=found.counts.rows,
                    total=found.total,
                ),
                where=one_line(self.output.path, 300),
                hint=_("Choose another -o, or start again with --force."),
            )
        if not found.is_done and not self.stop():
            self._predict_all()
        found.stopped = not found.is_done
        self.output.sync_file()
        if found.is_done:
            found.scores = self._compare_answers()
        return found

    def _compare_answers(self) -> PredictionScores:
        """Compare the answers of the file with the targets of its rows, if it has both."""
        roles = self.source.find_first_roles()
        target = roles.columns.get(RESPONSE) if roles is not None else None
        if not target or self.job.labels or self.job.json_keys:
            return PredictionScores()
        usual = find_task(self.job.model.task).answer_metrics
        return score_prediction_file(self.output.path, self.job.field, target, usual)

    def _count_rows(self) -> int:
        if self.output.rows is not None:
            return self.output.rows

        def report_count(rows: int) -> None:
            self.progress({"doing": "counting", "rows": rows})
            if self.stop():
                raise StopRequested

        try:
            self.output.rows = self.source.count_rows(report_count)
        except StopRequested:
            return 0  # not known yet
        return self.output.rows

    def _predict_all(self) -> None:
        def report_loaded_weights(name: str, done: int, total: int) -> None:
            self.progress({"doing": "loading", "name": name, "done": done, "total": total})

        def report_fetched_bytes(name: str, at: Fetched) -> None:
            self.progress({"doing": "fetching", "name": name, "done": at.done, "total": at.total})

        try:
            fetch_missing_bases([self.job.model], report_fetched_bytes, lambda: self.stop() != GO)
        except FetchCancelled:
            return
        # A hub's model has its weights on this machine only now, so only now can they be compared
        self.output.record_model(describe_model_state(self.job.model))
        (loaded,) = ModelKeeper(self.job.device).load_all([self.job.model], report_loaded_weights)
        answers = choose_predictor(self.job, loaded, self._note_sentence)
        # Only now is old content deleted with --force: an error before has changed nothing
        self.output.start_writing()
        self._begun = time.monotonic()
        self._report_progress(force=True)
        rows = self.source.read_inputs(self.found.counts.rows)
        while window := list(itertools.islice(rows, answers.batch_size * BATCHES)):
            made = self._predict_window(answers, window)
            self._write_ready(window, made)
            if self.stop():
                break
        self._report_progress(force=True)

    # ---- a window of rows ---------------------------------------------------------------------------------

    def _predict_window(self, answers: Predictor, window: Sequence[InputRow]) -> dict[int, Prediction]:
        """Predict a window of rows; return predictions by row number, incomplete if the job is to stop."""
        made: dict[int, Prediction] = {}
        todo: list[PreparedRow] = []
        for asked in window:
            if asked.number in self.output.ahead:
                value, problem = self.output.ahead[asked.number]
                made[asked.number] = Prediction(value, problem)
            elif asked.record is None:
                made[asked.number] = Prediction(None, asked.problem)
            else:
                try:
                    todo.append(answers.prepare_row(asked.number, asked.record))
                except RowProblem as problem:
                    made[asked.number] = Prediction(None, str(problem))
        # The longest first: if memory runs out, it does so at once, before much work is done
        todo.sort(key=lambda one: -one.length)
        while todo and not self.stop():
            batch, todo = todo[: answers.batch_size], todo[answers.batch_size :]
            try:
                found = answers.answer_batch(batch, self._check_stop)
            except StopRequested:
                break
            made.update(zip((one.number for one in batch), found, strict=True))
            self.found.tokens += sum(one.tokens for one in found)
            self.found.cut += sum(one.cut for one in found)
            self._waiting = len(made)
            self._report_progress()
        self._waiting = 0
        return made

    def _check_stop(self, _tokens: int) -> None:
        # AFTER_BATCH is looked at between batches
        if self.stop() == AT_ONCE:
            raise StopRequested
        self._report_progress()

    def _write_ready(self, window: Sequence[InputRow], made: dict[int, Prediction]) -> None:
        """Write rows up to the first without a prediction, and keep later ones in the state file."""
        # The file has the order of the input, so rows after a gap must wait
        ready = list(itertools.takewhile(lambda asked: asked.number in made, window))
        self.output.write_lines([self._format_line(asked, made[asked.number]) for asked in ready])
        for asked in ready:
            one = made.pop(asked.number)
            self.output.ahead.pop(asked.number, None)
            self.found.counts.count_prediction(one.value, one.problem)
            self._newest.append(
                {
                    "row": asked.number + 1,
                    "prediction": _shorten_prediction(one.value),
                    "problem": one.problem,
                }
            )
        self._newest = self._newest[-NEWEST:]
        if len(ready) < len(window):
            kept = {number: [one.value, one.problem] for number, one in made.items()}
            self.output.save_state({**self.output.ahead, **kept})

    def _format_line(self, asked: InputRow, made: Prediction) -> bytes:
        field = self.job.field
        values = {**asked.row.values, field: made.value}
        if made.problem:
            # The row's own columns are never overwritten
            values["problem" if "problem" not in asked.row.values else f"{field}_problem"] = made.problem
        try:
            return orjson.dumps(convert_to_plain_json(values), default=str) + b"\n"
        except (TypeError, RecursionError):
            # The row is nested more deeply than orjson can write
            return (
                orjson.dumps(
                    convert_to_plain_json(
                        {field: made.value, "problem": made.problem or _("nested too deeply")}
                    )
                )
                + b"\n"
            )

    # ---- messages -----------------------------------------------------------------------------------------

    def _note_sentence(self, sentence: str) -> None:
        self.found.notes.append(sentence)
        self.progress({"note": sentence})

    def _report_progress(self, force: bool = False) -> None:
        now = time.monotonic()
        # Time counts from the first row, without loading, so that the rate is that of predicting
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


def _shorten_prediction(value: Any) -> Any:
    """Shorten a prediction for a progress message."""
    shown = convert_to_plain_json(value)
    if isinstance(shown, str):
        return one_line(shown, SHOWN)
    text = orjson.dumps(shown).decode()
    return shown if len(text) <= SHOWN else one_line(text, SHOWN)
