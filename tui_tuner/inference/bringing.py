"""Models of hubs that others are made of are brought onto this machine, counted, before they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tui_tuner.config.schema import ModelSection
from tui_tuner.inference.origin import ADAPTER, BASE, Origin
from tui_tuner.inference.places import config_of, place_of
from tui_tuner.models.hub import api
from tui_tuner.models.hub.kinds import HUGGINGFACE, CancelledCall, Progress, ProgressCall
from tui_tuner.models.hub.local import find
from tui_tuner.models.hub.net import is_offline
from tui_tuner.models.hub.place import is_path, settle


def bring_missing(
    origins: Sequence[Origin], told: Callable[[str, Progress], None], cancelled: CancelledCall
) -> None:
    """Fetch what these need and is not here. Without a network nothing is: loading says what one can do.

    Args:
        told: Which model is fetched, and how far that is.

    Raises:
        Cancelled: `cancelled` said so; what was fetched stays.
        HubError, ModelError, DiskFullError: as `models.hub.api.fetch` does.
    """
    for model in bases_not_here(origins):
        bring(model, partial(told, model.name), cancelled)


def bring(model: ModelSection, progress: ProgressCall, cancelled: CancelledCall = lambda: False) -> None:
    """Fetch a model, which the hub need not be asked about again to load it."""
    api.fetch(model.name, revision=model.revision, source=model.hub, progress=progress, cancelled=cancelled)
    if model.hub == HUGGINGFACE and not model.trust_remote_code:  # code may come from yet another model
        settle(model.name, model.revision)


def bases_not_here(origins: Sequence[Origin]) -> list[ModelSection]:
    """Models of hubs whose weights these need, and which are not on this machine whole."""
    missing: dict[tuple[str, str | None], ModelSection] = {}
    for origin in [] if is_offline() else origins:
        if origin.kind == "run" and origin.checkpoint != BASE and not (place_of(origin) / ADAPTER).is_file():
            continue  # its own weights are all there are
        model = config_of(origin).model
        if model.architecture is not None or is_path(model.name):
            continue
        if find(model.name, model.revision, model.hub) is None:
            missing[model.name, model.revision] = model
    return list(missing.values())
