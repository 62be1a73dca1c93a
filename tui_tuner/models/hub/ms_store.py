"""Models of ModelScope on this machine: a folder for each revision, in the cache of this program.

Files have their own names there, so that transformers loads the folder; what is still on its way lies in
`.parts`, and `.fetched.json` tells which version of each file is here. A file of another version stays until
all that a fetch takes has come, so that one that is left breaks no model that worked.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tui_tuner.models.hub import modelscope
from tui_tuner.models.hub.choice import is_inside
from tui_tuner.models.hub.kinds import Described, HubFile
from tui_tuner.models.hub.transfer import Item

PARTS = ".parts"
NOTE = ".fetched.json"
VARIABLE = "TUI_TUNER_MODELS"  # names another folder for the cache


def cache_root() -> Path:
    """`TUI_TUNER_MODELS`, or a folder in the user's cache."""
    told = os.environ.get(VARIABLE)
    if told:
        return Path(told).expanduser() / "modelscope"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "tui-tuner" / "models" / "modelscope"


def folder_of(name: str, revision: str | None) -> Path | None:
    """The folder of a revision; None if nothing of it is here."""
    place = _place(name, revision)
    return place if place.is_dir() else None


def _place(name: str, revision: str | None) -> Path:
    """Names as they are; only what a name cannot have in a path is written in another way."""
    owner, _unused, model = name.partition("/")
    parts = [quote(part, safe="") for part in (owner, model, revision or modelscope.BRANCH)]
    return cache_root().joinpath(
        *(part.replace(".", "%2E") if set(part) == {"."} else part for part in parts)
    )


def all_folders() -> Iterator[tuple[str, str, Path]]:
    """Name, revision and folder of all that is here."""
    for place in sorted(cache_root().glob("*/*/*")):
        if place.is_dir():
            owner, model, revision = (unquote(part) for part in place.parts[-3:])
            yield f"{owner}/{model}", revision, place


class ModelScopeStore:
    """One revision of a model."""

    variable = VARIABLE

    def __init__(self, model: Described) -> None:
        self._model = model
        self.folder = _place(model.name, model.revision)
        self._noted = _read_note(self.folder)
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        return modelscope.client()

    @property
    def disk(self) -> Path:
        return self.folder

    def here(self, file: HubFile) -> tuple[int, bool]:
        """How many bytes of a file are here, and whether it is whole and of this version."""
        places = [self._new(file)]
        if self._noted.get(file.name, "") == file.sha256:
            places.append(self.folder / file.name)
        for place in places:
            with suppress(OSError):
                size = place.stat().st_size
                if file.size in (None, size):
                    return size, True
        return self._part_of(file), False

    def _part_of(self, file: HubFile) -> int:
        try:
            return min(self._part(file).stat().st_size, file.size or 2**63)
        except OSError:
            return 0

    def _part(self, file: HubFile) -> Path:
        """Named by the version too: a part of another version is no beginning of this one."""
        return self.folder / PARTS / f"{quote(file.name, safe='')}.{file.sha256[:16] or 'unknown'}"

    def _new(self, file: HubFile) -> Path:
        """Where a file waits, whole, to take the place of one of another version."""
        part = self._part(file)
        return part.with_name(f"{part.name}.new")

    def item(self, file: HubFile) -> Item:
        revision = self._model.revision or modelscope.BRANCH
        place, part = self.folder / file.name, self._part(file)
        return Item(
            file.name,
            modelscope.file_url(self._model.name, file.name, revision),
            part,
            self._new(file) if place.exists() else place,
            part.with_name(f"{part.name}.lock"),
            file.size,
            sha256=file.sha256,
            headers=modelscope.headers(),
        )

    def settle(self, file: HubFile) -> None:
        """Note which version of a file is here, unless it waits."""
        if not self._new(file).exists():
            self._note({file.name: file.sha256})

    def finish(self, files: list[HubFile]) -> Path:
        """Put what waits into its place; once all of a model is here, remove what the hub no longer has."""
        come = {file.name: file.sha256 for file in files if self._new(file).exists()}
        for file in files:
            if file.name in come:
                os.replace(self._new(file), self.folder / file.name)
        gone: set[str] = set()
        if len(files) == len(self._model.files):
            gone = {name for name in self._noted if is_inside(name)} - {file.name for file in files}
        for name in gone:
            (self.folder / name).unlink(missing_ok=True)
        if come or gone:
            self._note(come, gone)
        return self.folder

    def _note(self, come: Mapping[str, str], gone: Collection[str] = ()) -> None:
        with self._lock:  # several workers settle files
            note = {**_read_note(self.folder), **come}
            self._noted = {name: sha for name, sha in note.items() if name not in gone}
            new = self.folder / f"{NOTE}.{os.getpid()}"
            new.write_text(json.dumps(self._noted, indent=1, sort_keys=True), encoding="utf-8")
            os.replace(new, self.folder / NOTE)


def _read_note(folder: Path) -> dict[str, str]:
    try:
        values = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): str(sha) for name, sha in values.items()} if isinstance(values, dict) else {}
