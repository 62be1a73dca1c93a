"""The rows of the model list: models on this machine, in the catalogue, and found on a hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import HUGGINGFACE, LABELS

HERE, KNOWN, HUB, TYPED = "here", "known", "hub", "typed"  # the origins of a row
PLACES = (HERE, HUB, TYPED, KNOWN)
ORDERS = ("given", "smallest", "largest", "name", "downloads")
_EMBEDDED = ("demo", "tiny")
_WEIGHTS = (".safetensors", ".bin")
_MOST_FOLDERS, _MOST_NEAR = 400, 40  # searched, and listed


@dataclass(frozen=True)
class ModelRow:
    """One model of the list.

    Args:
        name: A value of `model.name`: a hub id, a folder, `demo` or `tiny`.
        place: The row's origin (one of `PLACES`).
        source: Its hub; empty for a folder and embedded models.
        parameters: Their number; None if unknown.
        bytes: Size on disk for a model on this machine, otherwise of a download; None if unknown.
        whole: It is on this machine, and complete.
        total: Bytes of the whole model if it is incomplete here; None if unknown.
        derived: `bytes` is computed from the number of parameters, 16 bits each.
        folder: The folder of its config.json on this machine.
        missing: What is missing of an incomplete model, in words.
    """

    name: str
    place: str
    source: str = ""
    parameters: int | None = None
    bytes: int | None = None
    whole: bool = False
    total: int | None = None
    derived: bool = False
    licence: str = ""
    gated: bool = False
    downloads: int | None = None
    updated: str = ""
    revision: str | None = None
    folder: Path | None = None
    used: float = 0.0
    missing: str = ""

    @property
    def key(self) -> str:
        """The row's identity, also in the list on the screen."""
        return f"{self.source}:{self.name}@{self.revision or ''}"

    @property
    def is_here(self) -> bool:
        """True if at least a part of it is on this machine."""
        return self.place == HERE

    @property
    def is_partial(self) -> bool:
        """True if only a part of it is on this machine."""
        return self.is_here and not self.whole

    @property
    def on_hub(self) -> bool:
        """True if it comes from a hub."""
        return bool(self.source)


@dataclass(frozen=True)
class RowFilter:
    """Filter and order of the list.

    Args:
        fitting: Only models that fit, or whose fit is not known yet.
        licence: Only models with this licence; empty for all.
    """

    fitting: bool = False
    licence: str = ""
    order: str = "given"


def list_embedded_models() -> list[ModelRow]:
    """Return the models inside this package."""
    return [ModelRow(name, HERE, whole=True) for name in _EMBEDDED]


@cache
def list_known_models(source: str = HUGGINGFACE) -> list[ModelRow]:
    """Return the models of the catalogue, one name per shape, smallest first."""
    from tui_tuner.models.catalog import list_catalog_entries
    from tui_tuner.models.facts import read_config_facts

    rows = []
    for entry in list_catalog_entries():
        count = entry.parameters or read_config_facts(entry.config).parameters
        rows.append(ModelRow(_choose_name(entry.ids), KNOWN, source, count, 2 * count, derived=True))
    return sorted(rows, key=lambda row: row.parameters or 0)


def _choose_name(ids: Sequence[str]) -> str:
    """Choose one name for a shape: if possible an instruct model, as these have a chat template."""
    tuned = [name for name in ids if name.lower().endswith(("-instruct", "-it", "-chat"))]
    owned = [name for name in ids if "/" in name]
    return (tuned or owned or list(ids))[-1]


def find_folders_near(roots: Iterable[Path]) -> list[ModelRow]:
    """Return model folders among these folders and up to two levels below; hidden ones are skipped."""
    found: dict[Path, ModelRow] = {}
    for looked, folder in enumerate(_iterate_folders(roots), 1):
        if looked > _MOST_FOLDERS or len(found) >= _MOST_NEAR:
            break
        row = _folder_row(folder)
        if row is not None:
            found.setdefault(folder, row)
    return sorted(found.values(), key=lambda row: -row.used)


