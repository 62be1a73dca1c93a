"""The cache of huggingface_hub, as a fetch fills it: blobs by checksum, snapshots of links, branches.

Bytes are brought by `transfer`, as the client itself throws away what it had of a broken file, in plain HTTP
as with xet. Links are made by the client, and transformers finds the model with or without a network.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from tui_tuner.errors import HubError
from tui_tuner.locales import _
from tui_tuner.models.hub.huggingface import HuggingFace, cache_folder
from tui_tuner.models.hub.kinds import Described, HubFile
from tui_tuner.models.hub.net import SECONDS, patience, session
from tui_tuner.models.hub.transfer import Item
from tui_tuner.text import one_line

BRANCH = "main"


def repository(name: str) -> Path:
    """The folder of a model in the cache, whether it is there or not."""
    return Path(cache_folder()) / ("models--" + name.replace("/", "--"))


def snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of a revision in the cache; None if nothing of it is there."""
    folder = repository(name)
    asked_for = revision or BRANCH
    commit = asked_for
    with suppress(OSError, ValueError):
        commit = (folder / "refs" / asked_for).read_text(encoding="utf-8").strip() or asked_for
    found = folder / "snapshots" / commit
    return found if commit not in ("", ".", "..") and found.is_dir() else None


class HuggingFaceStore:
    """One commit of a model in the cache of huggingface_hub."""

    variable = "HF_HOME"  # names another folder for the cache

    def __init__(self, model: Described) -> None:
        if not model.commit:
            raise HubError(
                _("the hub does not say which commit this is."),
                where=one_line(model.name),
                hint=_("Is HF_ENDPOINT the address of a hub?"),
            )
        self._model = model
        self._repository = repository(model.name)
        self.folder = self._repository / "snapshots" / model.commit

    @property
    def client(self) -> Any:
        return session()

    def here(self, file: HubFile) -> tuple[int, bool]:
        """How many bytes of a file are here, and whether it is whole."""
        place = self.folder / file.name
        try:
            size = place.stat().st_size
        except OSError:
            return self._part_of(file), False
        if file.size is not None and size != file.size:
            return self._part_of(file), False
        return size, True

    def _part_of(self, file: HubFile) -> int:
        name = file.sha256 or file.git
        for path in (self._blob(name), self._part(name)) if name else ():
            try:
                return min(path.stat().st_size, file.size or 2**63)
            except OSError:
                continue
        return 0

    def _blob(self, name: str) -> Path:
        return self._repository / "blobs" / name

    def _part(self, name: str) -> Path:
        return self._repository / "blobs" / f"{name}.incomplete"

    def item(self, file: HubFile) -> Item:
        """Where a file is had from and where it goes, by the hub's own answer for it."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import get_hf_file_metadata
        from huggingface_hub.utils import build_hf_headers

        model = self._model
        url = hf_hub_url(model.name, file.name, revision=model.commit, endpoint=HuggingFace.endpoint())
        found = get_hf_file_metadata(url, timeout=patience())
        blob = found.etag or file.sha256 or file.git
        if not blob or "/" in blob or blob in (".", ".."):
            raise HubError(_("the hub tells no version of it."), where=one_line(file.name))
        lock = Path(cache_folder()) / ".locks" / self._repository.name / f"{blob}.lock"
        self._forget_damaged(file, blob, found.size)
        return Item(
            file.name,
            url,
            self._part(blob),
            self._blob(blob),
            lock,
            file.size if file.size is not None else found.size,
            # large files are named by their SHA-256, small ones by git's SHA-1
            sha256=file.sha256 or (blob if len(blob) == 64 else ""),
            git=file.git or (blob if len(blob) == 40 else ""),
            headers=build_hf_headers(),
        )

    def _forget_damaged(self, file: HubFile, blob: str, told: int | None) -> None:
        """Remove a blob of another size than the hub tells: the client would take it as it is."""
        wanted, path = file.size if file.size is not None else told, self._blob(blob)
        if wanted is not None and path.exists() and path.stat().st_size != wanted:
            path.unlink()

    def settle(self, file: HubFile) -> None:
        """Let the client of the hub link a blob into the snapshot; what lies there already it leaves."""
        from huggingface_hub import hf_hub_download

        place = self.folder / file.name
        if place.is_symlink() and not place.exists():
            place.unlink()
        hf_hub_download(self._model.name, file.name, revision=self._model.commit, etag_timeout=SECONDS)

    def finish(self, files: list[HubFile]) -> Path:
        """Note which commit a branch is, when all of it is here, so that it is found without a network."""
        revision = self._model.revision or BRANCH
        if revision != self._model.commit:
            place = self._repository / "refs" / revision
            place.parent.mkdir(parents=True, exist_ok=True)
            new = place.with_name(f"{place.name}.{os.getpid()}.new")
            new.write_text(self._model.commit, encoding="utf-8")
            os.replace(new, place)
        return self.folder

    @property
    def disk(self) -> Path:
        return self._repository
