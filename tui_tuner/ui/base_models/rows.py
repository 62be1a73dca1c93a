"""The list of models one can begin with: of this machine, known beforehand, found by a hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.models.hub.kinds import HUGGINGFACE, LABELS

HERE, KNOWN, HUB, TYPED = "here", "known", "hub", "typed"  # where a row comes from, in the order of the list
PLACES = (HERE, HUB, TYPED, KNOWN)
ORDERS = ("given", "smallest", "largest", "name", "downloads")
_EMBEDDED = ("demo", "tiny")
_WEIGHTS = (".safetensors", ".bin")
_MOST_FOLDERS, _MOST_NEAR = 400, 40  # that are looked into, and that are listed


@dataclass(frozen=True)
class Row:
    """One model of the list.

    Args:
        name: What `model.name` takes: a hub id, a folder, `demo` or `tiny`.
        place: Where the row comes from (one of `PLACES`).
        source: The hub that it is of; empty for a folder and what is inside this package.
        parameters: How many; None where nobody knows.
        bytes: On the disk, of a model of this machine; of others what a download takes. None: unknown.
        whole: Of this machine, and nothing of it is missing.
        total: Bytes of the whole, of one that is here in part; None where nobody knows.
        derived: `bytes` follows from the number of parameters: 16 bits each.
        folder: Where its config.json is on this machine.
        missing: What one that is here in part lacks, in words.
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
        """What tells rows apart, also in the list on the screen."""
        return f"{self.source}:{self.name}@{self.revision or ''}"

    @property
    def here(self) -> bool:
        """Whether something of it is on this machine."""
        return self.place == HERE

    @property
    def partial(self) -> bool:
        """Whether a part of it is on this machine."""
        return self.here and not self.whole

    @property
    def on_hub(self) -> bool:
        """Whether a hub can be asked for it."""
        return bool(self.source)


@dataclass(frozen=True)
class View:
    """What of the list is shown, and in which order.

    Args:
        fitting: Only models that fit, or of which that is not known yet.
        licence: Only models with this licence; empty for all.
    """

    fitting: bool = False
    licence: str = ""
    order: str = "given"


def embedded() -> list[Row]:
    """The models inside this package; a plan of them needs no network."""
    return [Row(name, HERE, whole=True) for name in _EMBEDDED]


@cache
def known(source: str = HUGGINGFACE) -> list[Row]:
    """Models whose shapes this package knows, one name of each, smallest first."""
    from tui_tuner.models.catalog import entries
    from tui_tuner.models.facts import facts_from_config

    rows = []
    for entry in entries():
        count = entry.parameters or facts_from_config(entry.config).parameters
        rows.append(Row(_plainest(entry.ids), KNOWN, source, count, 2 * count, derived=True))
    return sorted(rows, key=lambda row: row.parameters or 0)


def _plainest(ids: Sequence[str]) -> str:
    """One name for a shape: where there is one, a model tuned to answer, for it has a chat template."""
    tuned = [name for name in ids if name.lower().endswith(("-instruct", "-it", "-chat"))]
    owned = [name for name in ids if "/" in name]
    return (tuned or owned or list(ids))[-1]


def folders_near(roots: Iterable[Path]) -> list[Row]:
    """Folders with a model in them, in these folders and in theirs; not in hidden ones."""
    found: dict[Path, Row] = {}
    for looked, folder in enumerate(_folders(roots), 1):
        if looked > _MOST_FOLDERS or len(found) >= _MOST_NEAR:
            break
        row = _folder_row(folder)
        if row is not None:
            found.setdefault(folder, row)
    return sorted(found.values(), key=lambda row: -row.used)


def _folders(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        yield root
        for child in _children(root):
            yield child
            yield from _children(child)


def _children(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(one.path)
                for one in entries
                if not one.name.startswith((".", "__")) and one.is_dir(follow_symlinks=False)
            )[:100]
    except OSError:
        return []


def _folder_row(folder: Path) -> Row | None:
    """The row of a folder with a model; None for one without weights and a config."""
    try:
        if not (folder / "config.json").is_file():
            return None
        with os.scandir(folder) as entries:
            files = [(one.name, one.stat()) for one in entries if one.is_file()]
    except OSError:
        return None
    if not any(name.endswith(_WEIGHTS) for name, _stat in files):
        return None
    size, used = sum(stat.st_size for _name, stat in files), max(stat.st_mtime for _name, stat in files)
    return Row(str(folder.absolute()), HERE, bytes=size, whole=True, folder=folder.absolute(), used=used)


def matching(rows: Iterable[Row], query: str) -> list[Row]:
    """The rows whose names hold all words of a query, in upper or lower case."""
    words = query.lower().split()
    return [row for row in rows if all(word in row.name.lower() for word in words)]


def typed(query: str, source: str, others: Iterable[Row]) -> list[Row]:
    """A row for what was typed, where it looks like a hub id and nothing else in the list is called so."""
    name = query.strip()
    if not looks_like_id(name) or any(row.name.lower() == name.lower() for row in others):
        return []
    return [Row(name, TYPED, source)]


def looks_like_id(name: str) -> bool:
    """Whether this may be the id of a model on a hub: `owner/name`."""
    owner, slash, rest = name.partition("/")
    letters = f"{owner}{rest}".replace("-", "").replace("_", "").replace(".", "")
    return bool(slash and owner and rest and letters.isascii() and letters.isalnum()) and len(name) <= 96


def merged(here: Sequence[Row], found: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """One list without doubles; what a hub tells of a model that is here goes with its row."""
    told = {(row.source, row.name.lower()): row for row in found}
    first = [_told(row, told.get((row.source, row.name.lower()))) for row in here]
    seen = {(row.source, row.name.lower()) for row in here}
    rest = []
    for row in (*found, *others):
        place = (row.source, row.name.lower())
        if place not in seen:
            seen.add(place)
            rest.append(row)
    return [*first, *rest]


def _told(row: Row, hub: Row | None) -> Row:
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


def ordered(rows: Sequence[Row], order: str) -> list[Row]:
    """The rows in another order, within each place."""
    by = {
        "smallest": lambda row: row.bytes if row.bytes is not None else 1 << 62,
        "largest": lambda row: -(row.bytes or 0),
        "name": lambda row: row.name.lower(),
        "downloads": lambda row: -(row.downloads or 0),
    }.get(order)
    places = [[row for row in rows if row.place == place] for place in PLACES]
    return [row for place in places for row in (sorted(place, key=by) if by else place)]


def licences(rows: Iterable[Row]) -> list[str]:
    """The licences that there are in a list, the most frequent first."""
    names = [row.licence for row in rows if row.licence]
    return sorted(set(names), key=lambda name: (-names.count(name), name))


def place_words(place: str, source: str) -> str:
    """The heading of a part of the list."""
    if place == HERE:
        return _("On this machine")
    if place == KNOWN:
        return _("Known beforehand, to be fetched")
    if place == TYPED:
        return _("As it was typed")
    return _("Found on {hub}", hub=hub_words(source))


def hub_words(source: str) -> str:
    """What a hub calls itself."""
    return LABELS.get(source, source)