def _iterate_folders(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        yield root
        for child in _list_children(root):
            yield child
            yield from _list_children(child)


def _list_children(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(one.path)
                for one in entries
                if not one.name.startswith((".", "__")) and one.is_dir(follow_symlinks=False)
                # A folder with thousands of entries, such as a data set of images, must not use up the whole
                # search.
            )[:100]
    except OSError:
        return []


def _folder_row(folder: Path) -> ModelRow | None:
    """Return the row of a model's folder; None if it has no weights or no config."""
    try:
        # Tested first, since nearly all folders fail here, and listing each would be slow.
        if not (folder / "config.json").is_file():
            return None
        with os.scandir(folder) as entries:
            files = [(one.name, one.stat()) for one in entries if one.is_file()]
    except OSError:
        return None
    if not any(name.endswith(_WEIGHTS) for name, _stat in files):
        return None
    size, used = sum(stat.st_size for _name, stat in files), max(stat.st_mtime for _name, stat in files)
    return ModelRow(str(folder.absolute()), HERE, bytes=size, whole=True, folder=folder.absolute(), used=used)


def filter_model_rows(rows: Iterable[ModelRow], query: str) -> list[ModelRow]:
    """Return the rows whose names contain all words of a query, ignoring case."""
    words = query.lower().split()
    return [row for row in rows if all(word in row.name.lower() for word in words)]


def make_typed_rows(query: str, source: str, others: Iterable[ModelRow]) -> list[ModelRow]:
    """Return a row for the typed text if it looks like a hub id that no other row has."""
    name = query.strip()
    if not looks_like_hub_id(name) or any(row.name.lower() == name.lower() for row in others):
        return []
    return [ModelRow(name, TYPED, source)]


def looks_like_hub_id(name: str) -> bool:
    """Return whether a text may be the id of a model on a hub: `owner/name`."""
    owner, slash, rest = name.partition("/")
    letters = f"{owner}{rest}".replace("-", "").replace("_", "").replace(".", "")
    return bool(slash and owner and rest and letters.isascii() and letters.isalnum()) and len(name) <= 96


def merge_rows(
    here: Sequence[ModelRow], found: Sequence[ModelRow], others: Sequence[ModelRow]
) -> list[ModelRow]:
    """Merge the lists without duplicates; facts from a hub are added to rows of this machine."""
    # Hub ids ignore case, and caches may have another spelling than the search.
    told = {(row.source, row.name.lower()): row for row in found}
    first = [_add_hub_facts(row, told.get((row.source, row.name.lower()))) for row in here]
    seen = {(row.source, row.name.lower()) for row in here}
    rest = []
    for row in (*found, *others):
        place = (row.source, row.name.lower())
        if place not in seen:
            seen.add(place)
            rest.append(row)
    return [*first, *rest]


def _add_hub_facts(row: ModelRow, hub: ModelRow | None) -> ModelRow:
    if hub is None:
        return row
    return replace(
        row,
        parameters=row.parameters or hub.parameters,
        total=row.total or hub.bytes,
        licence=row.licence or hub.licence,
        gated=hub.gated,
        downloads=hub.downloads,
        updated=hub.updated,
    )


def sort_model_rows(rows: Sequence[ModelRow], order: str) -> list[ModelRow]:
    """Sort the rows within each place."""
    by = {
        "smallest": lambda row: row.bytes if row.bytes is not None else 1 << 62,
        "largest": lambda row: -(row.bytes or 0),
        "name": lambda row: row.name.lower(),
        "downloads": lambda row: -(row.downloads or 0),
    }.get(order)
    places = [[row for row in rows if row.place == place] for place in PLACES]
    return [row for place in places for row in (sorted(place, key=by) if by else place)]


def list_licences(rows: Iterable[ModelRow]) -> list[str]:
    """Return the licences in a list, most frequent first."""
    names = [row.licence for row in rows if row.licence]
    return sorted(set(names), key=lambda name: (-names.count(name), name))


def name_list_place(place: str, source: str) -> str:
    """Return the heading of a part of the list."""
    if place == HERE:
        return _("On this machine")
    if place == KNOWN:
        return _("In the catalogue, to be downloaded")
    if place == TYPED:
        return _("As typed")
    return _("Found on {hub}", hub=format_hub_name(source))


def format_hub_name(source: str) -> str:
    """Return the display name of a hub."""
    return LABELS.get(source, source)
