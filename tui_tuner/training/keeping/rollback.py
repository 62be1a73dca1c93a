"""Going back to the last checkpoint with a lower learning rate, where a step gave numbers that are none."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tui_tuner.errors import RunError
from tui_tuner.locales import _
from tui_tuner.runs.events import RolledBack
from tui_tuner.training.keeping.checkpoints import Checkpoint, newest_valid
from tui_tuner.training.keeping.progress import OF_THE_RUN, Progress, read_progress

MOST = 3  # times in one process; what happens more often has another cause than the rate
FACTOR = 0.5  # what the learning rate is multiplied by each time


class RollBack(Exception):
    """Raised between two steps; the weights are spoilt."""

    def __init__(self, step: int, message: str) -> None:
        self.step, self.message = step, message
        super().__init__(message)


def train_steps(engine: Any, loop: Any, checkpoint: Checkpoint | None) -> None:
    """`engine.train`, begun again from the last checkpoint whenever the loop raises `RollBack`.

    The learning rate that a checkpoint was written with is halved; checkpoints written after that hold the
    lower one, so a resumed run keeps it.

    Raises:
        RunError: there is no checkpoint to go back to, or it happened too often.
    """
    scale, last = 1.0, -1
    for attempt in range(MOST + 1):
        try:
            engine.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)
            return
        except RollBack as bad:
            loop.saver.settle()  # the newest checkpoint may still be on its way to the disk
            checkpoint = newest_valid(loop.saver.folder.checkpoints, lambda *_: None)
            if checkpoint is None:
                raise RunError(
                    _("{message} There is no checkpoint to go back to.", message=bad.message),
                    hint=_("Lower training.learning_rate."),
                ) from None
            if attempt == MOST:
                raise RunError(
                    _(
                        "{message} It is the {most}th time, so a lower rate does not help.",
                        message=bad.message,
                        most=MOST + 1,
                    ),
                    hint=_("Look at these rows; training.on_bad_numbers: skip leaves such batches out."),
                ) from None
            scale = scale * FACTOR if checkpoint.step == last else FACTOR
            last = checkpoint.step
            _begin_again(engine, loop, checkpoint, scale, bad)


def _begin_again(engine: Any, loop: Any, checkpoint: Checkpoint, scale: float, bad: RollBack) -> None:
    loop.reporter.warn(
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
    spent = loop.saver.spent
    before = read_progress(checkpoint.path)
    for item in fields(Progress):
        if item.name not in OF_THE_RUN:
            setattr(loop.progress, item.name, getattr(before, item.name))
    loop.progress.seconds = spent  # time that was paid for does not come back
    for parameter in engine.model.parameters():
        parameter.grad = None
    loop.saver.restore_best()
    engine.optimizer = engine.lr_scheduler = None
    engine.rate_scale = scale
