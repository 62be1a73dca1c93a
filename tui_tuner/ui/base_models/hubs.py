"""Where the screens of models ask hubs. Every function may take its time: call it in a thread.

The clients of the hubs are imported at the first call.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tui_tuner.models.hub.kinds import MODELSCOPE, SOURCES
from tui_tuner.ui.base_models.rows import HERE, HUB, Row
from tui_tuner.ui.base_models.told import Told, told_of_folder

if TYPE_CHECKING:
    from tui_tuner.models.hub.kinds import Described, LocalModel, Progress, Who

LIMIT = 30  # models of one search


def search(query: str, source: str) -> list[Row]:
    """The models that a hub finds.

    Raises:
        TunerError: it cannot be reached, or refuses.
    """
    from tui_tuner.models.hub.api import search as ask

    return [
        Row(
            found.name,
            HUB,
            found.source,
            found.parameters,
            found.bytes if found.bytes is not None else 2 * found.parameters if found.parameters else None,
            derived=found.bytes is None,
            licence=found.licence,
            gated=found.gated,
            downloads=found.downloads,
            updated=found.updated,
        )
        for found in ask(query, source=source, limit=LIMIT)
    ]


def describe(row: Row) -> Told:
    """What a hub, or the folder of the row, tells of a model.

    Raises:
        TunerError: there is none of this name, or the hub cannot be reached, or refuses.
    """
    if row.folder is not None and (row.whole or not row.on_hub):
        return told_of_folder(row.folder)
    from tui_tuner.models.hub.api import describe as ask

    return _told(ask(row.name, revision=row.revision, source=row.source))


def _told(found: Described) -> Told:
    names = {file.name for file in found.files}
    return Told(
        files=tuple((file.name, file.size) for file in found.files),
        total=found.bytes or None,
        here=found.here,
        config=found.config or {},
        licence=found.licence,
        gated=found.gated,
        safetensors=found.safetensors,
        remote_code=found.remote_code,
        chat_template=True if any(name.startswith("chat_template.") for name in names) else None,
        parameters=found.parameters,
        updated=found.updated,
        page=found.page,
        commit=found.commit,
    )


def here() -> list[Row]:
    """Models in the caches of the hubs, used last first."""
    from tui_tuner.models.hub.api import local_models

    rows: dict[tuple[str, str], Row] = {}
    for row in sorted(map(_row, local_models()), key=lambda row: (not row.whole, -row.used)):
        rows.setdefault((row.source, row.name), row)  # one may be here in several revisions
    return sorted(rows.values(), key=lambda row: -row.used)


def _row(model: LocalModel) -> Row:
    return Row(
        model.name if model.source in SOURCES else str(model.path.absolute()),
        HERE,
        model.source if model.source in SOURCES else "",
        bytes=model.bytes,
        whole=model.whole,
        folder=model.path if (model.path / "config.json").is_file() else None,
        used=model.used,
        missing=model.missing,
    )


def endpoint(source: str) -> str:
    """The address of a hub: a mirror, where the environment names one."""
    from tui_tuner.models.hub.api import endpoint as ask

    return ask(source)


def is_offline() -> bool:
    """Whether the environment forbids to ask a hub."""
    from tui_tuner.models.hub.net import is_offline as ask

    return ask()


def cache_folder(source: str) -> Path:
    """Where a hub's models are kept on this machine."""
    if source == MODELSCOPE:
        from tui_tuner.models.hub.ms_store import cache_root

        return cache_root()
    from tui_tuner.models.hub.huggingface import cache_folder as ask

    return Path(ask())


def fetch(
    name: str,
    source: str,
    revision: str | None,
    progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
) -> Path:
    """Fetch a model, or what is missing of it; the folder that it is in then.

    Raises:
        TunerError: the hub cannot be reached, refuses or breaks off, or the disk is full.
        Cancelled: it was asked to stop.
    """
    from tui_tuner.models.hub.api import fetch as ask

    return ask(name, revision=revision, source=source, progress=progress, cancelled=cancelled)


def who(source: str) -> Who | None:
    """Who is logged in; None for nobody.

    Raises:
        TunerError: the token that there is cannot be read.
    """
    from tui_tuner.models.hub.api import who as ask

    return ask(source)


def login(token: str, source: str) -> Who:
    """Log in with a token, and keep it for later.

    Raises:
        TunerError: the hub does not know it, or it cannot be kept.
    """
    from tui_tuner.models.hub.api import login as ask

    return ask(token, source)


def logout(source: str) -> None:
    """Forget the token that is kept.

    Raises:
        TunerError: it is given by the environment, or cannot be deleted.
    """
    from tui_tuner.models.hub.api import logout as ask

    ask(source)
