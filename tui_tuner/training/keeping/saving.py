"""When a run is saved, what goes into a checkpoint, and what happens if there is no room."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DiskFullError, RunError
from tui_tuner.locales import _
from tui_tuner.runs.events import CheckpointSaved, OutOfMemory
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.training.keeping import checkpoints
from tui_tuner.training.keeping.best import (
    KEPT,
    Stamp,
    forget_kept,
    holds_model,
    is_of,
    put_back,
    read_stamp,
)
from tui_tuner.training.keeping.disk import free_room
from tui_tuner.training.keeping.final_model import write_final_model
from tui_tuner.training.keeping.progress import STATE, Progress
from tui_tuner.training.keeping.writer import Writer
from tui_tuner.training.keeping.written import counting_written
from tui_tuner.training.step.engine import Engine
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.intervals import due, interval
from tui_tuner.training.watching.reporting import Reporter

DISK_RETRY_SECONDS = 60.0
_DELETING = 1.0  # seconds that deleting a run folder may take
Describe = Callable[[Path, Any, int], None]  # into a final model's folder, of a model as it is at a step
Wait = Callable[[Callable[[], None], str, int, int], bool]


class Saver:
    """Writes checkpoints and final model folders of one run.

    Training stands still only while a checkpoint's files are handed to the system; they are hashed, forced
    to the disk and renamed in a thread meanwhile. There is never more than one being written, and what goes
    wrong in the thread is dealt with at the next step boundary (`due` is then true).
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        reporter: Reporter,
        recovery: Recovery,
        tokenizer: Any,
        total_steps: int,
        progress: Progress,
        writes: bool = True,
        describe: Describe | None = None,
    ) -> None:
        self.describe = describe
        self.writes = writes  # of several processes that train a run, only the main one does
        self.config = config
        self.folder = folder
        self.reporter = reporter
        self.recovery = recovery
        self.tokenizer = tokenizer
        self.total = total_steps
        self.progress = progress
        self.engine: Engine | None = None
        self.every = interval(config.output.save_every, total_steps)
        self._saved = -1
        self._on_disk = -1
        self._retry_after = math.inf
        self._last = self._began = time.monotonic()
        self._writer = Writer()
        self._writing = -1
        self._size = 0  # bytes of the last checkpoint: the next one will have about as many
        self._named: Stamp | None = None  # what the last checkpoint on the disk says is the best

    def begin(self, step: int, anew: bool = False) -> None:
        """Training begins at `step`; what was resumed is on disk already, unless it is to be written anew."""
        self._saved = step if step and not anew else -1
        self._on_disk = step or -1
        self._last = self._began = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds of training so far, in all processes of the run."""
        return self.progress.seconds + time.monotonic() - self._began

    @property
    def saved_step(self) -> int | None:
        """The step of the last checkpoint on the disk, as far as this process knows."""
        return None if self._on_disk < 0 else self._on_disk

    def due(self, step: int) -> bool:
        """By steps, by minutes, or because the last attempt failed."""
        if self._writer.failed:
            return True
        now = time.monotonic()
        late = (now - self._last) / 60 >= self.config.output.save_minutes
        return late or now >= self._retry_after or due(step, self.every)

    def save(self, step: int, wait: Wait | None = None, whole: bool = False, ending: bool = False) -> None:
        """A checkpoint. No room for it on the disk or in memory is said; it is tried again later, except in a
        run that is `ending`.

        With `wait`, the run is held while the disk is full. With `whole`, and after one that failed in the
        background, the checkpoint is on the disk when this returns; else training may go on meanwhile.
        """
        if not self.writes or (self._saved == step and not (whole or self._writer.failed)):
            return
        began = time.monotonic()
        self._say_saving(0, _("checkpoint"))
        whole = not self.settle() or whole
        if self._saved != step:
            try:
                if whole:  # the run ends or waits: nothing comes after it that could try again
                    self._twice(lambda: self._write(step, wait, whole, began))
                else:
                    self.recovery.enter("saving")
                    self._write(step, wait, whole, began)
            except Exception as error:
                self._not_saved(step, error, ending)
            else:
                self._retry_after = math.inf
                self._saved, self._last = step, began
        self.reporter.phase("training", step, self.total)

    def _say_saving(self, done: int, name: str) -> None:
        """How many bytes are written; a checkpoint will have about as many as the last one."""
        whole = self._size if name == _("checkpoint") and done <= self._size else 0
        self.reporter.phase("saving", done, whole, name, "bytes")

    def _twice(self, write: Callable[[], None]) -> None:
        """Write, and once more where memory ran out, with all given back that nobody needs."""
        try:
            self.recovery.enter("saving")
            write()
            return
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                raise
            self.recovery.free(error)
        self.recovery.enter("saving")
        write()

    def settle(self) -> bool:
        """Wait for what is being written; whether it was. If not, it is said, and due again.

        Raises:
            The error itself, if it is neither a full disk nor memory that ran out.
        """
        error = self._writer.failure()
        if error is None:
            return True
        self._saved = -1
        self._not_saved(self._writing, error)
        self._retry_after = time.monotonic()
        return False

    def wait(self) -> None:
        """Until nothing is being written."""
        self._writer.wait()

    def _look_for_folder(self, error: Exception | None = None) -> None:
        """Raise `RunError` where the run's folder is gone: what is saved then would be found by nobody.

        Args:
            error: What failed for that reason, if anything has.
        """
        config = self.folder.path / "config.yaml"
        until = time.monotonic() + (_DELETING if isinstance(error, FileNotFoundError) else 0.0)
        while config.exists() and time.monotonic() < until:
            time.sleep(0.01)  # what is deleting the folder may not have come to this file yet
        if not config.exists():
            raise RunError(
                _("the run folder was deleted or renamed while the run was on, so nothing can be saved."),
                where=one_line(self.folder.path),
                hint=_("If it was renamed, resume it under its new name."),
            ) from error

    def _write(self, step: int, wait: Wait | None, whole: bool, began: float) -> None:
        self._look_for_folder()
        root = self.folder.checkpoints
        best, named = self.progress.best_step, self._wanted
        begun: list[checkpoints.Unfinished] = []

        def finish() -> None:
            checkpoint = begun[-1].finish()
            self._size = checkpoint.bytes
            self._on_disk, self._named = step, named
            forget_kept(self.folder.best)  # the new checkpoint names what is in its place
            checkpoints.prune(root, self.config.output.keep, best)
            self.reporter.emit(
                CheckpointSaved(
                    step=step,
                    path=str(checkpoint.path),
                    best=best == step,
                    bytes=checkpoint.bytes,
                    seconds=time.monotonic() - began,
                    held=held if held is not None else time.monotonic() - began,
                )
            )

        def write() -> None:
            with counting_written(
                lambda done: self._say_saving(done, _("checkpoint")), root / f"step-{step}"
            ):
                begun.append(checkpoints.begin_checkpoint(root, step, self.fill))
                if whole:
                    finish()

        held: float | None = None
        if wait is None:
            write()
        elif not wait(write, "", step, self.total):
            raise DiskFullError(_("no room left on the disk."), where=str(root))
        if not whole:
            held = time.monotonic() - began
            self._writing = step
            self._writer.start(finish)

    def _not_saved(self, step: int, error: Exception, ending: bool = False) -> None:
        """Say why there is no checkpoint; a full disk is tried again a minute later, memory at once.

        Raises:
            RunError: the run's folder is gone.
            The error itself, if it is neither.
        """
        self._last = time.monotonic()
        if isinstance(error, DiskFullError):
            self._retry_after = time.monotonic() + DISK_RETRY_SECONDS
            said = {"step": step, "what": error.what, "free": free_room(self.folder.path)}
            if ending:
                message = _("No checkpoint at step {step}: {what} {free}.", **said)
                hint = _("Make room before the run is resumed.")
            else:
                message = _("No checkpoint at step {step}: {what} {free}. Training goes on.", **said)
                hint = _("Make room; the checkpoint is tried again.")
            self.reporter.warn("disk_full", message, hint)
        elif self.recovery.is_out_of_memory(error):
            self.recovery.free(error)
            self._retry_after = time.monotonic()
            if ending:
                message = _("Memory ran out while saving step {step}.", step=step)
            else:
                message = _(
                    "Memory ran out while saving step {step}; it is tried again after the next step.",
                    step=step,
                )
            self.reporter.emit(OutOfMemory(step, "saving", (1, 0), message))
        else:
            self._look_for_folder(error)
            raise error

    def fill(self, folder: Path) -> None:
        """Write everything a resumed run needs into a folder."""
        engine = self.engine
        assert engine is not None
        engine.save_state(folder)
        self._write_state(folder, engine)

    def _write_state(self, folder: Path, engine: Engine) -> None:
        size = engine.size
        state = replace(
            self.progress,
            seconds=self.spent,
            micro=[size.sequences, size.tokens],
            path=engine.objective.state(),
        )
        (folder / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")

    def note_progress(self, checkpoint: checkpoints.Checkpoint, wait: Wait | None = None) -> None:
        """Write the counters anew into a checkpoint that is otherwise as it should be."""
        engine = self.engine
        if not self.writes or engine is None:
            return

        def fill(folder: Path) -> None:
            leave_out = shutil.ignore_patterns(checkpoints.MANIFEST, STATE)
            shutil.copytree(checkpoint.path, folder, ignore=leave_out, dirs_exist_ok=True)
            self._write_state(folder, engine)

        def write() -> None:
            checkpoints.begin_checkpoint(self.folder.checkpoints, checkpoint.step, fill).finish()
            self._named = self._wanted
            forget_kept(self.folder.best)

        try:
            if wait is None:
                write()
            else:
                wait(write, "", checkpoint.step, self.total)
        except DiskFullError as error:
            self._not_saved(checkpoint.step, error, ending=True)

    @property
    def _wanted(self) -> Stamp | None:
        """The evaluation that the counters name as the best."""
        progress = self.progress
        if progress.best_step is None or progress.best is None:
            return None
        return Stamp(progress.best_step, progress.best)

    def restore_best(self) -> bool:
        """Make `best` the one that the counters speak of, after a run has gone back to a checkpoint.

        See `keeping.best` for what may be there instead. Where it can neither be put back nor made anew, the
        counters forget it, and the next evaluation counts as the best: False then. The model may be left with
        the weights of that step.
        """
        if not self.writes:
            return True
        best, wanted = self.folder.best, self._wanted
        self._named = wanted
        if wanted is None:
            self._drop_best()
            return True
        if is_of(best, wanted):
            forget_kept(best)
            return True
        if put_back(best, wanted):
            self.reporter.log(
                _("The folder best is that of step {step} again, where the run went back.", step=wanted.step)
            )
            return True
        return self._make_best_anew(wanted)

    def _drop_best(self) -> None:
        """Remove a `best` of steps that the run has gone back behind."""
        forget_kept(self.folder.best)
        if read_stamp(self.folder.best) is not None:
            shutil.rmtree(self.folder.best, ignore_errors=True)

    def begin_again(self) -> None:
        """A run that starts at its beginning, perhaps once more: what stands in `best` is none of its own."""
        if not self.writes:
            return
        if not checkpoints.checkpoints(self.folder.checkpoints):
            self._drop_best()
        elif holds_model(self.folder.best):  # its checkpoints are damaged: this may be all that is left of it
            aside = self.folder.best.with_name("best-earlier")
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.best.rename(aside)
            self.reporter.warn(
                "best_aside",
                _(
                    "The run starts at the beginning; the best model it had before is in {name}.",
                    name=aside.name,
                ),
                _("Take it away or delete it."),
            )

    def _make_best_anew(self, wanted: Stamp) -> bool:
        assert self.engine is not None
        step, best = wanted.step, self.folder.best
        for checkpoint in checkpoints.checkpoints(self.folder.checkpoints):
            if checkpoint.step == step and not checkpoint.problem():
                self.engine._load_from_checkpoint(str(checkpoint.path))
                if self.write_best(wanted):
                    self.reporter.log(
                        _(
                            "The folder best was gone; it is made anew from the checkpoint of step {step}.",
                            step=step,
                        )
                    )
                    return True
        self.reporter.warn(
            "best_gone",
            _(
                "The folder best, with the model of step {step}, is gone, and so is that step's checkpoint.",
                step=step,
            ),
            _("The next evaluation counts as the best, and writes the folder anew."),
        )
        shutil.rmtree(best, ignore_errors=True)
        forget_kept(best)
        self.progress.best = self.progress.best_step = self._named = None
        self.progress.worse = 0
        return False

    def write_best(self, stamp: Stamp, wait: Wait | None = None) -> bool:
        """Write `best`, as `write_final` does; what the last checkpoint names is kept until another does."""
        metric, best = self.config.evaluation.best, self.folder.best
        self.wait()  # a checkpoint that is finished meanwhile would name another
        keep = best.with_name(KEPT) if self._named is not None and is_of(best, self._named) else None
        return self._write_model(best, stamp.step, wait, lambda folder: stamp.write(folder, metric), keep)

    def write_final(self, target: Path, step: int, wait: Wait | None = None) -> bool:
        """Write `best` or `last`; without room the old one stays, and the journal says so. Whether it was.

        With `wait`, the run is held while the disk is full.
        """
        return self._write_model(target, step, wait)

    def _write_model(
        self,
        target: Path,
        step: int,
        wait: Wait | None = None,
        stamp: Callable[[Path], None] | None = None,
        keep: Path | None = None,
    ) -> bool:
        assert self.engine is not None
        if not self.writes:
            return True
        self._look_for_folder()
        self._say_saving(0, target.name)
        self.wait()
        model = self.engine.model

        def add(folder: Path) -> None:
            if self.describe is not None:
                self.describe(folder, model, step)
            if stamp is not None:
                stamp(folder)

        def write() -> None:
            with counting_written(lambda done: self._say_saving(done, target.name), target):
                self._twice(lambda: write_final_model(model, self.tokenizer, target, add, keep))

        try:
            if wait is None:
                write()
            elif not wait(write, target.name, step, self.total):
                raise DiskFullError(_("no room left on the disk."))
        except DiskFullError as error:
            self._not_written("disk_full", target.name, step, error.what)
            return False
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                self._look_for_folder(error)
                raise
            self.recovery.free(error)
            self._not_written("out_of_memory", target.name, step, _("memory ran out."))
            return False
        return True

    def _not_written(self, code: str, name: str, step: int, what: str) -> None:
        self.reporter.warn(
            code, _("{name} of step {step} was not written: {what}", name=name, step=step, what=what)
        )
