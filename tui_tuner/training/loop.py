"""What happens between two optimizer steps: reports, commands, evaluation, checkpoints, and the end."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DiskFullError, RunError
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import human_bytes
from tui_tuner.training import checkpoints
from tui_tuner.training.batching import MicroSize
from tui_tuner.training.commands import Commands
from tui_tuner.training.engine import Engine
from tui_tuner.training.evaluating import Evaluator
from tui_tuner.training.reporting import BadNumbers, PendingStep, Reporter, StepReports
from tui_tuner.training.takehome import write_takehome

STATE = "run_state.json"
HIGHER_IS_BETTER = ("accuracy",)


@dataclass
class Progress:
    """Counters of a run that outlive its process."""

    best: float | None = None
    best_step: int | None = None
    worse: int = 0
    seconds: float = 0.0
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
        self.early = False
        self.evaluate_every = interval(config.evaluation.every, total_steps)
        self.save_every = interval(config.output.save_every, total_steps)
        self._evaluated = -1
        self._saved = -1
        self._clock = self._last_save = self._began = time.monotonic()
        self._retry_save = False

    # ---- called by Trainer -------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.reporter.step = state.global_step
        self.reporter.phase("training", state.global_step, self.total)
        self._clock = self._last_save = self._began = time.monotonic()
        self._saved = state.global_step if state.global_step else -1

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
        over = self._over_budget()
        if wishes.stop or over:
            self.stopped = over or "asked"
        if self.early or self.stopped:
            control.should_training_stop = True
        if wishes.save or final or self.stopped or self.early or self._save_due(step):
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
        metrics = self.evaluator.validation(engine.model, engine.path, engine.size, step)
        if metrics is not None:
            self.reporter.emit("evaluation", step=step, stage="validation", metrics=metrics)
            self._judge(metrics, step, final)
        if not final:
            self.evaluator.answer(engine.model, engine.path, step, "during")
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
                self.early = True
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
        return self._retry_save or _due(step, self.save_every) or minutes >= self.config.output.save_minutes

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
        except DiskFullError as error:
            free = human_bytes(_free(self.folder.path))
            self._retry_save = self.total > step
            self._last_save = time.monotonic()
            self.reporter.warn("disk_full", f"No checkpoint at step {step}: {error.what} ({free} free)", "")
        else:
            self._retry_save = False
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

    def _fill(self, folder: Path) -> None:
        engine = self.engine
        assert engine is not None
        engine.save_state(folder)
        size = engine.size
        path = engine.path
        state = Progress(
            self.progress.best,
            self.progress.best_step,
            self.progress.worse,
            self._spent(),
            [size.sequences, size.tokens],
            [path.packing, path.compact, path.segments],
        )
        (folder / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")

    def _take_home(self, target: Path, step: int) -> None:
        assert self.engine is not None
        self.reporter.phase("saving", 0, 1, note=target.name)
        try:
            write_takehome(self.engine.model, self.tokenizer, target)
        except DiskFullError as error:
            self.reporter.warn("disk_full", f"{target.name} of step {step} was not written: {error.what}")

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


def _free(path: Path) -> int:
    import shutil

    return shutil.disk_usage(path).free
