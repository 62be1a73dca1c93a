"""What the model of a run makes of a text of the user's own: for `tui-tuner ask` and a helper process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tui_tuner.data.problems import RowProblem
from tui_tuner.errors import OutOfMemoryError, UsageError
from tui_tuner.evaluation.samples import Shown
from tui_tuner.inference.bringing import bring_missing
from tui_tuner.inference.loading import Models
from tui_tuner.inference.origin import Origin, find_origin
from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import Cancelled, Progress
from tui_tuner.models.out_of_memory import free_memory_of, is_out_of_memory
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.tasks import find_task
from tui_tuner.training.load_run import LoadedRun

_warm: dict[str, Models] = {}  # of a helper process, by device: the model that was asked last


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


def load_asked(origin: Origin, device: str = "auto") -> LoadedRun:
    """The model that is asked, from wherever it is.

    Raises:
        TunerError: it cannot be loaded.
    """
    (loaded,) = Models(device).load([origin])
    return LoadedRun(loaded.model, loaded.tokenizer, loaded.config)


def answer(
    arguments: dict[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any] | None:
    """The operation `ask` of a helper process, which keeps the model for the next question.

    Args:
        arguments: `model` (an `Origin` in plain values) or `run` (its folder, and `which` if wanted), `text`;
            if wanted `question` and `device`.
        progress: Told `doing`: fetching, loading or answering; while loading, the `name` of a model and
            `done` of `total` weights, and the same in bytes while one is brought here before that.

    Returns:
        What `to_json` does; None where it was cancelled.
    """
    device = str(arguments.get("device", "auto"))
    if device not in _warm:
        _warm.clear()
        _warm[device] = Models(device)

    def say(name: str, done: int, total: int) -> None:
        progress({"doing": "loading", "name": name, "done": done, "total": total})

    def fetched(name: str, at: Progress) -> None:
        progress({"doing": "fetching", "name": name, "done": at.done, "total": at.total})

    origin = _asked(arguments)
    try:
        bring_missing([origin], fetched, cancelled)
    except Cancelled:
        return None
    (loaded,) = _warm[device].load([origin], say)
    if cancelled():
        return None
    progress({"doing": "answering"})
    run = LoadedRun(loaded.model, loaded.tokenizer, loaded.config)
    return to_json(ask_run(run, arguments["text"], arguments.get("question", "")))


def _asked(arguments: Mapping[str, Any]) -> Origin:
    if "model" in arguments:
        return Origin.of(arguments["model"])
    folder = RunFolder(Path(arguments["run"]))
    return find_origin(str(folder.path), RunStore(folder.path.parent), arguments.get("which", ""))
