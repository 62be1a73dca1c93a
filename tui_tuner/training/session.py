"""Run a config from its beginning to its end: `run_training(config, folder, sink, control)`.

Nothing slow is imported at the top: a run imports its libraries during a phase that shows the progress.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.advice import Command, build_hint
from tui_tuner.config.deciding import name_metric_in_text
from tui_tuner.config.kinds.optimizers import find_optimizer, require_optimizer
from tui_tuner.config.metrics import format_hundredfold_metric
from tui_tuner.config.notices import mask_notify_addresses
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import EXIT_DONE, EXIT_FAILED, TunerError
from tui_tuner.locales import N_, _
from tui_tuner.models.libraries import import_libraries
from tui_tuner.models.loading import silence_libraries
from tui_tuner.models.weight_reading import ReadAhead
from tui_tuner.runs import kernel
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import EventSink, Finished, RunStarted
from tui_tuner.runs.gpu_faults import classify_fault, find_kernel_fault
from tui_tuner.runs.history import format_resume_command
from tui_tuner.runs.private_files import open_private
from tui_tuner.runs.secrets import get_current_scrubber
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import find_task
from tui_tuner.text import one_line
from tui_tuner.training.keeping.best import KEPT
from tui_tuner.training.keeping.checkpoints import (
    Checkpoint,
    clear_checkpoint_leftovers,
    find_newest_checkpoint,
    restore_checkpoint_folder,
)
from tui_tuner.training.keeping.verdict_card import add_verdict
from tui_tuner.training.model_fetching import fetch_run_model
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.run_commands import Commands, StopRequested
from tui_tuner.training.surroundings import name_training_device, read_package_versions
from tui_tuner.training.watching.reporting import Heartbeat, Reporter
from tui_tuner.training.watching.verdict_sink import JudgingSink


@dataclass(frozen=True)
class Outcome:
    """How a run ended: completed, stopped or failed, and the exit code for it."""

    status: str
    exit_code: int
    message: str = ""


def run_training(
    config: RunConfig,
    folder: RunFolder,
    sink: EventSink,
    control: CommandReceiver,
    resume: bool = False,
    ranks: Ranks | None = None,
) -> Outcome:
    """Train a run to its end in this thread. Errors of the run go to the journal and are not raised.

    Args:
        config: As requested; each `auto` is resolved here.
        folder: The run's folder, held by the caller.
        sink: Where events go.
        control: Polled for commands at each step boundary.
        resume: Continue from the newest intact checkpoint.
        ranks: This process among those that train the run; None if it is the only one.
    """
    ranks = ranks or Ranks()
    reporter = Reporter(JudgingSink(sink, folder.events_path if resume else None), ranks)
    commands = Commands(control, reporter, ranks)
    with Heartbeat(reporter):
        try:
            hint: str = ""
            outcome = _train_run(config, folder, reporter, commands, resume, ranks)
        except StopRequested:
            outcome = Outcome("stopped", commands.exit_code, _("Stopped before the first step."))
            again = Command(f"`{format_resume_command(folder)}`", _("Resume"))
            hint = build_hint(N_("Start it again with {command}.", command=again))
        except TunerError as error:
            ended = Finished.from_error(error)
            outcome, hint = Outcome("failed", error.exit_code, ended.message), error.hint
            _log_error(folder, error)
            # It has the place and the field of the error; `report_finish` below then writes nothing.
            reporter.report_end(ended)
        except Exception as error:
            outcome, hint = _report_unexpected(folder, error)
        # The interpreter is ending: report that and let it.
        except BaseException as error:
            reporter.report_finish("failed", EXIT_FAILED, _("ended by {kind}", kind=type(error).__name__))
            raise
        finally:
            _free_memory()
    reporter.report_finish(outcome.status, outcome.exit_code, outcome.message, hint)
    # After the end is in the journal, where the verdict on the run is read from.
    if ranks.is_main and outcome.status in ("completed", "stopped"):
        add_verdict(folder)
    return outcome


def _train_run(
    config: RunConfig,
    folder: RunFolder,
    reporter: Reporter,
    commands: Commands,
    resume: bool,
    ranks: Ranks,
) -> Outcome:
    checkpoint = _find_checkpoint(folder, reporter) if resume else None
    task = find_task(config.task)
    reporter.emit(
        RunStarted(
            config=mask_notify_addresses(config.model_dump(mode="json")),
            versions=read_package_versions(),
            device=name_training_device(config),
            process=os.getpid(),
            resumed_from=(checkpoint.step if checkpoint else 0) if resume else None,
            metrics={
                metric.name: {"label": metric.label, "higher_is_better": metric.higher_is_better}
                for metric in task.metrics
            },
        )
    )
    commands.check_stop()
    # Before anything is fetched or read
    require_optimizer(config.training.optimizer)
    fetch_run_model(config.model, reporter, commands, ranks)
    # A thread reads the weights into the system's cache while libraries are imported and rows are prepared.
    with ReadAhead(config.model):
        _import_libraries(config, reporter)
        from tui_tuner.training.context import RunContext
        from tui_tuner.training.keeping.progress import Progress, read_progress
        from tui_tuner.training.train import prepare_training

        progress = read_progress(checkpoint.path) if checkpoint else Progress()
        context = RunContext(config, folder, reporter, commands, task, checkpoint, progress, ranks)
        training = prepare_training(context)
    # Objects made by imports and preparation live to the end. A collection that searches them takes 0.3 s
    # with Python's lock held, which would stop the steps, and a screen in this process, each time.
    gc.freeze()
    return _make_outcome(training.train_run(), commands)


def _import_libraries(config: RunConfig, reporter: Reporter) -> None:
    """Import the libraries that the run needs, and report the progress."""

    def say(done: int, total: int) -> None:
        reporter.report_phase("loading", done, total, _("importing torch and transformers"), "packages")

    say(0, 0)
    silence_libraries()  # before peft and bitsandbytes, which print messages while they are imported
    of_bitsandbytes = find_optimizer(config.training.optimizer).of_bitsandbytes
    quantised = config.model.quantization != "none" or of_bitsandbytes
    import_libraries(quantised, say)


def _free_memory() -> None:
    """Free what the run held: its model, device memory and the files of its rows."""
    # Its objects refer to each other: without a collection they would stay for an unknown time, and the next
    # run in this process would find the device full.
    gc.unfreeze()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _make_outcome(loop: Any, commands: Commands) -> Outcome:
    """Return the outcome of a finished loop."""
    step, why = loop.reporter.step, loop.stopped
    if not why:
        return Outcome("completed", EXIT_DONE, _describe_completion(step, loop))
    return Outcome("stopped", commands.exit_code, _describe_stop(step, why, loop.saver.saved_step))


def _describe_stop(step: int, why: str, saved: int | None) -> str:
    """Describe where a run stopped, which step can be resumed from, and why unless `why` is "asked"."""
    said = {"step": step, "saved": saved, "why": why}
    if why == "asked":
        if saved == step:
            return _("Stopped and saved at step {step}.", **said)
        if saved is None:
            return _("Stopped at step {step}; nothing could be saved.", **said)
        return _("Stopped at step {step}, which could not be saved; the last saved is {saved}.", **said)
    if saved == step:
        return _("Stopped and saved at step {step} ({why}).", **said)
    if saved is None:
        return _("Stopped at step {step} ({why}); nothing could be saved.", **said)
    return _("Stopped at step {step} ({why}), which could not be saved; the last saved is {saved}.", **said)


def _describe_completion(steps: int, loop: Any) -> str:
    """Describe a completed run: its steps, its best evaluation, and whether it ended early."""
    progress, early = loop.progress, loop.progress.early
    if progress.best is None:
        return _("{steps} steps, stopped early.", steps=steps) if early else _("{steps} steps.", steps=steps)
    name = loop.config.evaluation.best
    said = {
        "steps": steps,
        "name": name_metric_in_text(name),
        "best": format_hundredfold_metric(name, progress.best) or f"{progress.best:.4g}",
        "best_step": progress.best_step,
    }
    if early:
        return _("{steps} steps, best {name} {best} at step {best_step}, stopped early.", **said)
    return _("{steps} steps, best {name} {best} at step {best_step}.", **said)


def _find_checkpoint(folder: RunFolder, reporter: Reporter) -> Checkpoint | None:
    """Find the newest intact checkpoint; warn of each damaged one that is skipped."""
    # First, because a killed process may have set its only checkpoint aside, which is put back here.
    clear_checkpoint_leftovers(folder.checkpoints_path)
    restore_checkpoint_folder(folder.best_path, folder.best_path.with_name(KEPT))
    restore_checkpoint_folder(folder.last_path)

    def on_bad(checkpoint: Checkpoint, problem: str) -> None:
        reporter.report_warning(
            "checkpoint_damaged",
            _("{name} is skipped: {problem}.", name=checkpoint.path.name, problem=problem),
            _("An older checkpoint is used, and the steps since then are repeated."),
        )

    found = find_newest_checkpoint(folder.checkpoints_path, on_bad)
    if found is None:
        reporter.report_warning(
            "no_checkpoint", _("There is no checkpoint to resume from: the run starts from the beginning.")
        )
    return found


def _report_unexpected(folder: RunFolder, error: Exception) -> tuple[Outcome, str]:
    """Report an unexpected error: short for the journal, in full in the run's log."""
    _log_error(folder, error)
    link: BaseException | None = error
    # A full disk often comes wrapped in a library's own error.
    while link is not None:
        if isinstance(link, TunerError):
            return Outcome("failed", link.exit_code, str(link.what)), link.hint
        link = link.__cause__
    fault = classify_fault(f"{type(error).__name__}: {error}")
    if fault is not None:
        # The kernel's log names faults of the hardware, which CUDA reports as errors of some later operation.
        seen = find_kernel_fault(kernel.read_kernel_records(time.time() - 60))
        fault = seen if seen is not None and seen.hardware else fault
        return Outcome("failed", EXIT_FAILED, fault.message), fault.hint
    message = f"{type(error).__name__}: {one_line(error, 400)}"
    return Outcome("failed", EXIT_FAILED, message), _(
        "The full error is in {path}.", path=one_line(folder.log_path)
    )


def _log_error(folder: RunFolder, error: BaseException) -> None:
    # A traceback may show tokens, for example in an address.
    text = get_current_scrubber().mask_text("".join(traceback.format_exception(error)))
    try:
        fd = open_private(folder.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with open(fd, "a", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        return  # the journal has the message, and a log that cannot be written must not hide it
