"""Fill the cache of huggingface_hub: blobs by checksum, snapshots of links, branches.

Bytes are downloaded by `transfer`, because the client itself discards the part it had of a broken file, both
with plain HTTP and with xet. The client makes the links, so transformers finds the model with or without a
network.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from tui_tuner.errors import HubError
from tui_tuner.locales import _
from tui_tuner.models.hub.huggingface import HuggingFace, find_huggingface_cache
from tui_tuner.models.hub.kinds import HubFile, ModelDescription
from tui_tuner.models.hub.net import SECONDS, get_http_session, make_request_timeouts
from tui_tuner.models.hub.transfer import DownloadItem
from tui_tuner.text import one_line

BRANCH = "main"


def find_cached_repository(name: str) -> Path:
    """Return the folder of a model in the cache, whether it exists or not."""
    return Path(find_huggingface_cache()) / ("models--" + name.replace("/", "--"))


def find_cached_snapshot(name: str, revision: str | None) -> Path | None:
    """Return the folder of a revision in the cache, or None if it is not there."""
    folder = find_cached_repository(name)
    asked_for = revision or BRANCH
    commit = asked_for
    with suppress(OSError, ValueError):
        commit = (folder / "refs" / asked_for).read_text(encoding="utf-8").strip() or asked_for
    found = folder / "snapshots" / commit
    # The file in `refs` may hold anything; those names would lead out of `snapshots`.
    return found if commit not in ("", ".", "..") and found.is_dir() else None


class HuggingFaceStore:
    """One commit of a model in the cache of huggingface_hub."""

    variable = "HF_HOME"  # names another folder for the cache

    def __init__(self, model: ModelDescription) -> None:
        if not model.commit:
            raise HubError(
                _("the hub did not report a commit for this model."),
                where=one_line(model.name),
                hint=_("Check that HF_ENDPOINT is the address of a hub."),
            )
        self._model = model
        self._repository = find_cached_repository(model.name)
        self.folder = self._repository / "snapshots" / model.commit

    @property
    def http_client(self) -> Any:
        return get_http_session()

    def measure_file(self, file: HubFile) -> tuple[int, bool]:
        """Return how many bytes of a file are here, and whether it is complete."""
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
        # A blob may be complete and not linked yet; a part that is too long counts no more than the file.
        for path in (self._blob_path(name), self._part_path(name)) if name else ():
            try:
                return min(path.stat().st_size, file.size or 2**63)
            except OSError:
                continue
        return 0

    def _blob_path(self, name: str) -> Path:
        return self._repository / "blobs" / name

    def _part_path(self, name: str) -> Path:
        return self._repository / "blobs" / f"{name}.incomplete"

    def request_item(self, file: HubFile) -> DownloadItem:
        """Ask the hub for a file's address and version, and return where to download it to."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import get_hf_file_metadata
        from huggingface_hub.utils import build_hf_headers

        model = self._model
        url = hf_hub_url(model.name, file.name, revision=model.commit, endpoint=HuggingFace.hub_address())
        found = get_hf_file_metadata(url, timeout=make_request_timeouts())
        blob = found.etag or file.sha256 or file.git
        # The version becomes the name of a file, so a hub could otherwise write outside of the cache.
        if not blob or "/" in blob or blob in (".", ".."):
            raise HubError(_("the hub reports no version of this file."), where=one_line(file.name))
        lock = Path(find_huggingface_cache()) / ".locks" / self._repository.name / f"{blob}.lock"
        self._delete_damaged(file, blob, found.size)
        return DownloadItem(
            file.name,
            url,
            self._part_path(blob),
            self._blob_path(blob),
            lock,
            file.size if file.size is not None else found.size,
            # The hub identifies large files by their SHA-256 and small ones by git's SHA-1.
            sha256=file.sha256 or (blob if len(blob) == 64 else ""),
            git=file.git or (blob if len(blob) == 40 else ""),
            headers=build_hf_headers(),
        )

    def _delete_damaged(self, file: HubFile, blob: str, told: int | None) -> None:
        """Delete a blob whose size is wrong: the client would accept it unchecked."""
        wanted, path = file.size if file.size is not None else told, self._blob_path(blob)
        if wanted is not None and path.exists() and path.stat().st_size != wanted:
            path.unlink()

    def settle_file(self, file: HubFile) -> None:
        """Let the hub's client link a blob into the snapshot; a file that is already there stays."""
        from huggingface_hub import hf_hub_download

        place = self.folder / file.name
        # The client keeps whatever is there, even a link whose blob was deleted.
        if place.is_symlink() and not place.exists():
            place.unlink()
        hf_hub_download(self._model.name, file.name, revision=self._model.commit, etag_timeout=SECONDS)

    def finish_model(self, files: list[HubFile]) -> Path:
        """Record the commit of a branch after all files have arrived, so that it is found offline."""
        revision = self._model.revision or BRANCH
        if revision != self._model.commit:
            place = self._repository / "refs" / revision
            place.parent.mkdir(parents=True, exist_ok=True)
            # Replaced in one step: another process may read the branch at any time.
            new = place.with_name(f"{place.name}.{os.getpid()}.new")
            new.write_text(self._model.commit, encoding="utf-8")
            os.replace(new, place)
        return self.folder

    @property
    def target_folder(self) -> Path:
        return self._repository
