"""The training loop, and what happens between its steps: reports, commands, evaluation, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

from tui_tuner.config.metrics import Metric, higher_is_better
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, RunError
from tui_tuner.locales import _
from tui_tuner.objectives.objective import EvaluationResult
from tui_tuner.runs.events import Evaluation, EvaluationTable, HeldOutRows, Log
from tui_tuner.text import one_line
from tui_tuner.training.evaluator import EvaluationInterrupt, Evaluator
from tui_tuner.training.interruptions import RollBack, StopHere
from tui_tuner.training.keeping.best import Stamp
from tui_tuner.training.keeping.checkpoints import Checkpoint, list_checkpoints
from tui_tuner.training.keeping.disk import DiskWait, write_evaluation_files
from tui_tuner.training.keeping.progress import Progress
from tui_tuner.training.keeping.saving import Saver
from tui_tuner.training.run_commands import Commands, Wishes
from tui_tuner.training.step.engine import Engine, StepResult
from tui_tuner.training.watching.budget import Budget
from tui_tuner.training.watching.interludes import Interludes
from tui_tuner.training.watching.intervals import find_interval, is_due_at
from tui_tuner.training.watching.kernels import tell_of_failures
from tui_tuner.training.watching.reporting import BadNumbers, PendingStep, Reporter, StepReports

NAMED_ROWS = 3


class Watcher(Protocol):
    """Looks on from the first step to the last, and changes nothing."""

    def begin_watch(self) -> None: ...
    def note_step(self, step: int) -> None: ...


class Loop:
    """Takes the steps of a run, and does at each step boundary what is due there."""

    def __init__(
        self,
        config: RunConfig,
        reporter: Reporter,
        commands: Commands,
        reports: StepReports,
        evaluator: Evaluator,
        saver: Saver,
        total_steps: int,
        progress: Progress,
        metrics: Sequence[Metric],
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.config = config
        self.reporter = reporter
        self.commands = commands
        self.reports = reports
        self.evaluator = evaluator
        self.saver = saver
        self.total = total_steps
        self.progress = progress
        self.metrics = {metric.name: metric for metric in metrics}
        self.watchers = list(watchers)
        self.budget = Budget(config.hardware, reporter, total_steps)
        self.disk_wait = DiskWait(saver.folder.path, reporter, commands)
        self.stopped = ""
        self.evaluate_every = find_interval(config.evaluation.every, total_steps)
        self.interludes = Interludes(
            {"evaluation": self.evaluate_every, "checkpoint": saver.every}, lambda: commands.waited
        )
        self._evaluated = -1
        self._apart = True  # whether more than reports came since the last step: an evaluation, a checkpoint
        self._clock = time.monotonic()

    @property
    def engine(self) -> Engine:
        assert self.saver.engine is not None
        return self.saver.engine

    # ---- the loop ----------------------------------------------------------------------------------

    def take_steps(self, checkpoint: Checkpoint | None) -> None:
        """Take all steps that are left, from a checkpoint or from the beginning, to the end or to a stop.

        Raises:
            StopHere: a stop interrupts what is owed before the first of them.
            RollBack: a step gave bad numbers, and the run is to go back.
        """
        engine = self.engine
        engine.prepare_states(checkpoint.path if checkpoint else None)
        self.begin_steps(engine.step)
        if checkpoint is not None:
            engine.restore_random_states(checkpoint.path)  # after what was owed, which may draw numbers too
        for step in range(engine.step + 1, self.total + 1):
            self.reports.meter.begin_step()
            result = engine.train_step()
            self.reports.meter.end_step()
            ending = self.finish_step(step, result)
            for watcher in self.watchers:
                watcher.note_step(step)
            if ending:
                return

    def begin_steps(self, step: int) -> None:
        """Do what a resumed run owes at `step`, and let all who watch begin."""
        self.reporter.step = step
        self._evaluated = -1  # also where the run goes back: what it had measured after this step is void
        self.reporter.report_phase("training", step, self.total)
        owed, answers = self.progress.owed, self.progress.owed_answers
        if owed:
            self._evaluate_once(step, final=False)
        elif answers:
            self._show_answers(step)
        still = self.progress.owed or self.progress.owed_answers
        self.saver.begin_training(step, anew=(owed or answers) and not still)
        if still:  # the next step would make it impossible
            self.stopped = "asked"
            raise StopHere
        self._mark_ready(apart=True)
        for watcher in self.watchers:
            watcher.begin_watch()

    def finish_step(self, step: int, result: StepResult) -> bool:
        """Report a step, and do what is due after it; return whether the run ends here."""
        final = step >= self.total
        self._note_step(step, result)
        if self.reports.is_report_due:
            self._flush_reports()
        wishes = self.commands.take_wishes()
        if not wishes.stop and not final:
            paused = self.commands.wait_while_paused(
                step, self.total, lambda: self._save_now(step, whole=True)
            )
            self._apart |= paused > 0
            wishes.add_wishes(self.commands.take_wishes())
        if wishes.evaluate or final or is_due_at(step, self.evaluate_every):
            # A stop that was asked for ends the evaluation, and a wait for room on the disk in it
            self.commands.put_back(Wishes(stop=wishes.stop))
            self._evaluate_once(step, final)
            later = self.commands.take_wishes()
            # What was asked for while this step was evaluated is done after the next one
            self.commands.put_back(Wishes(evaluate=later.evaluate))
            wishes.add_wishes(later)
        over = self.budget.find_overrun(step, self.saver.spent_seconds, self.commands.waited)
        if (wishes.stop or over) and (not final or self.progress.owed):
            self.stopped = over or "asked"
        ending = final or bool(self.stopped) or self.progress.early
        if wishes.save or ending or self.saver.is_due(step):
            self._save_checkpoint(step, whole=ending)
        self._mark_ready(self._apart)
        return ending

    # ---- parts -------------------------------------------------------------------------------------

    def _mark_ready(self, apart: bool) -> None:
        """Note that the work between two steps is done."""
        self._apart = False
        self._clock = time.monotonic()
        self.reports.meter.mark_ready(apart)

    def _note_step(self, step: int, result: StepResult) -> None:
        engine = self.engine
        self.reports.add_step(
            PendingStep(
                step,
                engine.epoch,
                result.loss,
                result.grad_norm,
                result.rate,
                trained=result.trained,
                tokens=result.tokens,
                seconds=time.monotonic() - self._clock,
                rows=result.rows,
                metrics=result.metrics,
                skipped=result.skipped,
                work=self.reports.meter.count_work(result.parts, engine.data.lengths),
            )
        )

    def _flush_reports(self) -> None:
        bad = self.reports.flush_steps()
        tell_of_failures(self.reporter)
        if bad:
            self._handle_bad_numbers(bad)

    def _save_checkpoint(self, step: int, whole: bool = False) -> None:
        with self.interludes.time_interlude("checkpoint"):
            self._save_now(step, whole)

    def _save_now(self, step: int, whole: bool = False) -> None:
        """A checkpoint, also in a pause, whose time is that of the pause."""
        self._apart = True
        self._flush_reports()  # weights that are not numbers must not get into a checkpoint
        self.saver.save_checkpoint(step, self._disk_wait, whole, ending=bool(self.stopped))

    @property
    def _disk_wait(self) -> DiskWait | None:
        """What to do while the disk is full: wait, but not in a run that was told to end."""
        return None if self.stopped else self.disk_wait

    def _handle_bad_numbers(self, bad: list[BadNumbers]) -> None:
        policy = self.config.training.on_bad_numbers
        first = bad[0]
        rows = ", ".join(self.evaluator.recovery.origin(row) for row in first.rows[:NAMED_ROWS])
        more, said = len(first.rows) - NAMED_ROWS, {"step": first.step, "what": first.what, "rows": rows}
        if more > 0:
            message = _(
                "At step {step} {what}. Rows of the batch: {rows} and {more} more.", more=more, **said
            )
        else:
            message = _("At step {step} {what}. Rows of the batch: {rows}.", **said)
        if policy in ("warn", "skip"):
            left_out = [_("The batch was left out.")] if policy == "skip" else []
            hint = _("Lower training.learning_rate.")
            self.reporter.report_warning("bad_numbers", " ".join([message, *left_out]), hint)
            return
        self.evaluator.recovery.enter_place("")  # the weights are spoilt: nothing of this is saved
        if policy == "rollback":
            raise RollBack(first.step, message)
        if not list_checkpoints(self.saver.folder.checkpoints_path):
            hint = _("There is no checkpoint yet. Start a new run with a lower training.learning_rate.")
            raise RunError(message, hint=hint)
        raise RunError(
            message,
            hint=_(
                "The last checkpoint is sound: resume from it with training.on_bad_numbers: rollback, which "
                "halves the rate where it happens again, or start a new run with a lower "
                "training.learning_rate."
            ),
        )

    def _evaluate_once(self, step: int, final: bool) -> None:
        """Validation loss, best so far, early stopping, and a few answers."""
        if self._evaluated == step:
            return
        self._flush_reports()
        self._apart = True
        self._evaluated = step
        self.progress.owed = True
        with self.interludes.time_interlude("evaluation"):
            self._measure_held_out(step, final)
        self.reporter.report_phase("training", step, self.total)

    def _measure_held_out(self, step: int, final: bool) -> None:
        """What `_evaluate_once` does, once what was computed before is reported."""
        engine = self.engine
        try:
            judged = self.evaluator.evaluate_held_out(engine.model, engine.size, step)
            self.progress.owed = False
            if judged is not None:
                self._report_evaluation(judged, step)
                self._judge_metrics(judged.metrics, step, final)
                self._keep_files(judged, step)
        except EvaluationInterrupt:
            self.reporter.emit(Log(_("The evaluation at step {step} was interrupted.", step=step)))
        else:
            if not final:
                self._show_answers(step)

    def evaluate_before(self) -> None:
        """Measure the model before it has learnt anything; this decides nothing."""
        try:
            judged = self.evaluator.evaluate_held_out(self.engine.model, self.engine.size, 0)
        except EvaluationInterrupt:
            return
        if judged is None:
            return
        self._report_evaluation(judged, 0)
        self._keep_files(judged, 0)
        if self.config.evaluation.best not in judged.metrics and not self.config.task_kind.writes:
            raise ConfigError(
                _("{metric!r} is not measured on these rows.", metric=one_line(self.config.evaluation.best)),
                where="evaluation.best",
                hint=_("Known are {metrics}.", metrics=", ".join(judged.metrics)),
                field="evaluation.best",
            )

    def _report_evaluation(self, judged: EvaluationResult, step: int) -> None:
        self.progress.note_measured(step, judged.metrics)
        self.reporter.emit(Evaluation(step, "validation", judged.metrics))
        if self.reports.curve is not None:
            self.reports.curve.feed_held_out(step, judged.metrics.get("loss"))
        if judged.rows:
            losses, labels = [one.loss for one in judged.rows], [one.labels for one in judged.rows]
            self.reporter.emit(HeldOutRows(step, losses, labels))
        for table in judged.tables:
            self.reporter.emit(
                EvaluationTable(step, table.name, list(table.rows), list(table.columns), list(table.values))
            )

    def _keep_files(self, judged: EvaluationResult, step: int) -> None:
        """Files that an evaluation leaves in the run's folder are those of the best one so far."""
        if self.saver.writes and self.progress.best_step in (None, step):
            write_evaluation_files(self.saver.folder, judged.files, self.reporter)

    def _show_answers(self, step: int) -> None:
        """A few answers; owed where they are interrupted."""
        self.progress.owed_answers = True
        try:
            self.evaluator.show_samples(self.engine.model, step, "during")
            self.progress.owed_answers = False
        except EvaluationInterrupt:
            self.reporter.emit(Log(_("The evaluation at step {step} was interrupted.", step=step)))

    def _judge_metrics(self, metrics: dict[str, float], step: int, final: bool) -> None:
        name = self.config.evaluation.best
        if name not in metrics:
            known = ", ".join(metrics)
            self.reporter.report_warning(
                "best_unknown",
                _("evaluation.best: {name} is not measured; known are {known}.", name=name, known=known),
            )
            return
        value, best = metrics[name], self.progress.best
        own = self.metrics.get(name)
        sign = -1 if higher_is_better(name, own.higher_is_better if own else None) else 1
        if math.isfinite(value) and (best is None or sign * value < sign * best):
            self.progress.worse = 0
            if self.saver.write_best(Stamp(step, value), self._disk_wait):
                self.progress.best, self.progress.best_step = value, step
            return
        self.progress.worse += 1
        patience = self.config.evaluation.early_stopping
        if patience and self.progress.worse >= patience and not final:
            self.progress.early = True
            message = _(
                "Stopping early: {worse} evaluations without a better {name}.",
                worse=self.progress.worse,
                name=name,
            )
            self.reporter.emit(Log(message))

    def finish_owed(self, checkpoint: Checkpoint) -> None:
        """Do what a run that has all its steps still owes: the evaluation of the last one."""
        step = checkpoint.step
        self.reporter.step = step
        self.saver.begin_training(step)
        if not self.progress.owed:
            return
        self._evaluate_once(step, final=True)
        if self.progress.owed:
            self.stopped = "asked"
        else:
            self.saver.note_progress(checkpoint, self._disk_wait)

    def rescue_checkpoint(self) -> None:
        """Save what is whole when a step fails before it has changed anything; never raises."""
        engine = self.engine
        try:
            self.reports.flush_steps()
            if engine.recovery.place in ("copying", "forward", "backward") and engine.step:
                self.saver.save_checkpoint(engine.step, whole=True)
        except Exception as error:  # the failure that led here must stay the one that is reported
            self.reporter.report_warning(
                "rescue_failed", _("No checkpoint could be saved: {error}", error=one_line(error, 200))
            )

    def finish_run(self, step: int) -> None:
        """After the last step: what is not reported yet, and the `last` folder."""
        self._flush_reports()
        if (
            not self.saver.write_final(self.saver.folder.last_path, step, self._disk_wait)
            and not self.stopped
        ):
            self.stopped = _("no room for the result")  # so it can be resumed, and is not said to be complete
