"""Save a run: when, what goes into a checkpoint, and what happens without disk space."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DiskFullError, RunError
from tui_tuner.locales import _
from tui_tuner.runs.events import CheckpointSaved, OutOfMemory
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.training.keeping import checkpoints
from tui_tuner.training.keeping.best import KEPT, Stamp, drop_kept, has_model, has_stamp, put_back, read_stamp
from tui_tuner.training.keeping.disk import describe_free_room
from tui_tuner.training.keeping.final_model import write_final_model
from tui_tuner.training.keeping.progress import STATE, Progress
from tui_tuner.training.keeping.writer import Writer
from tui_tuner.training.keeping.written_bytes import report_written
from tui_tuner.training.step.engine import Engine
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.intervals import find_interval, is_interval_due
from tui_tuner.training.watching.reporting import Reporter

DISK_RETRY_SECONDS = 60.0
_DELETING = 1.0  # seconds that deleting a run folder may take
Describe = Callable[[Path, Any, int], None]  # writes more into a final model's folder: of a model, at a step
Wait = Callable[[Callable[[], None], str, int, int], bool]


class Saver:
    """Writes checkpoints and final model folders of one run.

    Training waits only while a checkpoint's files are handed to the system; a thread hashes, syncs and
    renames them. No two are written at once, and errors of the thread are handled at the next step boundary
    (`is_due` is then true).
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
        self.writes = writes  # true only in the main rank
        self.config = config
        self.folder = folder
        self.reporter = reporter
        self.recovery = recovery
        self.tokenizer = tokenizer
        self.total = total_steps
        self.progress = progress
        self.engine: Engine | None = None
        self.every = find_interval(config.output.save_every, total_steps)
        self._saved = -1
        self._on_disk = -1
        self._retry_after = math.inf
        self._last = self._began = time.monotonic()
        self._writer = Writer()
        self._writing = -1
        self._size = 0  # bytes of the last checkpoint: the next one will have about as many
        self._named: Stamp | None = None  # the best, as the last checkpoint on the disk names it

    def begin_training(self, step: int, anew: bool = False) -> None:
        """Start the clocks at `step`; its checkpoint is on the disk, unless it is to be written again."""
        self._saved = step if step and not anew else -1
        self._on_disk = step or -1
        self._last = self._began = time.monotonic()

    @property
    def spent_seconds(self) -> float:
        """Return the seconds of training so far, in all processes of the run."""
        return self.progress.seconds + time.monotonic() - self._began

    @property
    def saved_step(self) -> int | None:
        """Return the step of the last checkpoint on the disk, as far as this process knows."""
        return None if self._on_disk < 0 else self._on_disk

    def is_due(self, step: int) -> bool:
        """Return whether to save: by steps, by minutes, or because the last attempt failed."""
        if self._writer.has_failed:
            return True
        now = time.monotonic()
        late = (now - self._last) / 60 >= self.config.output.save_minutes
        return late or now >= self._retry_after or is_interval_due(step, self.every)

    def save_checkpoint(
        self, step: int, wait: Wait | None = None, whole: bool = False, ending: bool = False
    ) -> None:
        """Save a checkpoint. Without room or memory, warn and retry later, unless the run is `ending`.

        With `wait`, the run is held while the disk is full. With `whole`, and after one that failed in the
        background, the checkpoint is on the disk when this returns; otherwise a thread finishes it.
        """
        if not self.writes or (self._saved == step and not (whole or self._writer.has_failed)):
            return
        began = time.monotonic()
        self._say_saving(0, _("checkpoint"))
        whole = not self.settle_writer() or whole
        if self._saved != step:
            try:
                if whole:
                    # The run ends or waits: no later step could try again.
                    self._try_twice(lambda: self._write_checkpoint(step, wait, whole, began))
                else:
                    self.recovery.enter_place("saving")
                    self._write_checkpoint(step, wait, whole, began)
            except Exception as error:
                self._report_not_saved(step, error, ending)
            else:
                self._retry_after = math.inf
                self._saved, self._last = step, began
        self.reporter.report_phase("training", step, self.total)

    def _say_saving(self, done: int, name: str) -> None:
        """Report how many bytes are written, and of how many, which is known only for a checkpoint."""
        whole = self._size if name == _("checkpoint") and done <= self._size else 0
        self.reporter.report_phase("saving", done, whole, name, "bytes")

    def _try_twice(self, write: Callable[[], None]) -> None:
        """Call `write`, and once more with memory freed if it ran out."""
        try:
            self.recovery.enter_place("saving")
            write()
            return
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                raise
            self.recovery.free(error)
        self.recovery.enter_place("saving")
        write()

    def settle_writer(self) -> bool:
        """Wait for the writer; return whether it succeeded. A failure is reported, and a save is due again.

        Raises:
            The error itself, unless the disk is full or memory ran out.
        """
        error = self._writer.take_failure()
        if error is None:
            return True
        self._saved = -1
        self._report_not_saved(self._writing, error)
        self._retry_after = time.monotonic()
        return False

    def wait_for_writer(self) -> None:
        """Wait until nothing is being written."""
        self._writer.wait_until_written()

    def _look_for_folder(self, error: Exception | None = None) -> None:
        """Raise `RunError` if the run folder does not exist any more, as nothing saved there would be found.

        Args:
            error: What failed, perhaps for that reason.
        """
        config = self.folder.path / "config.yaml"
        until = time.monotonic() + (_DELETING if isinstance(error, FileNotFoundError) else 0.0)
        while config.exists() and time.monotonic() < until:
            time.sleep(0.01)  # whatever is deleting the folder may not have reached this file yet
        if not config.exists():
            raise RunError(
                _("the run folder was deleted or renamed during the run, so nothing can be saved."),
                where=one_line(self.folder.path),
                hint=_("If it was renamed, resume it under its new name."),
            ) from error

    def _write_checkpoint(self, step: int, wait: Wait | None, whole: bool, began: float) -> None:
        self._look_for_folder()
        root = self.folder.checkpoints_path
        # Read now: training continues while the thread finishes, and may find another best.
        best, named = self.progress.best_step, self._wanted_stamp
        begun: list[checkpoints.UnfinishedCheckpoint] = []

        def finish() -> None:
            checkpoint = begun[-1].finish_checkpoint()
            self._size = checkpoint.total_bytes
            self._on_disk, self._named = step, named
            # The new checkpoint names what is in `best` now, so the folder before it is not needed any more.
            drop_kept(self.folder.best_path)
            checkpoints.prune_checkpoints(root, self.config.output.keep, best)
            self.reporter.emit(
                CheckpointSaved(
                    step=step,
                    path=str(checkpoint.path),
                    best=best == step,
                    bytes=checkpoint.total_bytes,
                    seconds=time.monotonic() - began,
                    held=held if held is not None else time.monotonic() - began,
                )
            )

        def write() -> None:
            with report_written(lambda done: self._say_saving(done, _("checkpoint")), root / f"step-{step}"):
                begun.append(checkpoints.begin_checkpoint(root, step, self.fill_checkpoint))
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
            self._writer.start_job(finish)

    def _report_not_saved(self, step: int, error: Exception, ending: bool = False) -> None:
        """Report why there is no checkpoint. A full disk is retried after a minute, memory at the next step.

        Raises:
            RunError: the run folder does not exist any more.
            The error itself, if it is neither.
        """
        self._last = time.monotonic()
        if isinstance(error, DiskFullError):
            self._retry_after = time.monotonic() + DISK_RETRY_SECONDS
            said = {"step": step, "what": error.what, "free": describe_free_room(self.folder.path)}
            if ending:
                message = _("No checkpoint at step {step}: {what} {free}.", **said)
                hint = _("Make room before the run is resumed.")
            else:
                message = _("No checkpoint at step {step}: {what} {free}. Training continues.", **said)
                hint = _("Make room; the checkpoint is retried.")
            self.reporter.report_warning("disk_full", message, hint)
        elif self.recovery.is_out_of_memory(error):
            self.recovery.free(error)
            self._retry_after = time.monotonic()
            if ending:
                message = _("Memory ran out while saving step {step}.", step=step)
            else:
                message = _(
                    "Memory ran out while saving step {step}; the save is retried after the next step.",
                    step=step,
                )
            self.reporter.emit(OutOfMemory(step, "saving", (1, 0), message))
        else:
            self._look_for_folder(error)
            raise error

    def fill_checkpoint(self, folder: Path) -> None:
        """Write everything a resumed run needs into a folder."""
        engine = self.engine
        assert engine is not None
        engine.save_state(folder)
        self._write_state(folder, engine)

    def _write_state(self, folder: Path, engine: Engine) -> None:
        size = engine.size
        state = replace(
            self.progress,
            seconds=self.spent_seconds,
            micro=[size.sequences, size.tokens],
            path=engine.objective.way_state(),
        )
        (folder / STATE).write_text(json.dumps(asdict(state)), encoding="utf-8")

    def note_progress(self, checkpoint: checkpoints.Checkpoint, wait: Wait | None = None) -> None:
        """Rewrite the counters of a checkpoint, and leave its other files as they are."""
        engine = self.engine
        if not self.writes or engine is None:
            return

        def fill(folder: Path) -> None:
            leave_out = shutil.ignore_patterns(checkpoints.MANIFEST, STATE)
            shutil.copytree(checkpoint.path, folder, ignore=leave_out, dirs_exist_ok=True)
            self._write_state(folder, engine)

        def write() -> None:
            begun = checkpoints.begin_checkpoint(self.folder.checkpoints_path, checkpoint.step, fill)
            begun.finish_checkpoint()
            self._named = self._wanted_stamp
            drop_kept(self.folder.best_path)

        try:
            if wait is None:
                write()
            else:
                wait(write, "", checkpoint.step, self.total)
        except DiskFullError as error:
            self._report_not_saved(checkpoint.step, error, ending=True)

    @property
    def _wanted_stamp(self) -> Stamp | None:
        """Return the evaluation that the counters name as the best."""
        progress = self.progress
        if progress.best_step is None or progress.best is None:
            return None
        return Stamp(progress.best_step, progress.best)

    def restore_best(self) -> bool:
        """Make `best` the folder that the counters name, after a run has gone back to a checkpoint.

        See `keeping.best` for what may be there instead. If it can be neither put back nor written again, the
        counters forget it, the next evaluation counts as the best, and this returns False. The model may be
        left with the weights of that step.
        """
        if not self.writes:
            return True
        best, wanted = self.folder.best_path, self._wanted_stamp
        self._named = wanted
        if wanted is None:
            self._drop_best()
            return True
        if has_stamp(best, wanted):
            drop_kept(best)
            return True
        if put_back(best, wanted):
            self.reporter.report_log(
                _("The run went back, so the folder best is that of step {step} again.", step=wanted.step)
            )
            return True
        return self._rewrite_best(wanted)

    def _drop_best(self) -> None:
        """Remove a `best` from steps that no longer count."""
        drop_kept(self.folder.best_path)
        # A folder without a stamp is of an older version, or not from this run: it stays.
        if read_stamp(self.folder.best_path) is not None:
            shutil.rmtree(self.folder.best_path, ignore_errors=True)

    def begin_again(self) -> None:
        """Clear `best` for a run that starts from the beginning, perhaps once more."""
        if not self.writes:
            return
        if not checkpoints.list_checkpoints(self.folder.checkpoints_path):
            self._drop_best()
        # Its checkpoints are damaged: this may be all that is left of the earlier training.
        elif has_model(self.folder.best_path):
            aside = self.folder.best_path.with_name("best-earlier")
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.best_path.rename(aside)
            self.reporter.report_warning(
                "best_aside",
                _(
                    "The run starts from the beginning; its earlier best model is in {name}.",
                    name=aside.name,
                ),
                _("Move or delete it."),
            )

    def _rewrite_best(self, wanted: Stamp) -> bool:
        assert self.engine is not None
        step, best = wanted.step, self.folder.best_path
        for checkpoint in checkpoints.list_checkpoints(self.folder.checkpoints_path):
            if checkpoint.step == step and not checkpoint.find_problem():
                self.engine.load_weights(checkpoint.path)
                if self.write_best(wanted):
                    self.reporter.report_log(
                        _(
                            "The folder best was missing; it was made from the checkpoint of step {step}.",
                            step=step,
                        )
                    )
                    return True
        self.reporter.report_warning(
            "best_gone",
            _(
                "The folder best with the model of step {step} is missing, and so is that step's checkpoint.",
                step=step,
            ),
            _("The next evaluation counts as the best, and writes the folder again."),
        )
        shutil.rmtree(best, ignore_errors=True)
        drop_kept(best)
        self.progress.best = self.progress.best_step = self._named = None
        self.progress.worse = 0
        return False

    def write_best(self, stamp: Stamp, wait: Wait | None = None) -> bool:
        """Write `best` as `write_final` does; the one that the last checkpoint names is kept for now."""
        metric, best = self.config.evaluation.best, self.folder.best_path
        self.wait_for_writer()  # a checkpoint that finishes meanwhile would change what is to be kept
        keep = best.with_name(KEPT) if self._named is not None and has_stamp(best, self._named) else None
        add_stamp = partial(stamp.write_stamp, metric=metric)
        return self._write_model(best, stamp.step, wait, add_stamp, keep)

    def write_final(self, target: Path, step: int, wait: Wait | None = None) -> bool:
        """Write `best` or `last`; return whether it was written. Without room the old one stays.

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
        self.wait_for_writer()
        engine = self.engine
        model = engine.model

        def add(folder: Path) -> None:
            if self.describe is not None:
                self.describe(folder, model, step)
            if stamp is not None:
                stamp(folder)

        def write() -> None:
            said = report_written(lambda done: self._say_saving(done, target.name), target)
            with said, engine.show_result():
                self._try_twice(lambda: write_final_model(model, self.tokenizer, target, add, keep))

        try:
            if wait is None:
                write()
            elif not wait(write, target.name, step, self.total):
                raise DiskFullError(_("no room left on the disk."))
        except DiskFullError as error:
            self._report_not_written("disk_full", target.name, step, error.what)
            return False
        except Exception as error:
            if not self.recovery.is_out_of_memory(error):
                self._look_for_folder(error)
                raise
            self.recovery.free(error)
            self._report_not_written("out_of_memory", target.name, step, _("memory ran out."))
            return False
        return True

    def _report_not_written(self, code: str, name: str, step: int, what: str) -> None:
        said = _("{name} of step {step} was not written: {what}", name=name, step=step, what=what)
        self.reporter.report_warning(code, said)
