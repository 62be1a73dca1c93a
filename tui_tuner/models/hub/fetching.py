"""Download a model to this machine: what is missing, free space, parallel files, and progress."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.models.hub import hub_errors
from tui_tuner.models.hub.choice import is_weight_file
from tui_tuner.models.hub.clients import find_hub_client
from tui_tuner.models.hub.hf_store import HuggingFaceStore
from tui_tuner.models.hub.kinds import (
    MODELSCOPE,
    CancelledCall,
    FetchCancelled,
    HubFile,
    ModelDescription,
    Progress,
    ProgressCall,
)
from tui_tuner.models.hub.local import find_complete_model
from tui_tuner.models.hub.ms_store import ModelScopeStore
from tui_tuner.models.hub.net import is_network_offline
from tui_tuner.models.hub.transfer import DownloadItem, DownloadWatch, call_patiently, download_file
from tui_tuner.text import one_line

WORKERS = 4
POLL_SECONDS = 0.1
SAY_SECONDS = 0.2
# A download that stands still is reported again after this time, so that a screen knows it is alive.
STILL_SECONDS = 2.0
# Time for workers to end after a stop; one that hangs in a system call is left behind.
LET_GO_SECONDS = 1.5
RATE_SECONDS = 8.0
_MARGIN = 256 << 20


class Store(Protocol):
    """The local cache that the files of one model are written to."""

    @property
    def http_client(self) -> Any: ...
    @property
    def target_folder(self) -> Path: ...
    @property
    def variable(self) -> str: ...
    def measure_file(self, file: HubFile) -> tuple[int, bool]: ...
    def request_item(self, file: HubFile) -> DownloadItem: ...
    def settle_file(self, file: HubFile) -> None: ...
    def finish_model(self, files: list[HubFile]) -> Path: ...


def download_model(
    name: str,
    revision: str | None,
    source: str,
    progress: ProgressCall,
    cancelled: CancelledCall,
    weights: bool = True,
) -> Path:
    """Download a model; see `api.fetch_hub_model`."""
    client = find_hub_client(source)
    if is_network_offline() and (found := find_complete_model(name, revision, source, weights)) is not None:
        return found
    progress(Progress("", 0, 0, 0, 0))
    model = _call_cancellable(lambda: client.describe_model(name, revision), cancelled)
    store = _choose_store(model)
    files = [file for file in model.files if weights or not is_weight_file(file.name)]
    if weights and not model.safetensors:
        raise hub_errors.make_no_weights_error(name, model.pickled)
    try:
        return _Fetcher(store, files, progress, cancelled).fetch_missing(name)
    except (FetchCancelled, KeyboardInterrupt):
        raise
    except Exception as error:
        raise hub_errors.explain_error(
            error, name, source, client.hub_address(), revision, fetching=True
        ) from None


def fetch_model_config(name: str, revision: str | None, source: str) -> Path:
    """Download only the `config.json` of a model, for its shapes.

    Raises:
        HubError: as `api.describe_hub_model` does.
        ModelError: the model has no config.json.
    """
    client = find_hub_client(source)
    model = client.describe_model(name, revision)
    files = [file for file in model.files if file.name == "config.json"]
    if not files:
        raise ModelError(_("has no config.json on the hub."), where=one_line(name))
    try:
        folder = _Fetcher(_choose_store(model), files, lambda at: None, lambda: False).fetch_missing(name)
    except Exception as error:
        raise hub_errors.explain_error(
            error, name, source, client.hub_address(), revision, fetching=True
        ) from None
    return folder / "config.json"


def _choose_store(model: ModelDescription) -> Store:
    return ModelScopeStore(model) if model.source == MODELSCOPE else HuggingFaceStore(model)


def measure_present_bytes(model: ModelDescription) -> ModelDescription:
    """Return the description with the bytes of it that are already on this machine."""
    store = _choose_store(model)
    return replace(model, here=sum(store.measure_file(file)[0] for file in model.files))


class _Fetcher:
    """Downloads the missing files of a model in worker threads, and reports progress from the calling
    thread.
    """

    def __init__(
        self, store: Store, files: list[HubFile], progress: ProgressCall, cancelled: CancelledCall
    ) -> None:
        self._store, self._files = store, files
        self._progress, self._cancelled = progress, cancelled
        self._watch = DownloadWatch()
        self._waiting: queue.SimpleQueue[HubFile] = queue.SimpleQueue()
        self._errors: list[BaseException] = []
        self._rate = _RateMeter()
        self._said: tuple[Any, ...] = ()
        self._said_at = 0.0

    def fetch_missing(self, name: str) -> Path:
        missing = self._find_missing()
        self._report_progress(now=True)
        if missing:
            self._check_room(name)
            self._run_workers(missing)
        folder = self._store.finish_model(self._files)
        self._report_progress(now=True)
        return folder

    def _find_missing(self) -> list[HubFile]:
        """List the files that are missing or incomplete, and record what is here."""
        missing = []
        for file in self._files:
            have, whole = self._store.measure_file(file)
            self._watch.done[file.name] = have
            self._watch.sizes[file.name] = file.size if file.size is not None else have
            if whole:
                self._watch.finished.add(file.name)
            else:
                missing.append(file)
        return missing

    def _check_room(self, name: str) -> None:
        done, total = self._watch.count_totals()
        needed, folder = total - done, _find_existing(self._store.target_folder)
        free = shutil.disk_usage(folder).free
        # A disk that is full to the last byte breaks other programs; for a small model 256 MiB would refuse
        # too much.
        margin = max(1 << 20, min(_MARGIN, needed // 20))
        if needed > 0 and needed + margin > free:
            raise hub_errors.make_little_room_error(name, needed + margin, free, folder, self._store.variable)

    def _run_workers(self, missing: list[HubFile]) -> None:
        for file in missing:
            self._waiting.put(file)
        count = min(WORKERS, len(missing))
        workers = [
            threading.Thread(target=self._fetch_queued, name=f"fetch-{n}", daemon=True) for n in range(count)
        ]
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers) and not self._errors:
                if self._cancelled():
                    raise FetchCancelled
                self._report_progress()
                # Joining returns as soon as the first worker ends, so that a small download does not wait for
                # the poll.
                workers[0].join(POLL_SECONDS) if workers[0].is_alive() else time.sleep(POLL_SECONDS)
        finally:
            # Closes the open connections: a worker that waits for bytes would not notice the stop for 10 s.
            self._watch.hang_up()
            until = time.monotonic() + LET_GO_SECONDS
            for worker in workers:
                worker.join(max(0.0, until - time.monotonic()))
        if self._errors:
            raise self._errors[0]

    def _fetch_queued(self) -> None:
        """Download files from the queue, one after the other, until it is empty (a worker thread)."""
        while not self._watch.stop.is_set():
            try:
                file = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._watch.begin_file(file.name)
            whole = False
            try:
                self._fetch_file(file)
                whole = True
            except FetchCancelled:
                return
            except BaseException as error:
                self._errors.append(error)
                return
            finally:
                self._watch.end_file(file.name, whole)

    def _fetch_file(self, file: HubFile) -> None:
        watch = self._watch
        # Size and checksum come from the answer for the file itself, as the list may lack them.
        item = call_patiently(lambda: self._store.request_item(file), file.name, watch)
        if item.size is not None:
            watch.record_size(item, item.size)
        download_file(item, self._store.http_client, watch)
        watch.raise_if_stopped()
        call_patiently(lambda: self._store.settle_file(file), file.name, watch)

    def _report_progress(self, now: bool = False) -> None:
        """Report progress if it has changed, and now and then if it has not."""
        watch, time_now = self._watch, time.monotonic()
        done, total = watch.count_totals()
        self._rate.add_point(done, time_now)
        file, note = watch.describe_moving()
        news = (file, done, total, len(watch.finished), note)
        waited = time_now - self._said_at
        if now or (news != self._said and waited >= SAY_SECONDS) or waited >= STILL_SECONDS:
            self._said, self._said_at = news, time_now
            self._progress(
                Progress(
                    file,
                    min(done, total),
                    total,
                    len(watch.finished),
                    len(self._files),
                    note,
                    self._rate.bytes_per_second,
                )
            )


class _RateMeter:
    """Measures bytes per second over the last seconds."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def add_point(self, done: int, now: float) -> None:
        if self._points and done < self._points[-1][1]:
            # A file starts over, so earlier points would give a negative rate.
            self._points.clear()
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[1][0] > RATE_SECONDS:
            self._points.pop(0)

    @property
    def bytes_per_second(self) -> float | None:
        (first, had), (last, have) = self._points[0], self._points[-1]
        return (have - had) / (last - first) if last - first > 0.5 and have > had else None


def _call_cancellable(call: Callable[[], ModelDescription], cancelled: CancelledCall) -> ModelDescription:
    """Run `call` in a thread and return its result, so that a hub that hangs can be cancelled."""
    answer: list[ModelDescription] = []
    failed: list[BaseException] = []

    def run_call() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run_call, name="fetch-describe", daemon=True)
    thread.start()
    while thread.is_alive():
        if cancelled():
            raise FetchCancelled
        thread.join(POLL_SECONDS)
    if failed:
        raise failed[0]
    return answer[0]


def _find_existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
