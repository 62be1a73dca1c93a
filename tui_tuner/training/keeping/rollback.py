"""Return to the last checkpoint with a lower learning rate when a step produces NaN or infinity."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from tui_tuner.errors import RunError
from tui_tuner.locales import _
from tui_tuner.runs.events import RolledBack
from tui_tuner.training.interruptions import RollBack
from tui_tuner.training.keeping.checkpoints import Checkpoint, find_newest_checkpoint
from tui_tuner.training.keeping.progress import OF_THE_RUN, Progress, read_progress

if TYPE_CHECKING:
    from tui_tuner.training.loop import Loop

MOST = 3  # times in one process; if it happens more often, the rate is not the cause
FACTOR = 0.5  # the learning rate is multiplied by this each time


def train_with_rollback(loop: Loop, checkpoint: Checkpoint | None) -> None:
    """Take all steps, again from the last checkpoint whenever the loop raises `RollBack`.

    The learning rate that a checkpoint was written with is halved. Checkpoints written after that hold the
    lower one, so a resumed run keeps it.

    Raises:
        RunError: there is no checkpoint to go back to, or it happened too often.
    """
    scale, last = 1.0, -1
    for attempt in range(MOST + 1):
        try:
            loop.take_steps(checkpoint)
            return
        except RollBack as bad:
            # The newest checkpoint may still be on its way to the disk.
            loop.saver.settle_writer()
            checkpoint = find_newest_checkpoint(loop.saver.folder.checkpoints_path, lambda *_: None)
            if checkpoint is None:
                raise RunError(
                    _("{message} There is no checkpoint to go back to.", message=bad.message),
                    hint=_("Lower training.learning_rate."),
                ) from None
            if attempt == MOST:
                raise RunError(
                    _(
                        "{message} This has happened {most} times, so a lower rate does not help.",
                        message=bad.message,
                        most=MOST + 1,
                    ),
                    hint=_("Check these rows; training.on_bad_numbers: skip leaves such batches out."),
                ) from None
            # A newer checkpoint was written with the lower rate already, so its own rate is halved. From the
            # same checkpoint as last time the halving must accumulate, or the same steps would be repeated.
            scale = scale * FACTOR if checkpoint.step == last else FACTOR
            last = checkpoint.step
            _begin_again(loop, checkpoint, scale, bad)


def _begin_again(loop: Loop, checkpoint: Checkpoint, scale: float, bad: RollBack) -> None:
    loop.reporter.report_warning(
        "rolled_back",
        _(
            "{message} Back to step {step}, with {scale:g} times the learning rate.",
            message=bad.message,
            step=checkpoint.step,
            scale=scale,
        ),
        _("If it happens often, start a new run with a lower training.learning_rate."),
    )
    loop.reporter.emit(RolledBack(checkpoint.step))
    # Read before `seconds` is overwritten: time spent on discarded steps still counts for the budget.
    spent = loop.saver.spent_seconds
    before = read_progress(checkpoint.path)
    for item in fields(Progress):
        if item.name not in OF_THE_RUN:
            setattr(loop.progress, item.name, getattr(before, item.name))
    loop.progress.seconds = spent
    loop.engine.forget_states()
    # After the counters are back, because they name the `best` that belongs to this checkpoint.
    loop.saver.restore_best()
    loop.engine.rate_scale = scale
