"""Room on the disk: what a run will need, and waiting for it where there is none."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DiskFullError
from tui_tuner.locales import _
from tui_tuner.runs import ballast
from tui_tuner.runs.events import Log
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import human_bytes, one_line
from tui_tuner.training.commands import Commands
from tui_tuner.training.watching.reporting import Reporter

POLL_SECONDS = 0.5
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0
_STATES = 2**20  # bytes: random states, counters, lists of files
_TOKENIZER = 16 * 2**20  # bytes; tokenizers of large vocabularies take 4 to 16 MB
# Bytes of optimizer state for each trained parameter, beside those of the weight itself: AdamW keeps two
# numbers of the weight's type, 8-bit AdamW two bytes (arXiv 2110.02861), Adafactor next to nothing.
_TWO_NUMBERS = ("adamw", "auto")
_TWO_BYTES = ("adamw_8bit", "paged_adamw_8bit")


@dataclass(frozen=True)
class Prediction:
    """Bytes: one checkpoint, one take-home folder, and all that lies on the disk at the worst moment."""

    checkpoint: int
    final_model: int
    keep: int

    @property
    def least(self) -> int:
        """For one checkpoint while the next is written, and one take-home folder."""
        return 2 * self.checkpoint + self.final_model

    @property
    def most(self) -> int:
        """`keep` checkpoints, the best one's, one being written; `best`, the one before it, `last`, and one
        being written."""
        return (self.keep + 2) * self.checkpoint + 4 * self.final_model


def predict(model: Any, config: RunConfig) -> Prediction:
    """What the files of a run will take, from the model as it is trained and the resolved config."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    count = sum(parameter.numel() for parameter in trained)
    optimizer = config.training.optimizer
    if optimizer in _TWO_NUMBERS:
        state = 2 * weights
    elif optimizer in _TWO_BYTES:
        state = 2 * count
    else:
        state = 0
    adapter = hasattr(model, "peft_config")
    whole = weights if adapter else sum(p.numel() * p.element_size() for p in model.parameters())
    return Prediction(weights + state + _STATES, whole + _TOKENIZER, config.output.keep)


def check_room(model: Any, config: RunConfig, folder: Path, reporter: Reporter) -> None:
    """Say what a checkpoint will take, and stop a run that could not save even one.

    Raises:
        DiskFullError: one checkpoint beside the next, and the result, do not fit.
    """
    expected = predict(model, config)
    free, used = shutil.disk_usage(folder).free, _used(folder)
    size = human_bytes(expected.checkpoint)
    if free + used < expected.least:
        raise DiskFullError(
            _(
                "one checkpoint of about {size} next to another, and the final model, take {least}, and "
                "{free} are free: nothing could be saved.",
                size=size,
                least=human_bytes(expected.least),
                free=human_bytes(free + used),
            ),
            where=one_line(folder),
            hint=_(
                "Choose a larger disk with --runs, or make room; `tui-tuner runs` shows what old runs take."
            ),
        )
    text = _(
        "A checkpoint takes about {size}; all of the run's files at most {most}. {free} are free.",
        size=size,
        most=human_bytes(expected.most),
        free=human_bytes(free),
    )
    if free + used < expected.most:
        reporter.warn(
            "disk_small",
            text,
            _("The run will pause when the disk is full. Lower output.keep, or make room."),
        )
    else:
        reporter.emit(Log(text))


def free_room(folder: Path) -> str:
    """What is free on a disk, in words; a disk that has bytes but can hold no more files is said to be so."""
    try:
        bytes_free = shutil.disk_usage(folder).free
        status = os.statvfs(folder)
    except OSError:
        return _("free space unknown")
    # Some file systems make inodes as they go, and tell of none
    if status.f_files and not status.f_favail:
        return _("no inodes left for new files, {free} free", free=human_bytes(bytes_free))
    return _("{free} free", free=human_bytes(bytes_free))


def _used(folder: Path) -> int:
    """What a resumed run has on the disk already; it will be replaced, not added to."""
    found = 0
    for name in ("checkpoints", "best", "last"):
        found += sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
    return found


class DiskWait:
    """Holds a run while its disk is full; `stop` and `continue` end the wait as well."""

    def __init__(self, folder: Path, reporter: Reporter, commands: Commands) -> None:
        self._folder, self._reporter, self._commands = folder, reporter, commands
        self._retry = FIRST_RETRY_SECONDS

    def __call__(self, write: Callable[[], None], name: str, step: int, total: int) -> bool:
        """Do `write`, again and again while it raises DiskFullError; whether it was done in the end.

        `name`: the folder that is written; empty for a checkpoint.
        """
        self._retry = FIRST_RETRY_SECONDS
        waited = False
        while True:
            try:
                write()
                break
            except DiskFullError:
                if not waited:
                    self._say(name, step)
                waited = True
                if not self._wait(step, total):
                    self._reporter.phase("training", step, total)
                    return False
        if waited:
            ballast.put(self._folder)
            if name:
                message = _("There is room again: the folder {name} is written.", name=name)
            else:
                message = _("There is room again: the checkpoint is written.")
            self._reporter.emit(Log(message))
            self._reporter.phase("training", step, total)
        return True

    def _say(self, name: str, step: int) -> None:
        free = free_room(self._folder)
        if name:
            message = _(
                "The disk is full ({free}): the folder {name} of step {step} cannot be written. "
                "The run waits.",
                free=free,
                name=name,
                step=step,
            )
        else:
            message = _(
                "The disk is full ({free}): the checkpoint of step {step} cannot be written. The run waits.",
                free=free,
                step=step,
            )
        self._reporter.warn(
            "disk_full",
            message,
            _("Make room and it goes on by itself. `continue` goes on without saving, `stop` ends the run."),
        )

    def _wait(self, step: int, total: int) -> bool:
        """Until it is worth trying again; False if told to stop or to go on without."""
        note = _("the disk is full, {free}", free=free_room(self._folder))
        self._reporter.phase("paused", step, total, note=note)
        before, began = self._free(), time.monotonic()
        with self._commands.held() as still_held:
            while time.monotonic() - began < self._retry:
                time.sleep(POLL_SECONDS)
                if not still_held():
                    return False
                if self._free() > before + (1 << 20) and time.monotonic() - began >= FIRST_RETRY_SECONDS:
                    break
        self._retry = min(2 * self._retry, LONGEST_RETRY_SECONDS)
        return True

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return 0


def write_files(folder: RunFolder, files: Mapping[str, str], reporter: Reporter) -> None:
    """What an evaluation leaves in a run's folder; without room, what was there stays."""
    for name, text in files.items():
        try:
            folder.write(name, text)
        except DiskFullError as error:
            message = _("{name} was not written: {what}", name=name, what=error.what)
            reporter.warn("disk_full", message)
