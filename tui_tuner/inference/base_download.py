"""Downloads base models that are missing on this machine, with progress, before they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tui_tuner.config.schema import ModelSection
from tui_tuner.inference.model_places import build_origin_config, find_model_folder
from tui_tuner.inference.origin import ADAPTER, BASE, Origin
from tui_tuner.models.hub import api
from tui_tuner.models.hub.kinds import HUGGINGFACE, CancelledCall, Progress, ProgressCall
from tui_tuner.models.hub.local import find_complete_model
from tui_tuner.models.hub.net import is_network_offline
from tui_tuner.models.hub.place import is_model_path, mark_model_settled


def fetch_missing_bases(
    origins: Sequence[Origin], told: Callable[[str, Progress], None], cancelled: CancelledCall
) -> None:
    """Download the missing base models of these origins; offline, do nothing and let loading report it.

    Args:
        told: Called with the name of the model and the progress of its download.

    Raises:
        Cancelled: `cancelled` returned true; parts that were downloaded stay.
        HubError, ModelError, DiskFullError: as `models.hub.api.fetch_hub_model`.
    """
    for model in list_missing_bases(origins):
        fetch_base(model, partial(told, model.name), cancelled)


def fetch_base(model: ModelSection, progress: ProgressCall, cancelled: CancelledCall = lambda: False) -> None:
    """Download a model, and remember its revision so that loading needs no network."""
    api.fetch_hub_model(
        model.name, revision=model.revision, source=model.hub, progress=progress, cancelled=cancelled
    )
    # Remote code may refer to yet another model
    if model.hub == HUGGINGFACE and not model.trust_remote_code:
        mark_model_settled(model.name, model.revision)


def list_missing_bases(origins: Sequence[Origin]) -> list[ModelSection]:
    """List the hub models whose weights these origins need and that are not complete on this machine."""
    missing: dict[tuple[str, str | None], ModelSection] = {}
    # Offline nothing can be downloaded; loading then reports which model is missing
    for origin in [] if is_network_offline() else origins:
        if (
            origin.kind == "run"
            and origin.checkpoint != BASE
            and not (find_model_folder(origin) / ADAPTER).is_file()
        ):
            # The run saved all its weights, so it needs no base model
            continue
        model = build_origin_config(origin).model
        if model.architecture is not None or is_model_path(model.name):
            continue
        if find_complete_model(model.name, model.revision, model.hub) is None:
            missing[model.name, model.revision] = model
    return list(missing.values())
