"""Asks a model about the user's own text, for `tui-tuner ask` and a helper process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import OutOfMemoryError, UsageError
from tui_tuner.evaluation.samples import ShownSample
from tui_tuner.inference.base_download import fetch_missing_bases
from tui_tuner.inference.loading import ModelKeeper
from tui_tuner.inference.origin import Origin, find_origin
from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import FetchCancelled, Progress
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.tasks import find_task
from tui_tuner.training.load_run import LoadedRun

_warm: dict[str, ModelKeeper] = {}  # in a helper process: the models of the last question, by device


def ask_loaded_model(loaded: LoadedRun, text: str, question: str = "") -> ShownSample:
    """Ask a model about a text, with its task's own way to answer.

    Raises:
        UsageError: models of the task cannot be asked, the text is too long, or a question is missing.
        OutOfMemoryError: there is not enough memory for this text.
    """
    import torch

    task = find_task(loaded.config.task)
    if loaded.config.task_kind.talks:
        raise UsageError(_("a model of task {task} cannot be asked about a text.", task=loaded.config.task))
    try:
        # No gradients, which would keep every activation in memory
        with torch.inference_mode():
            return task.ask_model(loaded.model, loaded.tokenizer, loaded.config, text, question)
    except RowProblem as problem:
        raise UsageError(f"{problem}.", where="--text") from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        free_attempt_memory(error)
        raise OutOfMemoryError(
            _("there is not enough memory for this text."),
            hint=_("Shorten the text, or use the processor (--device cpu)."),
        ) from None


def convert_shown_answer(shown: ShownSample) -> dict[str, Any]:
    """Convert an answer to plain values; spans are in characters of `passage`."""
    values = asdict(shown)
    values["passage"] = shown.passage or (shown.prompt if shown.found else "")
    values["scores"] = [list(choice) for choice in shown.scores]
    values["further"] = [[list(choice) for choice in choices] for choices in shown.further]
    for name in ("found", "wanted"):
        values[name] = [dict(span) for span in values[name]]
    return values


def load_asked_model(origin: Origin, device: str = "auto") -> LoadedRun:
    """Load the model to ask, of a run or any other origin.

    Raises:
        TunerError: it cannot be loaded.
    """
    (loaded,) = ModelKeeper(device).load_all([origin])
    return LoadedRun(loaded.model, loaded.tokenizer, loaded.config)


def run_ask_operation(
    arguments: dict[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any] | None:
    """Run the operation `ask` of a helper process, which keeps the model for the next question.

    Args:
        arguments: `model` (an `Origin` in plain values) or `run` (its folder; optionally `which`), `text`;
            optionally `question` and `device`.
        progress: Called with `doing`: fetching, loading or answering; while loading, with the `name` of a
            model and `done` of `total` weights; while fetching, the same in bytes.

    Returns:
        The result of `convert_shown_answer`; None if it was cancelled.
    """
    device = str(arguments.get("device", "auto"))
    if device not in _warm:
        # Models of another device are released first: both together may not fit into memory
        _warm.clear()
        _warm[device] = ModelKeeper(device)

    def tell_loading(name: str, done: int, total: int) -> None:
        progress({"doing": "loading", "name": name, "done": done, "total": total})

    def tell_fetching(name: str, at: Progress) -> None:
        progress({"doing": "fetching", "name": name, "done": at.done, "total": at.total})

    origin = _find_asked_origin(arguments)
    try:
        fetch_missing_bases([origin], tell_fetching, cancelled)
    except FetchCancelled:
        return None
    (loaded,) = _warm[device].load_all([origin], tell_loading)
    # Loading may have taken minutes, in which the user may have left
    if cancelled():
        return None
    progress({"doing": "answering"})
    run = LoadedRun(loaded.model, loaded.tokenizer, loaded.config)
    return convert_shown_answer(ask_loaded_model(run, arguments["text"], arguments.get("question", "")))


def _find_asked_origin(arguments: Mapping[str, Any]) -> Origin:
    if "model" in arguments:
        return Origin.from_values(arguments["model"])
    folder = RunFolder(Path(arguments["run"]))
    return find_origin(str(folder.path), RunStore(folder.path.parent), arguments.get("which", ""))
