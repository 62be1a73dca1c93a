"""What the model of a run makes of a text of the user's own: for `tui-tuner ask` and a helper process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import OutOfMemoryError, UsageError
from tui_tuner.evaluation.samples import Shown
from tui_tuner.locales import _
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.runs.store import RunFolder
from tui_tuner.tasks import find_task
from tui_tuner.text import one_line
from tui_tuner.training.load_run import LoadedRun, load_run

Key = tuple[str, str, str, Any]

_warm: dict[Key, LoadedRun] = {}  # of a helper process: the model that was asked last


def best_or_last(folder: RunFolder, which: str = "") -> str:
    """Which model is asked: the one that was named, or else the best, or the last where no other was kept."""
    if which:
        return which
    return "last" if folder.last.is_dir() and not folder.best.is_dir() else "best"


def ask_run(loaded: LoadedRun, text: str, question: str = "") -> Shown:
    """Ask a model about a text.

    Raises:
        UsageError: the task has no such answer, the text is too long, or a question is missing.
        OutOfMemoryError: there is not enough memory for this text.
    """
    import torch

    task = find_task(loaded.config.task)
    if loaded.config.task_kind.writes:
        raise UsageError(_("task {task} answers no questions about a text.", task=loaded.config.task))
    try:
        with torch.inference_mode():
            return task.ask(loaded.model, loaded.tokenizer, loaded.config, text, question)
    except RowProblem as problem:
        raise UsageError(f"{problem}.", where="--text") from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        free_memory_of(error)
        raise OutOfMemoryError(
            _("there is not enough memory for this text."),
            hint=_("Give a shorter text, or ask on the processor (--device cpu)."),
        ) from None


def to_json(shown: Shown) -> dict[str, Any]:
    """What was shown, in plain values; spans are in characters of `passage`."""
    values = asdict(shown)
    values["passage"] = shown.passage or (shown.prompt if shown.found else "")
    values["scores"] = [list(choice) for choice in shown.scores]
    for name in ("found", "wanted"):
        values[name] = [dict(span) for span in values[name]]
    return values


def answer(
    arguments: dict[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any] | None:
    """The operation `ask` of a helper process, which keeps the model for the next question.

    Args:
        arguments: `run` (its folder), `text`, and if wanted `question`, `which` and `device`.
        progress: Told `doing`: loading or answering.

    Returns:
        What `to_json` does; None where it was cancelled.
    """
    folder = RunFolder(Path(arguments["run"]))
    which = best_or_last(folder, arguments.get("which", ""))
    device = arguments.get("device", "auto")
    key = (os.path.realpath(folder.path), which, device, _stamp(folder, which))
    if key not in _warm:
        _warm.clear()
        progress({"doing": "loading"})
        _warm[key] = load_run(folder, which, device)
    if cancelled():
        return None
    progress({"doing": "answering"})
    return to_json(ask_run(_warm[key], arguments["text"], arguments.get("question", "")))


def _stamp(folder: RunFolder, which: str) -> Any:
    """What changes when a run writes this model anew."""
    place = {"best": folder.best, "last": folder.last}.get(which, folder.checkpoints / one_line(which))
    try:
        found = place.stat()
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None
