"""What happens between two optimizer steps: reports, commands, evaluation, checkpoints, and the end."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DiskFullError, RunError
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import human_bytes, one_line
from tui_tuner.training import checkpoints
from tui_tuner.training.batching import MicroSize
from tui_tuner.training.commands import Commands
from tui_tuner.training.engine import Engine
from tui_tuner.training.evaluating import Evaluator, Interrupted
from tui_tuner.training.reporting import BadNumbers, PendingStep, Reporter, StepReports
from tui_tuner.training.takehome import write_takehome

STATE = "run_state.json"
DISK_RETRY_SECONDS = 60.0
HIGHER_IS_BETTER = ("accuracy",)


@dataclass
class Progress:
    """Counters of a run that outlive its process.

    Args:
        best: Best value of `evaluation.best`, and the step it was found at.
        worse: Evaluations since then.
        seconds: Spent training, in all processes of the run.
        early: Early stopping has ended the run.
        owed: The evaluation of this step was interrupted, and has to be done again.
        rows: Fingerprint of the training rows.
        micro: Sequences and tokens of the micro-batch.
        path: How the loss is computed: packing, compact, segments.
    """

    best: float | None = None
    best_step: int | None = None
    worse: int = 0
    seconds: float = 0.0
    early: bool = False
    owed: bool = False
    rows: str = ""
    micro: list[int] = field(default_factory=list)
    path: list[bool] = field(default_factory=list)


class Loop(TrainerCallback):
    """Trainer calls it at each step boundary."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        reporter: Reporter,
        commands: Commands,
        reports: StepReports,
        evaluator: Evaluator,
        tokenizer: Any,
        total_steps: int,
        progress: Progress,
    ) -> None:
        self.config = config
        self.folder = folder
        self.reporter = reporter
        self.commands = commands
        self.reports = reports
        self.evaluator = evaluator
        self.tokenizer = tokenizer
        self.total = total_steps
        self.progress = progress
        self.engine: Engine | None = None
        self.stopped = ""
        self.evaluate_every = interval(config.evaluation.every, total_steps)
        self.save_every = interval(config.output.save_every, total_steps)
        self._evaluated = -1
        self._saved = -1
        self._clock = self._last_save = self._began = time.monotonic()
        self._retry_after = math.inf

    # ---- called by Trainer -------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.reporter.step = state.global_step
        self.reporter.phase("training", state.global_step, self.total)
        self._clock = self._last_save = self._began = time.monotonic()
        self._saved = state.global_step if state.global_step else -1
        if self.progress.owed:
            self._evaluate(state.global_step, final=False)
            self._saved = -1 if not self.progress.owed else self._saved

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        assert self.engine is not None
        self.engine.last_rate = float(self.engine.optimizer.param_groups[0]["lr"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        engine = self.engine
        assert engine is not None
        step = state.global_step
        now = time.monotonic()
        self.reports.add(
            PendingStep(
                step,
                state.epoch or 0.0,
                engine.last_loss,
                engine.last_grad_norm,
                engine.last_rate,
                engine.last_counts[0],
                engine.last_counts[1],
                now - self._clock,
                engine.last_rows,
            )
        )
        if self.reports.due:
            self._report()
        wishes = self.commands.take()
        final = step >= self.total
        if not wishes.stop and not final:
            self.commands.wait_while_paused(step, self.total, lambda: self._save(step))
            later = self.commands.take()
            wishes.stop |= later.stop
            wishes.evaluate |= later.evaluate
            wishes.save |= later.save
        if wishes.evaluate or final or _due(step, self.evaluate_every):
            self._evaluate(step, final)
            wishes.stop |= self.commands.take().stop
        over = self._over_budget()
        if (wishes.stop or over) and not (final and not self.progress.owed):
            self.stopped = over or "asked"
        if self.progress.early or self.stopped:
            control.should_training_stop = True
        if wishes.save or final or self.stopped or self.progress.early or self._save_due(step):
            self._save(step)
        self._clock = time.monotonic()

    # ---- parts -------------------------------------------------------------------------------------

    def _report(self) -> None:
        bad = self.reports.flush()
        if bad:
            self._bad_numbers(bad)

    def _bad_numbers(self, bad: list[BadNumbers]) -> None:
        assert self.engine is not None
        policy = self.config.training.on_bad_numbers
        self.evaluator.recovery.enter("")  # the weights are spoilt: nothing of this is saved
        first = bad[0]
        where = ", ".join(self.evaluator.recovery.origin(row) for row in first.rows[:3])
        message = f"At step {first.step} {first.what}. Rows of the batch: {where}"
        more = len(first.rows) - 3
        message += f" and {more} more." if more > 0 else "."
        if policy in ("warn", "skip"):
            done = " The batch was left out." if policy == "skip" else ""
            self.reporter.warn("bad_numbers", message + done, "Lower training.learning_rate.")
            return
        raise RunError(
            message,
            hint="Lower training.learning_rate, then resume from the last checkpoint, which is sound.",
        )

    def _evaluate(self, step: int, final: bool) -> None:
        """Validation loss, best so far, early stopping, and a few answers."""
        if self._evaluated == step:
            return
        engine = self.engine
        assert engine is not None
        self._report()
        self._evaluated = step
        self.progress.owed = True
        try:
            metrics = self.evaluator.validation(engine.model, engine.path, engine.size, step)
            self.progress.owed = False
            if metrics is not None:
                self.reporter.emit("evaluation", step=step, stage="validation", metrics=metrics)
                self._judge(metrics, step, final)
            if not final:
                self.evaluator.answer(engine.model, engine.path, step, "during")
        except Interrupted:
            self.reporter.emit("log", level="info", message=f"The evaluation at step {step} was interrupted.")
        self.reporter.phase("training", step, self.total)

    def _judge(self, metrics: dict[str, float], step: int, final: bool) -> None:
        name = self.config.evaluation.best
        if name not in metrics:
            known = ", ".join(metrics)
            self.reporter.warn("best_unknown", f"evaluation.best: {name} is not measured; known are {known}.")
            return
        value, best = metrics[name], self.progress.best
        sign = -1 if name in HIGHER_IS_BETTER else 1
        if math.isfinite(value) and (best is None or sign * value < sign * best):
            self.progress.best, self.progress.best_step, self.progress.worse = value, step, 0
            self._take_home(self.folder.best, step)
        else:
            self.progress.worse += 1
            patience = self.config.evaluation.early_stopping
            if patience and self.progress.worse >= patience and not final:
                self.progress.early = True
                self.reporter.emit(
                    "log",
                    level="info",
                    message=f"Stopping early: {self.progress.worse} evaluations without a better {name}.",
                )

    def _over_budget(self) -> str:
        hardware = self.config.hardware
        if not hardware.budget or hardware.price_per_hour is None:
            return ""
        cost = self._spent() / 3600 * hardware.price_per_hour
        return f"the budget of {hardware.budget:g} is spent" if cost >= hardware.budget else ""

    def _spent(self) -> float:
        return self.progress.seconds + time.monotonic() - self._began

    def _save_due(self, step: int) -> bool:
        minutes = (time.monotonic() - self._last_save) / 60
        again = time.monotonic() >= self._retry_after
        return again or _due(step, self.save_every) or minutes >= self.config.output.save_minutes

    def _save(self, step: int) -> None:
        """A checkpoint; a full disk is said and tried again, never the end of the run."""
        engine = self.engine
        assert engine is not None
        if self._saved == step:
            return
        self._report()
        began = time.monotonic()
        self.reporter.phase("saving", 0, 1, note="checkpoint")
        root = self.folder.checkpoints
        try:
            self.evaluator.recovery.enter("saving")
            checkpoint = checkpoints.write_checkpoint(root, step, self._fill)
        except Exception as error:
            self._not_saved(step, error)
        else:
            self._retry_after = math.inf
            self._saved, self._last_save = step, time.monotonic()
            checkpoints.prune(root, self.config.output.keep, self.progress.best_step)
            self.reporter.emit(
                "checkpoint",
                step=step,
                path=str(checkpoint.path),
                best=self.progress.best_step == step,
                bytes=checkpoint.bytes,
                seconds=time.monotonic() - began,
            )
        self.reporter.phase("training", step, self.total)

    def _not_saved(self, step: int, error: Exception) -> None:
        """Say why there is no checkpoint; it is tried again at the next step, a full disk a minute later.

        Raises:
            The error itself, if it is neither a full disk nor a lack of memory.
        """
        self._last_save = time.monotonic()
        if isinstance(error, DiskFullError):
            free = human_bytes(shutil.disk_usage(self.folder.path).free)
            self._retry_after = time.monotonic() + DISK_RETRY_SECONDS
            message = f"No checkpoint at step {step}: {error.what} {free} are free. Training goes on."
            self.reporter.warn("disk_full", message, "Make room; the checkpoint is tried again.")
        elif self.evaluator.recovery.is_out_of_memory(error):
            self.evaluator.recovery.free()
            self._retry_after = time.monotonic()
            message = f"Memory ran out while saving step {step}; it is tried again after the next step."
            self.reporter.emit(
                "out_of_memory", step=step, place="saving", micro_batch=[1, 0], message=message
            )
        else:
            raise error

    def _fill(self, folder: Path) -> None:
        engine = self.engine
        assert engine is not None
        engine.save_state(folder)
        size = engine.size
        path = engine.path
        state = replace(
            self.progress,
            seconds=self._spent(),
            micro=[size.sequences, size.tokens],
            path=[path.packing, path.compact, path.segments],
        )
        (folder / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")

    def _take_home(self, target: Path, step: int) -> None:
        assert self.engine is not None
        self.reporter.phase("saving", 0, 1, note=target.name)
        try:
            write_takehome(self.engine.model, self.tokenizer, target)
        except DiskFullError as error:
            self.reporter.warn("disk_full", f"{target.name} of step {step} was not written: {error.what}")

    def rescue(self) -> None:
        """Save what is whole when a step fails before it has changed anything; never raises."""
        engine = self.engine
        assert engine is not None
        try:
            self.reports.flush()
            if engine.recovery.place in ("forward", "backward") and engine.state.global_step:
                self._save(engine.state.global_step)
        except Exception as error:  # the failure that led here must stay the one that is reported
            self.reporter.warn("rescue_failed", f"No checkpoint could be saved: {one_line(error, 200)}")

    def finish(self, step: int) -> None:
        """After the last step: what is not reported yet, and the `last` folder."""
        self._report()
        self._take_home(self.folder.last, step)


def read_progress(folder: Path) -> Progress:
    """The counters in a checkpoint."""
    return Progress(**checkpoints.read_json(folder / STATE))


def micro_size(progress: Progress, wanted: MicroSize) -> MicroSize:
    """The micro-batch a run ended with, if memory had run out in it."""
    if len(progress.micro) == 2 and progress.micro[1] < wanted.tokens:
        return MicroSize(*progress.micro)
    return wanted


def interval(every: int | float | str | None, total: int) -> int | None:
    """Steps between two events; a share below 1 is one of the whole run, None is never."""
    if every is None or every == "auto":
        return None
    if isinstance(every, float) and every < 1:
        return max(1, round(every * total))
    return max(1, int(every))


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0
