"""Keep models of ModelScope on this machine: a folder for each revision, in this program's cache.

Files have their own names there, so that transformers can load the folder. Unfinished files are in `.parts`,
and `.fetched.json` records which version of each file is here. A file of an older version stays until the
whole download is complete, so that an abandoned download does not break a working model.
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
from tui_tuner.models.hub.choice import is_inside_folder
from tui_tuner.models.hub.kinds import HubFile, ModelDescription
from tui_tuner.models.hub.transfer import DownloadItem

PARTS = ".parts"
NOTE = ".fetched.json"
VARIABLE = "TUI_TUNER_MODELS"  # environment variable for another cache folder


def find_modelscope_cache() -> Path:
    """Return `TUI_TUNER_MODELS`, or a folder in the user's cache."""
    told = os.environ.get(VARIABLE)
    if told:
        return Path(told).expanduser() / "modelscope"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "tui-tuner" / "models" / "modelscope"


def find_modelscope_folder(name: str, revision: str | None) -> Path | None:
    """Return the folder of a revision, or None if nothing of it is here."""
    place = _revision_folder(name, revision)
    return place if place.is_dir() else None


def _revision_folder(name: str, revision: str | None) -> Path:
    """Return the path for a revision; characters that a path cannot hold are quoted."""
    owner, _unused, model = name.partition("/")
    parts = [quote(part, safe="") for part in (owner, model, revision or modelscope.BRANCH)]
    # `quote` leaves dots alone, and a part of dots only would lead out of the cache.
    return find_modelscope_cache().joinpath(
        *(part.replace(".", "%2E") if set(part) == {"."} else part for part in parts)
    )


def list_modelscope_folders() -> Iterator[tuple[str, str, Path]]:
    """Yield name, revision and folder of every model in the cache."""
    for place in sorted(find_modelscope_cache().glob("*/*/*")):
        if place.is_dir():
            owner, model, revision = (unquote(part) for part in place.parts[-3:])
            yield f"{owner}/{model}", revision, place


class ModelScopeStore:
    """One revision of a ModelScope model in the cache."""

    variable = VARIABLE

    def __init__(self, model: ModelDescription) -> None:
        self._model = model
        self.folder = _revision_folder(model.name, model.revision)
        self._noted = _read_note(self.folder)
        self._lock = threading.Lock()

    @property
    def http_client(self) -> Any:
        return modelscope.make_modelscope_client()

    @property
    def target_folder(self) -> Path:
        return self.folder

    def measure_file(self, file: HubFile) -> tuple[int, bool]:
        """Return how many bytes of a file are here, and whether it is complete and of this version."""
        places = [self._waiting_path(file)]
        # Without a checksum on either side the name and the size decide.
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
            return min(self._part_path(file).stat().st_size, file.size or 2**63)
        except OSError:
            return 0

    def _part_path(self, file: HubFile) -> Path:
        """Return the path of an unfinished file."""
        # The version is in the name: a part of another version is not the beginning of this one.
        return self.folder / PARTS / f"{quote(file.name, safe='')}.{file.sha256[:16] or 'unknown'}"

    def _waiting_path(self, file: HubFile) -> Path:
        """Return where a complete file waits to replace one of another version."""
        part = self._part_path(file)
        return part.with_name(f"{part.name}.new")

    def request_item(self, file: HubFile) -> DownloadItem:
        revision = self._model.revision or modelscope.BRANCH
        place, part = self.folder / file.name, self._part_path(file)
        return DownloadItem(
            file.name,
            modelscope.make_modelscope_url(self._model.name, file.name, revision),
            part,
            self._waiting_path(file) if place.exists() else place,
            part.with_name(f"{part.name}.lock"),
            file.size,
            sha256=file.sha256,
            headers=modelscope.make_modelscope_headers(),
        )

    def settle_file(self, file: HubFile) -> None:
        """Record which version of a file is here, unless it still waits."""
        if not self._waiting_path(file).exists():
            self._write_note({file.name: file.sha256})

    def finish_model(self, files: list[HubFile]) -> Path:
        """Move waiting files into place; then delete files that the hub no longer has."""
        come = {file.name: file.sha256 for file in files if self._waiting_path(file).exists()}
        for file in files:
            if file.name in come:
                os.replace(self._waiting_path(file), self.folder / file.name)
        gone: set[str] = set()
        # A fetch without weights must not delete the weights that an earlier one brought.
        if len(files) == len(self._model.files):
            # The note is a file that others can edit; a name such as ../x must not delete anything.
            gone = {name for name in self._noted if is_inside_folder(name)} - {file.name for file in files}
        for name in gone:
            (self.folder / name).unlink(missing_ok=True)
        if come or gone:
            self._write_note(come, gone)
        return self.folder

    def _write_note(self, come: Mapping[str, str], gone: Collection[str] = ()) -> None:
        # Several workers settle files at the same time.
        with self._lock:
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
