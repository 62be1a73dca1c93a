"""Download one file from a hub in parts that survive an interruption: counted, checked, retried."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tui_tuner.errors import HubError
from tui_tuner.locales import _
from tui_tuner.models.hub import hub_errors
from tui_tuner.models.hub.kinds import FetchCancelled
from tui_tuner.models.hub.net import (
    BUSY,
    LONGEST_WAIT,
    compute_retry_pause,
    list_network_errors,
    make_request_timeouts,
)
from tui_tuner.text import format_seconds, one_line

ATTEMPTS = 6  # consecutive attempts that bring no byte
PIECE = 1 << 20  # bytes read at a time from a part on the disk
# Bytes in one request: the hosts of large files refuse more than 50 GB.
MOST_AT_ONCE = 40_000_000_000
Answer = TypeVar("Answer")
DAMAGED = 2  # times a file may arrive with another checksum


@dataclass
class DownloadItem:
    """A file to download.

    Attributes:
        part: The unfinished file; its content is taken as the beginning of the file.
        whole: Where the file is moved when it is complete and checked.
        lock: Held during the download, so that two processes do not write the same part.
        sha256, git: Expected checksum of its content; empty if unknown.
    """

    name: str
    url: str
    part: Path
    whole: Path
    lock: Path
    size: int | None = None
    sha256: str = ""
    git: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class DownloadWatch:
    """Shared state of a download: progress of the workers, and the request to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.stop = threading.Event()
        self.done: dict[str, int] = {}  # bytes of each file
        self.sizes: dict[str, int] = {}
        self.finished: set[str] = set()
        self.file = ""
        self._notes: dict[str, str] = {}  # why a file that is being downloaded does not move
        self._busy: set[str] = set()

    def record_bytes(self, item: DownloadItem, count: int) -> None:
        """Record how many bytes of a file are here now."""
        with self._lock:
            self.done[item.name] = count
            self.file = item.name
            self._notes.pop(item.name, None)

    def record_size(self, item: DownloadItem, size: int) -> None:
        with self._lock:
            self.sizes[item.name] = size

    def set_note(self, name: str, note: str) -> None:
        with self._lock:
            self._notes[name] = note

    def begin_file(self, name: str) -> None:
        with self._lock:
            self._busy.add(name)

    def end_file(self, name: str, whole: bool) -> None:
        with self._lock:
            self._busy.discard(name)
            self._notes.pop(name, None)
            if whole:
                self.finished.add(name)

    def describe_moving(self) -> tuple[str, str]:
        """Return the file that moved last, and the reason if nothing moves."""
        with self._lock:
            # A note is shown only if every file waits: one that still moves says more.
            if self._busy and self._busy <= self._notes.keys():
                name = max(self._busy, key=lambda one: self.sizes.get(one, 0))
                return name, self._notes[name]
            return self.file if self._busy else "", ""

    def count_totals(self) -> tuple[int, int]:
        """Return the bytes that are here, and the bytes of all files."""
        with self._lock:
            return sum(self.done.values()), sum(self.sizes.values())

    def raise_if_stopped(self) -> None:
        if self.stop.is_set():
            raise FetchCancelled

    def pause_for(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise FetchCancelled

    @contextlib.contextmanager
    def register_response(self, response: Any) -> Iterator[None]:
        """Register the socket of a response while it is read, so that `hang_up` can end the read."""
        stream = response.extensions.get("network_stream")
        # httpx offers no way to end a read from another thread, and a silent server would hold the worker for
        # 10 s.
        found = stream.get_extra_info("socket") if stream is not None else None
        with self._lock:
            if found is not None:
                self._sockets.add(found)
        try:
            self.raise_if_stopped()
            yield
        finally:
            with self._lock:
                self._sockets.discard(found)

    def hang_up(self) -> None:
        self.stop.set()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    # The method of the base class: an SSL socket's own would first detach its session, under
                    # the reader.
                    socket.socket.shutdown(one, socket.SHUT_RDWR)


def download_file(item: DownloadItem, client: Any, watch: DownloadWatch) -> None:
    """Download a file, or the missing rest of it, and move it into place.

    Raises:
        Cancelled: the download was asked to stop.
        HubError: the hub refuses, does not answer in many attempts, or sends damaged data twice.
        Exception: an error of the HTTP client that another attempt would not change.
        OSError: the disk is full or cannot be written.
    """
    with _hold_lock(item, watch):
        if item.whole.exists():
            watch.record_bytes(item, item.whole.stat().st_size)
            return
        item.part.parent.mkdir(parents=True, exist_ok=True)
        digest = _FileDigest(item)
        damaged = 0
        while True:
            _receive_all(item, client, watch, digest)
            if digest.is_correct():
                item.whole.parent.mkdir(parents=True, exist_ok=True)
                os.replace(item.part, item.whole)
                return
            item.part.unlink(missing_ok=True)
            damaged += 1
            watch.record_bytes(item, 0)
            if damaged == DAMAGED:
                raise HubError(
                    _("arrived damaged twice: its checksum differs from the one that the hub reports."),
                    where=one_line(item.name),
                    hint=_("A proxy or a mirror may change files in transit. The damaged file was deleted."),
                )
            watch.set_note(item.name, _("arrived damaged, downloading it again"))


def _receive_all(item: DownloadItem, client: Any, watch: DownloadWatch, digest: _FileDigest) -> None:
    """Request a file until all of its bytes are here, with growing pauses while none arrive."""
    broken: tuple[type[BaseException], ...] = (*list_network_errors(), _BusyError)
    patience = _Pauser(item.name, watch)
    # A server that cannot resume sends the same bytes again; only bytes beyond these count as progress.
    furthest = _file_size(item.part)
    while True:
        try:
            asked_for = _receive_range(item, client, watch, digest)
            have = _file_size(item.part)
            if have == item.size:
                return
            # This request ended at its own limit, `MOST_AT_ONCE`, which is no failure.
            if have == asked_for:
                furthest = max(furthest, have)
                continue
            problem: BaseException = ConnectionError(_("the server sent only part of the file"))
        except broken as error:
            # A stop closes the connection, which looks like a network error here.
            watch.raise_if_stopped()
            problem = error.error if isinstance(error, _BusyError) else error
        have = _file_size(item.part)
        patience.wait_after(problem, moved=have > furthest)
        furthest = max(furthest, have)


def call_patiently(call: Callable[[], Answer], name: str, watch: DownloadWatch) -> Answer:
    """Return the result of `call`, retried with growing pauses if a connection fails or a hub is busy."""
    patience = _Pauser(name, watch)
    while True:
        try:
            return call()
        except FetchCancelled:
            raise
        except Exception as error:
            watch.raise_if_stopped()
            patience.wait_after(error)


class _Pauser:
    """Waits before another attempt, and reports why."""

    def __init__(self, name: str, watch: DownloadWatch) -> None:
        self._name, self._watch = name, watch
        self._attempt = 0

    def wait_after(self, problem: BaseException, moved: bool = False) -> None:
        """Wait after a problem, or raise it if waiting cannot help or has been tried long enough."""
        self._attempt = 0 if moved else self._attempt + 1
        wait = compute_retry_pause(problem, max(0, self._attempt - 1))
        if wait is None or self._attempt >= ATTEMPTS or wait > LONGEST_WAIT:
            raise problem
        self._watch.set_note(self._name, _describe_wait(problem, wait, self._attempt))
        self._watch.pause_for(wait)


class _BusyError(Exception):
    """Wraps an error that a later attempt may avoid."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _describe_wait(problem: BaseException, wait: float, attempt: int) -> str:
    """Describe why nothing moves, and for how long."""
    time_left = format_seconds(max(1, round(wait)))
    status = getattr(getattr(problem, "response", None), "status_code", None)
    if status == 429:
        return _("the hub has too many requests, retrying in {time}", time=time_left)
    if status is not None:
        return _("the hub has a problem (error {status}), retrying in {time}", status=status, time=time_left)
    if attempt > 1:
        return _("no connection, attempt {attempt} in {time}", attempt=attempt + 1, time=time_left)
    return _("the connection broke, resuming in {time}", time=time_left)


def _receive_range(item: DownloadItem, client: Any, watch: DownloadWatch, digest: _FileDigest) -> int | None:
    """Send one request for the missing rest of a file, or a part of it, and append the answer.

    Returns how many bytes should be here then; None for all.
    """
    with open(item.part, "ab", buffering=0) as file:
        have = os.fstat(file.fileno()).st_size
        # Too long for this version of the file, so it cannot be its beginning.
        if item.size is not None and have > item.size:
            file.truncate(0)
            have = 0
        digest.catch_up(item.part, have, watch, item)
        watch.record_bytes(item, have)
        if have == item.size:
            return have
        # Offsets count bytes of the file, not of a compressed transfer.
        headers = {**item.headers, "Accept-Encoding": "identity"}
        until = have + MOST_AT_ONCE if item.size is not None and item.size > have + MOST_AT_ONCE else None
        if have or until:
            headers["Range"] = f"bytes={have}-{until - 1 if until else ''}"
        with (
            client.stream(
                "GET", item.url, headers=headers, timeout=make_request_timeouts(), follow_redirects=True
            ) as response,
            watch.register_response(response),
        ):
            begins = _begins_at(response, have, item)
            if begins != have:
                file.truncate(0)
                digest.begin_hash()
                watch.record_bytes(item, 0)
                have = 0
            if begins == have:
                _append_response(file, response, have, item, watch, digest)
        return until


def _begins_at(response: Any, have: int, item: DownloadItem) -> int | None:
    """Return the byte of the file that an answer begins with; None if it does not fit the request.

    Raises an error if the answer is not a file at all.
    """
    status = response.status_code
    # The part is longer than the file, so the download starts over.
    if status == 416:
        return None
    if status not in (200, 206):
        _raise_refusal(response, item)
    kind = response.headers.get("content-type", "")
    # A network with a login page answers everything with 200 and HTML, which would become a weight file.
    if kind.startswith("text/html") and not item.name.endswith((".html", ".htm")):
        raise hub_errors.make_not_hub_error(one_line(item.name), str(response.request.url.host))
    if status == 200:
        return 0
    told = response.headers.get("content-range", "")
    return next((begins for begins in (have, 0) if told.startswith(f"bytes {begins}-")), None)


def _raise_refusal(response: Any, item: DownloadItem) -> None:
    """Raise the error that huggingface_hub makes of a refusal."""
    from huggingface_hub.utils import hf_raise_for_status

    response.read()
    host, status = response.request.url.host, response.status_code
    if status not in BUSY and host != urlsplit(item.url).hostname:
        # Addresses on another host expire, and the hub gives out new ones, so another attempt helps. No token
        # is sent there, so the refusal is not about one.
        raise ConnectionError(_("{host} refuses (error {status})", host=one_line(host), status=status))
    try:
        hf_raise_for_status(response)
    except Exception as error:
        if response.status_code in BUSY:
            raise _BusyError(error) from None
        raise
    raise ConnectionError(f"status {response.status_code}")


def _append_response(
    file: Any, response: Any, have: int, item: DownloadItem, watch: DownloadWatch, digest: _FileDigest
) -> None:
    length = response.headers.get("content-length", "")
    if item.size is None and length.isdecimal() and "content-encoding" not in response.headers:
        item.size = have + int(length)
        watch.record_size(item, item.size)
    for piece in response.iter_bytes():
        watch.raise_if_stopped()
        if item.size is not None and have + len(piece) > item.size:
            # Longer than the hub reported: the checksum decides whether that matters.
            piece = piece[: item.size - have]
        view = memoryview(piece)
        # An unbuffered file may write fewer bytes than given.
        while view:
            view = view[file.write(view) :]
        digest.add_piece(piece)
        have += len(piece)
        watch.record_bytes(item, have)
        if have == item.size:
            return
    if item.size is None:
        item.size = have
        watch.record_size(item, have)


class _FileDigest:
    """Computes the checksum of a file while it arrives, and of an earlier part from the disk."""

    def __init__(self, item: DownloadItem) -> None:
        self._item = item
        self.begin_hash()

    def begin_hash(self) -> None:
        item = self._item
        self._count = 0
        self._hash = hashlib.sha256()
        if not item.sha256 and item.git and item.size is not None:
            # Git names a file by the SHA-1 of a header with its length and its content.
            self._hash = hashlib.sha1(usedforsecurity=False)
            self._hash.update(b"blob %d\0" % item.size)

    def add_piece(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._count += len(piece)

    def catch_up(self, part: Path, have: int, watch: DownloadWatch, item: DownloadItem) -> None:
        """Add the bytes on the disk that were not seen yet."""
        if self._count == have:
            return
        self.begin_hash()
        watch.set_note(item.name, _("checking the downloaded part"))
        with open(part, "rb") as file:
            while self._count < have and (piece := file.read(min(PIECE, have - self._count))):
                watch.raise_if_stopped()
                self.add_piece(piece)

    def is_correct(self) -> bool:
        wanted = self._item.sha256 or (self._item.git if self._item.size is not None else "")
        return not wanted or self._hash.hexdigest() == wanted


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _hold_lock(item: DownloadItem, watch: DownloadWatch) -> Iterator[None]:
    """Hold the lock of a file, which the hub's client uses too, and report if another process has it."""
    from filelock import FileLock, Timeout

    item.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(item.lock))
    began = time.monotonic()
    while True:
        watch.raise_if_stopped()
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            if time.monotonic() - began > 0.5:
                watch.set_note(item.name, _("another process is fetching it"))
        # The file system has no locks; the checksum still finds a part that two processes wrote.
        except NotImplementedError:
            yield
            return
    try:
        yield
    finally:
        lock.release()
