"""Which model answers beside another: its base, a checkpoint, another run, a folder, one of a hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from textual.content import Content

from tui_tuner.inference.origin import BASE, Origin, base_of, checkpoints_of
from tui_tuner.locales import _
from tui_tuner.runs.store import RunStore
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import Choose

_MOST_RUNS = 30
_FOLDER, _HUB = "folder", "hub"
Named = Callable[[str | Origin], None]


def choices(models: list[Origin], store: RunStore) -> list[tuple[str, str | Origin]]:
    """What can answer beside these, the base model first: words for each, and the model or its name."""
    found: list[tuple[str, str | Origin]] = []
    runs = {model.path for model in models if model.kind == "run"}
    for model in models:
        found += [(_place(other), other) for other in _others(model)]
    newest = _first(store, _MOST_RUNS, runs)
    found += [(_("run {name}", name=one_line(name, 50)), path) for name, path in newest]
    seen: set[str | Origin] = set(models)
    return [item for item in found if not (item[1] in seen or seen.add(item[1]))]  # type: ignore[func-returns-value]


def _others(model: Origin) -> Iterable[Origin]:
    if model.kind not in ("run", "adapter"):
        return
    if model.checkpoint != BASE:
        yield base_of(model)
    for checkpoint in checkpoints_of(model):
        if checkpoint != BASE:
            yield Origin(model.kind, model.name, model.path, checkpoint, model.task)


def _place(model: Origin) -> str:
    name = one_line(model.name, 40)
    if model.checkpoint == BASE:
        return _("base: what {name} began with", name=name)
    return _("{name}, checkpoint {checkpoint}", name=name, checkpoint=model.checkpoint or _("trained"))


def _first(store: RunStore, most: int, without: set[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for folder in store.runs():
        if len(found) == most:
            break
        path = str(folder.path.absolute())
        if path not in without and (folder.best.is_dir() or folder.last.is_dir()):
            found.append((folder.name, path))
    return found


class BesideDialog(Choose):
    """The models that can be taken; gives the place of one in `offered`, or which chooser to open."""

    def __init__(self, offered: list[tuple[str, str | Origin]], question: str) -> None:
        answers = [(str(place), words, "") for place, (words, _model) in enumerate(offered)]
        answers.append((_FOLDER, _("a folder: a run, an adapter or a model…"), ""))
        answers.append((_HUB, _("a model of a hub…"), ""))
        super().__init__(_("Side by side"), Content(question), answers)
        self.offered = offered


def ask_for_model(
    screen: TunerScreen, offered: list[tuple[str, str | Origin]], question: str, named: Named
) -> None:
    """Let one choose a model above a screen; `named` is told of it, or of its name."""

    def chosen(answer: str | None) -> None:
        if answer == _FOLDER:
            _ask_folder(screen, named)
        elif answer == _HUB:
            _ask_hub(screen, named)
        elif answer is not None:
            named(offered[int(answer)][1])

    screen.app.push_screen(BesideDialog(offered, question), chosen)


def _ask_folder(screen: TunerScreen, named: Named) -> None:
    from tui_tuner.ui.screens.choosing import ChooseFile

    def chosen(path: str | None) -> None:
        if path:
            named(path)

    title = _("A run, an adapter or a model")
    screen.app.push_screen(ChooseFile(title, "", (), "chat", folders=True), chosen)


def _ask_hub(screen: TunerScreen, named: Named) -> None:
    from tui_tuner.ui.screens.models.asking import ask_model

    def chosen(values: Mapping[str, Any]) -> None:
        name, revision = str(values.get("model.name", "")), values.get("model.revision")
        if name:
            named(f"{name}@{revision}" if revision else name)

    ask_model(screen, chosen)
