"""Requests of the model screens to hubs. Every function may be slow: call it in a thread.

The clients of the hubs are imported at the first call.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tui_tuner.models.hub.kinds import MODELSCOPE, SOURCES
from tui_tuner.ui.base_models.model_description import ModelSummary, describe_model_folder
from tui_tuner.ui.base_models.model_rows import HERE, HUB, ModelRow

if TYPE_CHECKING:
    from tui_tuner.models.hub.kinds import Account, LocalModel, ModelDescription, Progress

LIMIT = 30  # models of one search


def search_chosen_hub(query: str, source: str) -> list[ModelRow]:
    """Search a hub for models.

    Raises:
        TunerError: the hub cannot be reached, or refuses.
    """
    from tui_tuner.models.hub.api import search_models_on_hub as ask

    return [
        ModelRow(
            found.name,
            HUB,
            found.source,
            found.parameters,
            # Two bytes a parameter, as nearly all models are published in 16 bits.
            found.bytes if found.bytes is not None else 2 * found.parameters if found.parameters else None,
            derived=found.bytes is None,
            licence=found.licence,
            gated=found.gated,
            downloads=found.downloads,
            updated=found.updated,
        )
        for found in ask(query, source=source, limit=LIMIT)
    ]


def describe_listed_model(row: ModelRow) -> ModelSummary:
    """Describe a model from the row's folder or from its hub.

    Raises:
        TunerError: no model has this name, or the hub cannot be reached, or refuses.
    """
    if row.folder is not None and (row.whole or not row.on_hub):
        return describe_model_folder(row.folder)
    from tui_tuner.models.hub.api import describe_hub_model as ask

    return _convert_description(ask(row.name, revision=row.revision, source=row.source))


def _convert_description(found: ModelDescription) -> ModelSummary:
    names = {file.name for file in found.files}
    return ModelSummary(
        files=tuple((file.name, file.size) for file in found.files),
        total=found.bytes or None,
        here=found.here,
        config=found.config or {},
        licence=found.licence,
        gated=found.gated,
        safetensors=found.safetensors,
        remote_code=found.remote_code,
        # None and not False: the template may be inside tokenizer_config.json, which was not read.
        chat_template=True if any(name.startswith("chat_template.") for name in names) else None,
        parameters=found.parameters,
        updated=found.updated,
        page=found.page,
        commit=found.commit,
    )


def list_local_hub_models() -> list[ModelRow]:
    """List the models in the hubs' caches, most recently used first."""
    from tui_tuner.models.hub.api import list_hub_models

    rows: dict[tuple[str, str], ModelRow] = {}
    for row in sorted(map(_make_row, list_hub_models()), key=lambda row: (not row.whole, -row.used)):
        # A model may be cached in several revisions: the complete, most recently used one comes first.
        rows.setdefault((row.source, row.name), row)
    return sorted(rows.values(), key=lambda row: -row.used)


def _make_row(model: LocalModel) -> ModelRow:
    return ModelRow(
        model.name if model.source in SOURCES else str(model.path.absolute()),
        HERE,
        model.source if model.source in SOURCES else "",
        bytes=model.bytes,
        whole=model.whole,
        folder=model.path if (model.path / "config.json").is_file() else None,
        used=model.used,
        missing=model.missing,
    )


def find_hub_endpoint(source: str) -> str:
    """Return the address of a hub, or of the mirror that the environment sets."""
    from tui_tuner.models.hub.api import find_hub_address as ask

    return ask(source)


def is_hub_offline() -> bool:
    """Return whether the environment forbids network access to hubs."""
    from tui_tuner.models.hub.net import is_network_offline as ask

    return ask()


def find_hub_cache(source: str) -> Path:
    """Return the folder of a hub's cache on this machine."""
    if source == MODELSCOPE:
        from tui_tuner.models.hub.ms_store import find_modelscope_cache

        return find_modelscope_cache()
    from tui_tuner.models.hub.huggingface import find_huggingface_cache as ask

    return Path(ask())


def fetch_listed_model(
    name: str,
    source: str,
    revision: str | None,
    progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
) -> Path:
    """Download a model, or its missing parts, and return its folder.

    Raises:
        TunerError: the hub cannot be reached, refuses or disconnects, or the disk is full.
        Cancelled: `cancelled` returned True.
    """
    from tui_tuner.models.hub.api import fetch_hub_model as ask

    return ask(name, revision=revision, source=source, progress=progress, cancelled=cancelled)


def find_hub_login(source: str) -> Account | None:
    """Return the user that is logged in, if any.

    Raises:
        TunerError: the stored token cannot be read.
    """
    from tui_tuner.models.hub.api import find_hub_user as ask

    return ask(source)


def log_in_user(token: str, source: str) -> Account:
    """Log in with a token and store it.

    Raises:
        TunerError: the hub rejects the token, or it cannot be stored.
    """
    from tui_tuner.models.hub.api import log_in_to_hub as ask

    return ask(token, source)


def log_out_user(source: str) -> None:
    """Delete the stored token.

    Raises:
        TunerError: the token is set by the environment, or cannot be deleted.
    """
    from tui_tuner.models.hub.api import log_out_of_hub as ask

    ask(source)
