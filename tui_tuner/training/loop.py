"""What happens between two optimizer steps: reports, commands, evaluation, checkpoints, and the end."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tui_tuner.config.metrics import Metric, higher_is_better
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError, RunError
from tui_tuner.locales import _
from tui_tuner.objectives.base import Judged
from tui_tuner.runs.events import Evaluation, EvaluationTable, HeldOutRows, Log
from tui_tuner.text import one_line
from tui_tuner.training.commands import Commands, Wishes
from tui_tuner.training.evaluating import Evaluator, Interrupted
from tui_tuner.training.keeping.best import Stamp
from tui_tuner.training.keeping.checkpoints import Checkpoint, checkpoints
from tui_tuner.training.keeping.disk import DiskWait, write_files
from tui_tuner.training.keeping.progress import Progress
from tui_tuner.training.keeping.rollback import RollBack
from tui_tuner.training.keeping.saving import Saver
from tui_tuner.training.step.engine import Engine
from tui_tuner.training.watching.budget import Budget
from tui_tuner.training.watching.interludes import Interludes
from tui_tuner.training.watching.intervals import due, interval
from tui_tuner.training.watching.kernels import tell_of_failures
from tui_tuner.training.watching.reporting import BadNumbers, PendingStep, Reporter, StepReports

NAMED_ROWS = 3


class StopHere(Exception):
    """Raised where a stop interrupts what is owed before the first step of a resumed run."""


class Loop(TrainerCallback):
    """Trainer calls it at each step boundary."""

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
        self.budget = Budget(config.hardware, reporter, total_steps)
        self.disk_wait = DiskWait(saver.folder.path, reporter, commands)
        self.stopped = ""
        self.evaluate_every = interval(config.evaluation.every, total_steps)
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

    # ---- called by Trainer -------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        step = state.global_step
        self.reporter.step = step
        self._evaluated = -1  # also where the run goes back: what it had measured after this step is void
        self.reporter.phase("training", step, self.total)
        owed, answers = self.progress.owed, self.progress.owed_answers
        if owed:
            self._evaluate(step, final=False)
        elif answers:
            self._answer(step)
        still = self.progress.owed or self.progress.owed_answers
        self.saver.begin(step, anew=(owed or answers) and not still)
        if still:  # the next step would make it impossible
            self.stopped = "asked"
            raise StopHere
        self._ready(apart=True)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.reports.meter.begin()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.engine.last_rate = float(self.engine.optimizer.param_groups[0]["lr"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.reports.meter.end()
        step = state.global_step
        final = step >= self.total
        self._note(step, state.epoch or 0.0)
        if self.reports.due:
            self._report()
        wishes = self.commands.take()
        if not wishes.stop and not final:
            paused = self.commands.wait_while_paused(
                step, self.total, lambda: self._save_now(step, whole=True)
            )
            self._apart |= paused > 0
            wishes.add(self.commands.take())
        if wishes.evaluate or final or due(step, self.evaluate_every):
            # A stop that was asked for ends the evaluation, and a wait for room on the disk in it
            self.commands.put_back(Wishes(stop=wishes.stop))
            self._evaluate(step, final)
            later = self.commands.take()
            # What was asked for while this step was evaluated is done after the next one
            self.commands.put_back(Wishes(evaluate=later.evaluate))
            wishes.add(later)
        over = self.budget.over(step, self.saver.spent, self.commands.waited)
        if (wishes.stop or over) and (not final or self.progress.owed):
            self.stopped = over or "asked"
        if self.progress.early or self.stopped:
            control.should_training_stop = True
        ending = final or self.stopped or self.progress.early
        if wishes.save or ending or self.saver.due(step):
            self._save(step, whole=bool(ending))
        self._ready(self._apart)

    # ---- parts -------------------------------------------------------------------------------------

    def _ready(self, apart: bool) -> None:
        """What lies between two steps is done."""
        self._apart = False
        self._clock = time.monotonic()
        self.reports.meter.ready(apart)

    def _note(self, step: int, epoch: float) -> None:
        engine = self.engine
        self.reports.add(
            PendingStep(
                step,
                epoch,
                engine.last_loss,
                engine.last_grad_norm,
                engine.last_rate,
                trained=engine.last_counts[0],
                tokens=engine.last_counts[1],
                seconds=time.monotonic() - self._clock,
                rows=engine.last_rows,
                metrics=engine.last_metrics,
                skipped=engine.step_was_skipped(),
                work=self.reports.meter.work(engine.last_parts, engine.data.lengths),
            )
        )

    def _report(self) -> None:
        bad = self.reports.flush()
        tell_of_failures(self.reporter)
        if bad:
            self._bad_numbers(bad)

    def _save(self, step: int, whole: bool = False) -> None:
        with self.interludes.of("checkpoint"):
            self._save_now(step, whole)

    def _save_now(self, step: int, whole: bool = False) -> None:
        """A checkpoint, also in a pause, whose time is that of the pause."""
        self._apart = True
        self._report()  # weights that are not numbers must not get into a checkpoint
        self.saver.save(step, self._wait, whole, ending=bool(self.stopped))

    @property
    def _wait(self) -> DiskWait | None:
        """What to do while the disk is full: wait, but not in a run that was told to end."""
        return None if self.stopped else self.disk_wait

    def _bad_numbers(self, bad: list[BadNumbers]) -> None:
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
            self.reporter.warn("bad_numbers", " ".join([message, *left_out]), hint)
            return
        self.evaluator.recovery.enter("")  # the weights are spoilt: nothing of this is saved
        if policy == "rollback":
            raise RollBack(first.step, message)
        if not checkpoints(self.saver.folder.checkpoints):
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

    def _evaluate(self, step: int, final: bool) -> None:
        """Validation loss, best so far, early stopping, and a few answers."""
        if self._evaluated == step:
            return
        self._report()
        self._apart = True
        self._evaluated = step
        self.progress.owed = True
        with self.interludes.of("evaluation"):
            self._measure(step, final)
        self.reporter.phase("training", step, self.total)

    def _measure(self, step: int, final: bool) -> None:
        """What `_evaluate` does, once what was computed before is reported."""
        engine = self.engine
        try:
            judged = self.evaluator.validation(engine.model, engine.size, step)
            self.progress.owed = False
            if judged is not None:
                self._tell(judged, step)
                self._judge(judged.metrics, step, final)
                self._keep_files(judged, step)
        except Interrupted:
            self.reporter.emit(Log(_("The evaluation at step {step} was interrupted.", step=step)))
        else:
            if not final:
                self._answer(step)

    def evaluate_before(self) -> None:
        """How the model does before it has learnt anything, which decides nothing."""
        try:
            judged = self.evaluator.validation(self.engine.model, self.engine.size, 0)
        except Interrupted:
            return
        if judged is None:
            return
        self._tell(judged, 0)
        self._keep_files(judged, 0)
        if self.config.evaluation.best not in judged.metrics and not self.config.task_kind.writes:
            raise ConfigError(
                _("{metric!r} is not measured on these rows.", metric=one_line(self.config.evaluation.best)),
                where="evaluation.best",
                hint=_("Known are {metrics}.", metrics=", ".join(judged.metrics)),
                field="evaluation.best",
            )

    def _tell(self, judged: Judged, step: int) -> None:
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

    def _keep_files(self, judged: Judged, step: int) -> None:
        """Files that an evaluation leaves in the run's folder are those of the best one so far."""
        if self.saver.writes and self.progress.best_step in (None, step):
            write_files(self.saver.folder, judged.files, self.reporter)

    def _answer(self, step: int) -> None:
        """A few answers; owed where they are interrupted."""
        self.progress.owed_answers = True
        try:
            self.evaluator.answer(self.engine.model, step, "during")
            self.progress.owed_answers = False
        except Interrupted:
            self.reporter.emit(Log(_("The evaluation at step {step} was interrupted.", step=step)))

    def _judge(self, metrics: dict[str, float], step: int, final: bool) -> None:
        name = self.config.evaluation.best
        if name not in metrics:
            known = ", ".join(metrics)
            self.reporter.warn(
                "best_unknown",
                _("evaluation.best: {name} is not measured; known are {known}.", name=name, known=known),
            )
            return
        value, best = metrics[name], self.progress.best
        own = self.metrics.get(name)
        sign = -1 if higher_is_better(name, own.higher_is_better if own else None) else 1
        if math.isfinite(value) and (best is None or sign * value < sign * best):
            self.progress.worse = 0
            if self.saver.write_best(Stamp(step, value), self._wait):
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

    def make_good(self, checkpoint: Checkpoint) -> None:
        """Do what a run that has all its steps still owes: the evaluation of the last one."""
        step = checkpoint.step
        self.reporter.step = step
        self.saver.begin(step)
        if not self.progress.owed:
            return
        self._evaluate(step, final=True)
        if self.progress.owed:
            self.stopped = "asked"
        else:
            self.saver.note_progress(checkpoint, self._wait)

    def rescue(self) -> None:
        """Save what is whole when a step fails before it has changed anything; never raises."""
        engine = self.engine
        try:
            self.reports.flush()
            if engine.recovery.place in ("copying", "forward", "backward") and engine.state.global_step:
                self.saver.save(engine.state.global_step, whole=True)
        except Exception as error:  # the failure that led here must stay the one that is reported
            self.reporter.warn(
                "rescue_failed", _("No checkpoint could be saved: {error}", error=one_line(error, 200))
            )

    def finish(self, step: int) -> None:
        """After the last step: what is not reported yet, and the `last` folder."""
        self._report()
        if not self.saver.write_final(self.saver.folder.last, step, self._wait) and not self.stopped:
            self.stopped = _("no room for the result")  # so it can be resumed, and is not said to be complete
