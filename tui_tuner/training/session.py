"""One run, from a config to its end: `run(config, folder, sink, control)`.

Nothing is imported here that takes long; what the run needs is imported on the way, behind a phase.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.advice import Command, advise
from tui_tuner.config.deciding import metric_word
from tui_tuner.config.metrics import hundredfold
from tui_tuner.config.notices import without_addresses
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import EXIT_DONE, EXIT_FAILED, TunerError
from tui_tuner.locales import N_, _
from tui_tuner.models.libraries import import_libraries
from tui_tuner.models.loading import quiet_libraries
from tui_tuner.models.reading import ReadAhead
from tui_tuner.runs import kernel
from tui_tuner.runs.control import Control
from tui_tuner.runs.events import Finished, RunStarted, Sink
from tui_tuner.runs.gpu_faults import classify, from_kernel_log
from tui_tuner.runs.history import resume_command
from tui_tuner.runs.private import open_private
from tui_tuner.runs.secrets import scrubber
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import find_task
from tui_tuner.text import one_line
from tui_tuner.training.commands import Commands, Stopped
from tui_tuner.training.fetching import fetch_model
from tui_tuner.training.keeping.best import KEPT
from tui_tuner.training.keeping.checkpoints import Checkpoint, clear_leftovers, newest_valid, restore_folder
from tui_tuner.training.keeping.verdict_card import add_verdict
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.surroundings import device_name, versions
from tui_tuner.training.watching.reporting import Heartbeat, Reporter
from tui_tuner.training.watching.verdicts import Judged


@dataclass(frozen=True)
class Outcome:
    """How a run ended: completed, stopped or failed, and the exit code for it."""

    status: str
    exit_code: int
    message: str = ""


def run(
    config: RunConfig,
    folder: RunFolder,
    sink: Sink,
    control: Control,
    resume: bool = False,
    ranks: Ranks | None = None,
) -> Outcome:
    """Train a run to its end in this thread. Never raises for what goes wrong in the run; the journal says.

    Args:
        config: As asked for; what is `auto` is resolved here.
        folder: The run's folder, held by the caller.
        sink: Where events go.
        control: Asked for commands at each step boundary.
        resume: Continue from the newest sound checkpoint.
        ranks: This process among those that train the run; None is alone.
    """
    ranks = ranks or Ranks()
    reporter = Reporter(Judged(sink, folder.events if resume else None), ranks)
    commands = Commands(control, reporter, ranks)
    with Heartbeat(reporter):
        try:
            hint: str = ""
            outcome = _run(config, folder, reporter, commands, resume, ranks)
        except Stopped:
            outcome = Outcome("stopped", commands.exit_code, _("Stopped before the first step."))
            again = Command(f"`{resume_command(folder)}`", _("Resume"))
            hint = advise(N_("Start it again with {command}.", command=again))
        except TunerError as error:
            ended = Finished.failed(error)
            outcome, hint = Outcome("failed", error.exit_code, ended.message), error.hint
            _log(folder, error)
            reporter.end(ended)
        except Exception as error:
            outcome, hint = _unexpected(folder, error)
        except BaseException as error:  # the interpreter is ending; say so in the journal, and let it
            reporter.finished("failed", EXIT_FAILED, _("ended by {kind}", kind=type(error).__name__))
            raise
        finally:
            _let_go()
    reporter.finished(outcome.status, outcome.exit_code, outcome.message, hint)
    if ranks.main and outcome.status in ("completed", "stopped"):
        add_verdict(folder)
    return outcome


def _run(
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
            config=without_addresses(config.model_dump(mode="json")),
            versions=versions(),
            device=device_name(config),
            process=os.getpid(),
            resumed_from=(checkpoint.step if checkpoint else 0) if resume else None,
            metrics={
                metric.name: {"label": metric.label, "higher_is_better": metric.higher_is_better}
                for metric in task.metrics
            },
        )
    )
    commands.check()
    fetch_model(config.model, reporter, commands, ranks)
    with ReadAhead(config.model):
        _import(config, reporter)
        from tui_tuner.training.context import RunContext
        from tui_tuner.training.keeping.progress import Progress, read_progress
        from tui_tuner.training.train import prepare_training

        progress = read_progress(checkpoint.path) if checkpoint else Progress()
        context = RunContext(config, folder, reporter, commands, task, checkpoint, progress, ranks)
        training = prepare_training(context)
    # What imports and preparation left stays to the end. Searching it takes 0.3 s with Python's lock held: at
    # every turn of the collector a screen in this process, and the steps, would stand still for that long.
    gc.freeze()
    return _ended(training.train(), commands)


def _import(config: RunConfig, reporter: Reporter) -> None:
    """Import what the run needs of other packages, and say how far that is."""

    def say(done: int, total: int) -> None:
        reporter.phase("loading", done, total, _("importing torch and transformers"), "packages")

    say(0, 0)
    quiet_libraries()  # before peft and bitsandbytes are imported, which speak while they are
    quantised = config.model.quantization != "none" or "8bit" in config.training.optimizer
    import_libraries(quantised, say)


def _let_go() -> None:
    """Give back what the run held: its model, the memory of its device, the files of its rows.

    Its objects refer to each other, so without a search for that they would stay until some later turn of the
    collector, and the next run in this process would find the device full.
    """
    gc.unfreeze()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _ended(loop: Any, commands: Commands) -> Outcome:
    """The outcome of a loop that came to its end."""
    step, why = loop.reporter.step, loop.stopped
    if not why:
        return Outcome("completed", EXIT_DONE, _completed(step, loop))
    return Outcome("stopped", commands.exit_code, _stopped(step, why, loop.saver.saved_step))


def _stopped(step: int, why: str, saved: int | None) -> str:
    """Where a run stopped, why unless it was "asked", and which step can be resumed from."""
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


def _completed(steps: int, loop: Any) -> str:
    """How many steps, the best evaluation, and whether it ended early."""
    progress, early = loop.progress, loop.progress.early
    if progress.best is None:
        return _("{steps} steps, stopped early.", steps=steps) if early else _("{steps} steps.", steps=steps)
    name = loop.config.evaluation.best
    said = {
        "steps": steps,
        "name": metric_word(name),
        "best": hundredfold(name, progress.best) or f"{progress.best:.4g}",
        "best_step": progress.best_step,
    }
    if early:
        return _("{steps} steps, best {name} {best} at step {best_step}, stopped early.", **said)
    return _("{steps} steps, best {name} {best} at step {best_step}.", **said)


def _find_checkpoint(folder: RunFolder, reporter: Reporter) -> Checkpoint | None:
    """The newest sound checkpoint; each one passed over is named in the journal."""
    clear_leftovers(folder.checkpoints)
    restore_folder(folder.best, folder.best.with_name(KEPT))
    restore_folder(folder.last)

    def on_bad(checkpoint: Checkpoint, problem: str) -> None:
        reporter.warn(
            "checkpoint_damaged",
            _("{name} is passed over: {problem}.", name=checkpoint.path.name, problem=problem),
            _("An older checkpoint is taken; the steps since are done again."),
        )

    found = newest_valid(folder.checkpoints, on_bad)
    if found is None:
        reporter.warn(
            "no_checkpoint", _("There is no checkpoint to go on from: the run starts at the beginning.")
        )
    return found


def _unexpected(folder: RunFolder, error: Exception) -> tuple[Outcome, str]:
    """An error nobody foresaw: short in the journal, whole in the run's log."""
    _log(folder, error)
    link: BaseException | None = error
    while link is not None:  # a full disk often comes wrapped in a library's own error
        if isinstance(link, TunerError):
            return Outcome("failed", link.exit_code, str(link.what)), link.hint
        link = link.__cause__
    fault = classify(f"{type(error).__name__}: {error}")
    if fault is not None:
        seen = from_kernel_log(kernel.records(time.time() - 60))
        fault = seen if seen is not None and seen.hardware else fault
        return Outcome("failed", EXIT_FAILED, fault.message), fault.hint
    message = f"{type(error).__name__}: {one_line(error, 400)}"
    return Outcome("failed", EXIT_FAILED, message), _(
        "The whole error is in {path}.", path=one_line(folder.log)
    )


def _log(folder: RunFolder, error: BaseException) -> None:
    text = scrubber().text("".join(traceback.format_exception(error)))
    try:
        fd = open_private(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with open(fd, "a", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        return  # the journal has the message; a log that cannot be written must not hide it
