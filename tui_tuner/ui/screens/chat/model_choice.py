"""Choosing a second model for a chat: the base, a checkpoint, another run, a folder, a hub model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from textual.content import Content

from tui_tuner.inference.origin import BASE, Origin, find_base_origin, list_loadable_checkpoints
from tui_tuner.locales import _
from tui_tuner.runs.store import RunStore
from tui_tuner.text import one_line
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.screens.screen_base import TunerScreen

_MOST_RUNS = 30
_FOLDER, _HUB = "folder", "hub"
Named = Callable[[str | Origin], None]


def list_chat_choices(models: list[Origin], store: RunStore) -> list[tuple[str, str | Origin]]:
    """Return the models that can join a chat as (label, model or its name), base models first."""
    found: list[tuple[str, str | Origin]] = []
    runs = {model.path for model in models if model.kind == "run"}
    for model in models:
        found += [(_label_origin(other), other) for other in _other_checkpoints(model)]
    # Not all of them: whether a run has a model is asked of the disk, once for each.
    newest = _newest_with_model(store, _MOST_RUNS, runs)
    found += [(_("run {name}", name=one_line(name, 50)), path) for name, path in newest]
    # Two checkpoints of one run, both in the chat, offer the same others.
    seen: set[str | Origin] = set(models)
    return [item for item in found if not (item[1] in seen or seen.add(item[1]))]  # type: ignore[func-returns-value]


def _other_checkpoints(model: Origin) -> Iterable[Origin]:
    if model.kind not in ("run", "adapter"):
        return
    if model.checkpoint != BASE:
        yield find_base_origin(model)
    for checkpoint in list_loadable_checkpoints(model):
        if checkpoint != BASE:
            yield Origin(model.kind, model.name, model.path, checkpoint, model.task)


def _label_origin(model: Origin) -> str:
    name = one_line(model.name, 40)
    if model.checkpoint == BASE:
        return _("base model of {name}", name=name)
    return _("{name}, checkpoint {checkpoint}", name=name, checkpoint=model.checkpoint or _("trained"))


def _newest_with_model(store: RunStore, most: int, without: set[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for folder in store.list_runs():
        if len(found) == most:
            break
        path = str(folder.path.absolute())
        if path not in without and (folder.best_path.is_dir() or folder.last_path.is_dir()):
            found.append((folder.name, path))
    return found


class ModelDialog(ChoiceDialog):
    """Gives the index of a model in `offered` as text, or the chooser to open (a folder, a hub)."""

    def __init__(self, offered: list[tuple[str, str | Origin]], question: str) -> None:
        answers = [(str(place), words, "") for place, (words, _model) in enumerate(offered)]
        answers.append((_FOLDER, _("a folder: a run, an adapter or a model…"), ""))
        answers.append((_HUB, _("a model of a hub…"), ""))
        super().__init__(_("Side by side"), Content(question), answers)
        self.offered = offered


def ask_for_model(
    screen: TunerScreen, offered: list[tuple[str, str | Origin]], question: str, named: Named
) -> None:
    """Ask for a model on top of a screen; `named` is called with it, or with its name."""

    def take_model_answer(answer: str | None) -> None:
        if answer == _FOLDER:
            _ask_folder(screen, named)
        elif answer == _HUB:
            _ask_hub(screen, named)
        elif answer is not None:
            named(offered[int(answer)][1])

    screen.app.push_screen(ModelDialog(offered, question), take_model_answer)


def _ask_folder(screen: TunerScreen, named: Named) -> None:
    from tui_tuner.ui.screens.file_dialog import FileDialog

    def take_folder(path: str | None) -> None:
        if path:
            named(path)

    title = _("A run, an adapter or a model")
    screen.app.push_screen(FileDialog(title, "", (), "chat", folders=True), take_folder)


def _ask_hub(screen: TunerScreen, named: Named) -> None:
    from tui_tuner.ui.screens.models.open_models import ask_for_base_model

    def take_hub_model(values: Mapping[str, Any]) -> None:
        name, revision = str(values.get("model.name", "")), values.get("model.revision")
        if name:
            # A revision is a part of the name, so that a chat can be opened again with the same weights.
            named(f"{name}@{revision}" if revision else name)

    ask_for_base_model(screen, take_hub_model)
