"""Disk space: predict what a run will need, and wait while the disk is full."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DiskFullError
from tui_tuner.locales import _
from tui_tuner.methods.attached import find_model_method, is_adapter_model
from tui_tuner.planning.optimizer_states import TrainedTensors, count_state_bytes
from tui_tuner.runs import ballast
from tui_tuner.runs.events import Log
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import format_bytes, one_line
from tui_tuner.training.run_commands import Commands
from tui_tuner.training.watching.reporting import Reporter

POLL_SECONDS = 0.5
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0
_STATES = 2**20  # bytes: random states, counters, lists of files
_TOKENIZER = 16 * 2**20  # bytes; tokenizers of large vocabularies take 4 to 16 MB


@dataclass(frozen=True)
class DiskPrediction:
    """The bytes of one checkpoint and of one final model folder; `keep` checkpoints stay on the disk."""

    checkpoint: int
    final_model: int
    keep: int

    @property
    def least_bytes(self) -> int:
        """Return the bytes for one checkpoint while the next is written, and one final model folder."""
        return 2 * self.checkpoint + self.final_model

    @property
    def most_bytes(self) -> int:
        """Return the bytes on the disk at the worst moment."""
        # `keep` checkpoints, that of the best step and one being written; `best`, the one before it, `last`
        # and one being written.
        return (self.keep + 2) * self.checkpoint + 4 * self.final_model


def predict_disk_room(model: Any, config: RunConfig) -> DiskPrediction:
    """Predict the size of a run's files from the model as it is trained and the resolved config."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = sum(parameter.numel() * parameter.element_size() for parameter in trained)
    state = _predict_state(trained, config)
    # The folder of an adapter holds what was trained; any other method saves the whole model.
    method = find_model_method(model)
    state += method.carried_numbers * weights
    exported = int(method.export_size(model) * weights)
    whole = (
        exported if is_adapter_model(model) else sum(p.numel() * p.element_size() for p in model.parameters())
    )
    return DiskPrediction(weights + state + _STATES, whole + _TOKENIZER, config.output.keep)


def _predict_state(trained: Sequence[Any], config: RunConfig) -> int:
    """Predict the bytes of an optimizer's state on the disk, where nothing of it is paged out."""
    training = config.training
    tensors = [
        # Any matrix may be one of a layer: few are not, and their state is larger by little
        TrainedTensors(
            one.numel(), one.element_size(), 1, False, shape=tuple(one.shape), inside=one.dim() == 2
        )
        for one in trained
    ]
    name = training.optimizer.removeprefix("paged_")
    return int(sum(count_state_bytes(name, one, training.optimizer_rank) for one in tensors))


def check_disk_room(model: Any, config: RunConfig, folder: Path, reporter: Reporter) -> None:
    """Report the size of a checkpoint, and stop a run that could not save even one.

    Raises:
        DiskFullError: two checkpoints and a final model do not fit.
    """
    expected = predict_disk_room(model, config)
    free, used = shutil.disk_usage(folder).free, _count_used(folder)
    size = format_bytes(expected.checkpoint)
    # What a resumed run has on the disk is replaced, so its room counts as free.
    if free + used < expected.least_bytes:
        raise DiskFullError(
            _(
                "two checkpoints of about {size} each and the final model take {least}, but only {free} are "
                "free: nothing could be saved.",
                size=size,
                least=format_bytes(expected.least_bytes),
                free=format_bytes(free + used),
            ),
            where=one_line(folder),
            hint=_(
                "Choose a larger disk with --runs, or make room; `tui-tuner runs` shows what old runs take."
            ),
        )
    text = _(
        "A checkpoint takes about {size}; all of the run's files at most {most}. {free} are free.",
        size=size,
        most=format_bytes(expected.most_bytes),
        free=format_bytes(free),
    )
    if free + used < expected.most_bytes:
        reporter.report_warning(
            "disk_small",
            text,
            _("The run will pause when the disk is full. Lower output.keep, or make room."),
        )
    else:
        reporter.emit(Log(text))


def describe_free_room(folder: Path) -> str:
    """Describe the free space of a disk, or that it has no inodes left for more files."""
    try:
        bytes_free = shutil.disk_usage(folder).free
        status = os.statvfs(folder)
    except OSError:
        return _("free space unknown")
    # Some file systems create inodes as needed and report none at all.
    if status.f_files and not status.f_favail:
        return _("no inodes left for new files, {free} free", free=format_bytes(bytes_free))
    return _("{free} free", free=format_bytes(bytes_free))


def _count_used(folder: Path) -> int:
    """Count the bytes of checkpoints and final models that a resumed run has on the disk already."""
    found = 0
    for name in ("checkpoints", "best", "last"):
        found += sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
    return found


class DiskWait:
    """Holds a run while its disk is full; `stop` and `continue` end the wait too."""

    def __init__(self, folder: Path, reporter: Reporter, commands: Commands) -> None:
        self._folder, self._reporter, self._commands = folder, reporter, commands
        self._retry = FIRST_RETRY_SECONDS

    def __call__(self, write: Callable[[], None], name: str, step: int, total: int) -> bool:
        """Call `write` until it raises no DiskFullError; return whether it succeeded in the end.

        Args:
            name: The folder that is written; empty for a checkpoint.
        """
        self._retry = FIRST_RETRY_SECONDS
        waited = False
        while True:
            try:
                write()
                break
            except DiskFullError:
                if not waited:
                    self._report_wait(name, step)
                waited = True
                if not self._wait_for_room(step, total):
                    self._reporter.report_phase("training", step, total)
                    return False
        if waited:
            # The journal has used up the reserve to report the full disk; the next time it needs one again.
            ballast.reserve_ballast_space(self._folder)
            if name:
                message = _("There is room again: the folder {name} is written.", name=name)
            else:
                message = _("There is room again: the checkpoint is written.")
            self._reporter.emit(Log(message))
            self._reporter.report_phase("training", step, total)
        return True

    def _report_wait(self, name: str, step: int) -> None:
        free = describe_free_room(self._folder)
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
        self._reporter.report_warning(
            "disk_full",
            message,
            _("Make room and training continues by itself. `continue` skips this save, `stop` ends the run."),
        )

    def _wait_for_room(self, step: int, total: int) -> bool:
        """Wait until another attempt is worthwhile; False if told to stop or to continue without saving."""
        note = _("the disk is full, {free}", free=describe_free_room(self._folder))
        self._reporter.report_phase("paused", step, total, note=note)
        before, began = self._free_bytes(), time.monotonic()
        with self._commands.hold_run() as still_held:
            while time.monotonic() - began < self._retry:
                time.sleep(POLL_SECONDS)
                if not still_held():
                    return False
                # Free space has grown: try early, but leave whatever is being deleted some time.
                if (
                    self._free_bytes() > before + (1 << 20)
                    and time.monotonic() - began >= FIRST_RETRY_SECONDS
                ):
                    break
        self._retry = min(2 * self._retry, LONGEST_RETRY_SECONDS)
        return True

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return 0


def write_evaluation_files(folder: RunFolder, files: Mapping[str, str], reporter: Reporter) -> None:
    """Write the files of an evaluation into a run's folder; without room, the old ones stay."""
    for name, text in files.items():
        try:
            folder.write_file(name, text)
        except DiskFullError as error:
            message = _("{name} was not written: {what}", name=name, what=error.what)
            reporter.report_warning("disk_full", message)
