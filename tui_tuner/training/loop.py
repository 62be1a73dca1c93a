"""The training loop, and the work between its steps: reports, commands, evaluation, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

from tui_tuner.config.metrics import Metric, is_higher_metric_better
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
from tui_tuner.training.watching.intervals import find_interval, is_interval_due
from tui_tuner.training.watching.kernels import warn_of_kernel_failures
from tui_tuner.training.watching.reporting import BadNumbers, PendingStep, Reporter, StepReports

NAMED_ROWS = 3


class Watcher(Protocol):
    """Observes a run from its first step to its last, and changes nothing."""

    def begin_watch(self) -> None: ...
    def note_step(self, step: int) -> None: ...


class Loop:
    """Takes the steps of a run, and does what is due at each step boundary."""

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
        self._apart = True  # more than reports has happened since the last step: an evaluation, a checkpoint
        self._clock = time.monotonic()

    @property
    def engine(self) -> Engine:
        assert self.saver.engine is not None
        return self.saver.engine

    # ---- the loop ----------------------------------------------------------------------------------

    def take_steps(self, checkpoint: Checkpoint | None) -> None:
        """Take all steps that are left, from a checkpoint or from the beginning, to the end or to a stop.

        Raises:
            StopHere: a stop interrupts the evaluation that is owed before the first of them.
            RollBack: a step produced bad numbers, and the run must go back to a checkpoint.
        """
        engine = self.engine
        engine.prepare_states(checkpoint.path if checkpoint else None)
        self.begin_steps(engine.step)
        if checkpoint is not None:
            # After the evaluation that was owed, which may draw random numbers too.
            engine.restore_random_states(checkpoint.path)
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
        """Do the evaluation that a resumed run owes at `step`, and start the watchers."""
        self.reporter.step = step
        # The run may have gone back here: evaluations after this step no longer count.
        self._evaluated = -1
        self.reporter.report_phase("training", step, self.total)
        owed, answers = self.progress.owed, self.progress.owed_answers
        if owed:
            self._evaluate_once(step, final=False)
        elif answers:
            self._show_answers(step)
        still = self.progress.owed or self.progress.owed_answers
        self.saver.begin_training(step, anew=(owed or answers) and not still)
        # Interrupted again. The next step would change the weights that were to be evaluated.
        if still:
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
        if wishes.evaluate or final or is_interval_due(step, self.evaluate_every):
            # Put back, so that a stop also ends this evaluation, and a wait for disk space in it.
            self.commands.put_back(Wishes(stop=wishes.stop))
            self._evaluate_once(step, final)
            later = self.commands.take_wishes()
            # Another evaluation of the same step would measure the same: it is due after the next one.
            self.commands.put_back(Wishes(evaluate=later.evaluate))
            wishes.add_wishes(later)
        over = self.budget.find_overrun(step, self.saver.spent_seconds, self.commands.waited)
        # After its last step a run is complete, not stopped, unless the evaluation of that step is missing.
        if (wishes.stop or over) and (not final or self.progress.owed):
            self.stopped = over or "asked"
        ending = final or bool(self.stopped) or self.progress.early
        if wishes.save or ending or self.saver.is_due(step):
            self._save_checkpoint(step, whole=ending)
        self._mark_ready(self._apart)
        return ending

    # ---- parts -------------------------------------------------------------------------------------

    def _mark_ready(self, apart: bool) -> None:
        """Start the clock of the next step: the work between the steps is done."""
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
        warn_of_kernel_failures(self.reporter)
        if bad:
            self._handle_bad_numbers(bad)

    def _save_checkpoint(self, step: int, whole: bool = False) -> None:
        with self.interludes.time_interlude("checkpoint"):
            self._save_now(step, whole)

    def _save_now(self, step: int, whole: bool = False) -> None:
        """Save a checkpoint without timing it: during a pause, its time is part of the pause."""
        self._apart = True
        # Raises if a step gave bad numbers: corrupted weights must not get into a checkpoint.
        self._flush_reports()
        self.saver.save_checkpoint(step, self._disk_wait, whole, ending=bool(self.stopped))

    @property
    def _disk_wait(self) -> DiskWait | None:
        """Return what to do while the disk is full: wait, unless the run was told to stop."""
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
            left_out = [_("The batch was skipped.")] if policy == "skip" else []
            hint = _("Lower training.learning_rate.")
            self.reporter.report_warning("bad_numbers", " ".join([message, *left_out]), hint)
            return
        # The weights are corrupted. Outside of any place, `rescue_checkpoint` does not save them.
        self.evaluator.recovery.enter_place("")
        if policy == "rollback":
            raise RollBack(first.step, message)
        if not list_checkpoints(self.saver.folder.checkpoints_path):
            hint = _("There is no checkpoint yet. Start a new run with a lower training.learning_rate.")
            raise RunError(message, hint=hint)
        raise RunError(
            message,
            hint=_(
                "The last checkpoint is intact: resume from it with training.on_bad_numbers: rollback, which "
                "halves the rate if it happens again, or start a new run with a lower "
                "training.learning_rate."
            ),
        )

    def _evaluate_once(self, step: int, final: bool) -> None:
        """Evaluate held-out rows, update the best and early stopping, and show a few answers."""
        if self._evaluated == step:
            return
        self._flush_reports()
        self._apart = True
        self._evaluated = step
        # Set until the evaluation is complete, so that a run resumed from a checkpoint in between repeats it.
        self.progress.owed = True
        with self.interludes.time_interlude("evaluation"), self.engine.show_result():
            self._measure_held_out(step, final)
        self.reporter.report_phase("training", step, self.total)

    def _measure_held_out(self, step: int, final: bool) -> None:
        """Measure, report and judge; the losses of the steps before are reported already."""
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
        """Measure the model before training, for comparison; this decides nothing.

        Raises:
            ConfigError: `evaluation.best` names a metric that these rows do not have.
        """
        try:
            judged = self.evaluator.evaluate_held_out(self.engine.model, self.engine.size, 0)
        except EvaluationInterrupt:
            return
        if judged is None:
            return
        self._report_evaluation(judged, 0)
        self._keep_files(judged, 0)
        # Raised now, and not after hours of training at the first evaluation.
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
        """Write the files of an evaluation into the run folder if it is the best one so far."""
        if self.saver.writes and self.progress.best_step in (None, step):
            write_evaluation_files(self.saver.folder, judged.files, self.reporter)

    def _show_answers(self, step: int) -> None:
        """Show a few answers; a resumed run owes them if they are interrupted."""
        self.progress.owed_answers = True
        try:
            with self.engine.show_result():
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
        # NaN compares false with everything: as the best so far it could never be beaten.
        value, best = metrics[name], self.progress.best
        own = self.metrics.get(name)
        sign = -1 if is_higher_metric_better(name, own.higher_is_better if own else None) else 1
        if math.isfinite(value) and (best is None or sign * value < sign * best):
            self.progress.worse = 0
            # Only a model on the disk counts as the best; without room the earlier one still does.
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
        """Evaluate the last step of a run that has taken all its steps, if that is still owed."""
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
        """Save a checkpoint after a step failed, if it had changed nothing yet; never raises."""
        engine = self.engine
        try:
            self.reports.flush_steps()
            # In any later place the optimizer may have updated some of the weights.
            if engine.recovery.place in ("copying", "forward", "backward") and engine.step:
                self.saver.save_checkpoint(engine.step, whole=True)
        # The failure that led here must remain the one that is reported.
        except Exception as error:
            self.reporter.report_warning(
                "rescue_failed", _("No checkpoint could be saved: {error}", error=one_line(error, 200))
            )

    def finish_run(self, step: int) -> None:
        """Report the last steps and write the `last` folder."""
        self._flush_reports()
        if (
            not self.saver.write_final(self.saver.folder.last_path, step, self._disk_wait)
            and not self.stopped
        ):
            # Not complete: once there is room, a resumed run writes the folder.
            self.stopped = _("no room for the result")
