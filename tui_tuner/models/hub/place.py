"""Decide where a model is loaded from: turn a name, a revision and a hub into a folder."""

from __future__ import annotations

import os
from pathlib import Path

from tui_tuner.config.advice import Command, build_hint
from tui_tuner.config.kinds.tasks import is_tiny_model
from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import HubError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.fetching import download_model
from tui_tuner.models.hub.kinds import LABELS, MODELSCOPE
from tui_tuner.models.hub.local import find_complete_model
from tui_tuner.models.hub.ms_store import find_modelscope_folder
from tui_tuner.models.hub.net import is_network_offline
from tui_tuner.models.tiny import find_tiny_folder
from tui_tuner.text import one_line

# Models of Hugging Face that this process has brought up to date.
_settled: set[tuple[str, str | None]] = set()


def is_model_path(name: str) -> bool:
    """Return whether a name means a folder of this machine, existing or not, rather than a hub model."""
    if name == "demo" or is_tiny_model(name) or os.path.exists(Path(name).expanduser()):
        return True
    return name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1


def find_hub_source(name: str, revision: str | None, hub: str, weights: bool = True) -> str:
    """Return what a hub model is loaded from: its id (Hugging Face), or its folder (ModelScope).

    Raises:
        HubError: a ModelScope model that is not downloaded yet.
    """
    if hub != MODELSCOPE:
        return name
    place = find_complete_model(name, revision, hub, weights)
    if place is None:
        command = Command(
            f"`tui-tuner models fetch {one_line(name, 80)} --source {hub}`", N_("Fetch a model")
        )
        raise HubError(
            _("is not on this machine yet."),
            where=f"{LABELS[hub]}: {one_line(name)}",
            hint=build_hint(
                N_("Fetch it with {command}; a run also fetches it automatically.", command=command)
            ),
        )
    return str(place)


def bring_tokenizer(model: ModelSection) -> None:
    """Download the small files of a ModelScope model, as transformers does for Hugging Face by itself.

    Raises:
        HubError: unknown, or unreachable.
    """
    name, revision = (model.tokenizer, None) if model.tokenizer else (model.name, model.revision)
    if model.hub != MODELSCOPE or is_model_path(name) or is_network_offline():
        return
    if find_complete_model(name, revision, model.hub, weights=False) is None:
        download_model(name, revision, model.hub, lambda at: None, lambda: False, weights=False)


def find_folder_on_disk(model: ModelSection) -> Path | None:
    """Return the folder that a model is loaded from; None for one in the cache of Hugging Face."""
    own = find_tiny_folder(model.name)
    if own is not None:
        return own
    folder = Path(model.name).expanduser()
    if folder.is_dir():
        return folder
    return find_modelscope_folder(model.name, model.revision) if model.hub == MODELSCOPE else None


def mark_model_settled(name: str, revision: str | None) -> None:
    """Record that a model is up to date in this process, so that the hub need not be asked again."""
    _settled.add((name, revision))


def is_settled(name: str, revision: str | None) -> bool:
    return (name, revision) in _settled
