"""Bringing a model onto this machine: what is missing, room for it, files side by side, and how far it is."""

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
from tui_tuner.models.hub import problems
from tui_tuner.models.hub.choice import is_weights
from tui_tuner.models.hub.clients import client_of
from tui_tuner.models.hub.hf_store import HuggingFaceStore
from tui_tuner.models.hub.kinds import (
    MODELSCOPE,
    Cancelled,
    CancelledCall,
    Described,
    HubFile,
    Progress,
    ProgressCall,
)
from tui_tuner.models.hub.local import find
from tui_tuner.models.hub.ms_store import ModelScopeStore
from tui_tuner.models.hub.net import is_offline
from tui_tuner.models.hub.transfer import Item, Watch, download, patiently
from tui_tuner.text import one_line

WORKERS = 4
POLL_SECONDS = 0.1
SAY_SECONDS = 0.2
STILL_SECONDS = 2.0  # after which it is said again that nothing moves
LET_GO_SECONDS = 1.5  # for workers to end after a stop; one that hangs in the system is left behind
RATE_SECONDS = 8.0
_MARGIN = 256 << 20


class Store(Protocol):
    """Where the files of one model go."""

    @property
    def client(self) -> Any: ...
    @property
    def disk(self) -> Path: ...
    @property
    def variable(self) -> str: ...
    def here(self, file: HubFile) -> tuple[int, bool]: ...
    def item(self, file: HubFile) -> Item: ...
    def settle(self, file: HubFile) -> None: ...
    def finish(self, files: list[HubFile]) -> Path: ...


def fetch(
    name: str,
    revision: str | None,
    source: str,
    progress: ProgressCall,
    cancelled: CancelledCall,
    weights: bool = True,
) -> Path:
    """See `api.fetch`."""
    client = client_of(source)
    if is_offline() and (found := find(name, revision, source, weights)) is not None:
        return found
    progress(Progress("", 0, 0, 0, 0))
    model = _meanwhile(lambda: client.describe(name, revision), cancelled)
    store = _store(model)
    files = [file for file in model.files if weights or not is_weights(file.name)]
    if weights and not model.safetensors:
        raise problems.no_weights(name, model.pickled)
    try:
        return _Fetch(store, files, progress, cancelled).run(name)
    except (Cancelled, KeyboardInterrupt):
        raise
    except Exception as error:
        raise problems.in_words(error, name, source, client.endpoint(), revision, fetching=True) from None


def fetch_config(name: str, revision: str | None, source: str) -> Path:
    """The `config.json` of a model alone, where its shapes are all that is wanted.

    Raises:
        HubError: as `api.describe` does; or the model has none.
    """
    client = client_of(source)
    model = client.describe(name, revision)
    files = [file for file in model.files if file.name == "config.json"]
    if not files:
        raise ModelError(_("has no config.json on the hub."), where=one_line(name))
    try:
        folder = _Fetch(_store(model), files, lambda at: None, lambda: False).run(name)
    except Exception as error:
        raise problems.in_words(error, name, source, client.endpoint(), revision, fetching=True) from None
    return folder / "config.json"


def _store(model: Described) -> Store:
    return ModelScopeStore(model) if model.source == MODELSCOPE else HuggingFaceStore(model)


def with_here(model: Described) -> Described:
    """The same, with how much of it is on this machine."""
    store = _store(model)
    return replace(model, here=sum(store.here(file)[0] for file in model.files))


class _Fetch:
    """One fetch: workers that bring files, and this thread, which says how far they are."""

    def __init__(
        self, store: Store, files: list[HubFile], progress: ProgressCall, cancelled: CancelledCall
    ) -> None:
        self._store, self._files = store, files
        self._progress, self._cancelled = progress, cancelled
        self._watch = Watch()
        self._waiting: queue.SimpleQueue[HubFile] = queue.SimpleQueue()
        self._errors: list[BaseException] = []
        self._rate = _Rate()
        self._said: tuple[Any, ...] = ()
        self._said_at = 0.0

    def run(self, name: str) -> Path:
        missing = self._look()
        self._say(now=True)
        if missing:
            self._check_room(name)
            self._work(missing)
        folder = self._store.finish(self._files)
        self._say(now=True)
        return folder

    def _look(self) -> list[HubFile]:
        """What is not here whole."""
        missing = []
        for file in self._files:
            have, whole = self._store.here(file)
            self._watch.done[file.name] = have
            self._watch.sizes[file.name] = file.size if file.size is not None else have
            if whole:
                self._watch.finished.add(file.name)
            else:
                missing.append(file)
        return missing

    def _check_room(self, name: str) -> None:
        done, total = self._watch.totals()
        needed, folder = total - done, _existing(self._store.disk)
        free = shutil.disk_usage(folder).free
        margin = max(1 << 20, min(_MARGIN, needed // 20))
        if needed > 0 and needed + margin > free:
            raise problems.too_little_room(name, needed + margin, free, folder, self._store.variable)

    def _work(self, missing: list[HubFile]) -> None:
        for file in missing:
            self._waiting.put(file)
        count = min(WORKERS, len(missing))
        workers = [threading.Thread(target=self._bring, name=f"fetch-{n}", daemon=True) for n in range(count)]
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers) and not self._errors:
                if self._cancelled():
                    raise Cancelled
                self._say()
                workers[0].join(POLL_SECONDS) if workers[0].is_alive() else time.sleep(POLL_SECONDS)
        finally:
            self._watch.hang_up()
            until = time.monotonic() + LET_GO_SECONDS
            for worker in workers:
                worker.join(max(0.0, until - time.monotonic()))
        if self._errors:
            raise self._errors[0]

    def _bring(self) -> None:
        """A worker: files one after the other."""
        while not self._watch.stop.is_set():
            try:
                file = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._watch.begun(file.name)
            whole = False
            try:
                self._bring_one(file)
                whole = True
            except Cancelled:
                return
            except BaseException as error:
                self._errors.append(error)
                return
            finally:
                self._watch.ended(file.name, whole)

    def _bring_one(self, file: HubFile) -> None:
        watch = self._watch
        item = patiently(lambda: self._store.item(file), file.name, watch)
        if item.size is not None:
            watch.sized(item, item.size)
        download(item, self._store.client, watch)
        watch.check()
        patiently(lambda: self._store.settle(file), file.name, watch)

    def _say(self, now: bool = False) -> None:
        """Tell how far it is, if that is news; and now and then if it is not."""
        watch, time_now = self._watch, time.monotonic()
        done, total = watch.totals()
        self._rate.at(done, time_now)
        file, note = watch.moving()
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
                    self._rate.value,
                )
            )


class _Rate:
    """Bytes a second of the last seconds."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def at(self, done: int, now: float) -> None:
        if self._points and done < self._points[-1][1]:
            self._points.clear()  # a file begins anew
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[1][0] > RATE_SECONDS:
            self._points.pop(0)

    @property
    def value(self) -> float | None:
        (first, had), (last, have) = self._points[0], self._points[-1]
        return (have - had) / (last - first) if last - first > 0.5 and have > had else None


def _meanwhile(call: Callable[[], Described], cancelled: CancelledCall) -> Described:
    """What `call` returns, asked in a thread, so that a hub that does not answer can be left."""
    answer: list[Described] = []
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            answer.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=ask, name="fetch-describe", daemon=True)
    thread.start()
    while thread.is_alive():
        if cancelled():
            raise Cancelled
        thread.join(POLL_SECONDS)
    if failed:
        raise failed[0]
    return answer[0]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
