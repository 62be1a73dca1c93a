"""One file on its way from a hub: in parts that survive a break, counted, checked, tried again."""

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
from tui_tuner.models.hub import problems
from tui_tuner.models.hub.kinds import Cancelled
from tui_tuner.models.hub.net import BUSY, LONGEST_WAIT, network_errors, patience, pause_after
from tui_tuner.text import human_seconds, one_line

ATTEMPTS = 6  # in a row that bring no byte
PIECE = 1 << 20  # bytes read at a time from a part on the disk
MOST_AT_ONCE = 40_000_000_000  # bytes asked for in one request: hosts of large files refuse more than 50 GB
Answer = TypeVar("Answer")
DAMAGED = 2  # times a file may arrive with another checksum


@dataclass
class Item:
    """A file to fetch.

    Attributes:
        part: Where it grows; whatever lies there is taken as its beginning.
        whole: Where it is put when it is whole and checked.
        lock: Held while it grows, so that two processes do not write the same part.
        sha256, git: What its content is checked against; empty is not told.
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


class Watch:
    """What the workers of a fetch tell whoever waits for them, and whether they are to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.stop = threading.Event()
        self.done: dict[str, int] = {}  # bytes of each file
        self.sizes: dict[str, int] = {}
        self.finished: set[str] = set()
        self.file = ""
        self._notes: dict[str, str] = {}  # why a file that is being fetched does not move
        self._busy: set[str] = set()

    def at(self, item: Item, count: int) -> None:
        """So many bytes of a file are here now."""
        with self._lock:
            self.done[item.name] = count
            self.file = item.name
            self._notes.pop(item.name, None)

    def sized(self, item: Item, size: int) -> None:
        with self._lock:
            self.sizes[item.name] = size

    def say(self, name: str, note: str) -> None:
        with self._lock:
            self._notes[name] = note

    def begun(self, name: str) -> None:
        with self._lock:
            self._busy.add(name)

    def ended(self, name: str, whole: bool) -> None:
        with self._lock:
            self._busy.discard(name)
            self._notes.pop(name, None)
            if whole:
                self.finished.add(name)

    def moving(self) -> tuple[str, str]:
        """The file that moved last, and why nothing moves if nothing does."""
        with self._lock:
            if self._busy and self._busy <= self._notes.keys():
                name = max(self._busy, key=lambda one: self.sizes.get(one, 0))
                return name, self._notes[name]
            return self.file if self._busy else "", ""

    def totals(self) -> tuple[int, int]:
        """Bytes that are here, and bytes of all."""
        with self._lock:
            return sum(self.done.values()), sum(self.sizes.values())

    def check(self) -> None:
        if self.stop.is_set():
            raise Cancelled

    def pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Cancelled

    @contextlib.contextmanager
    def listening(self, response: Any) -> Iterator[None]:
        """While a response is read, `hang_up` can end that read: a server that says nothing holds nobody."""
        stream = response.extensions.get("network_stream")
        found = stream.get_extra_info("socket") if stream is not None else None
        with self._lock:
            if found is not None:
                self._sockets.add(found)
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._sockets.discard(found)

    def hang_up(self) -> None:
        self.stop.set()
        with self._lock:
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)


def download(item: Item, client: Any, watch: Watch) -> None:
    """Fetch a file, or what is missing of it, and put it in its place.

    Raises:
        Cancelled: the fetch is to stop.
        HubError: the hub refuses, does not answer in many attempts, or sends something damaged twice.
        Exception: whatever the HTTP client raises of an answer that no other attempt would change.
        OSError: the disk is full, or cannot be written.
    """
    with _locked(item, watch):
        if item.whole.exists():
            watch.at(item, item.whole.stat().st_size)
            return
        item.part.parent.mkdir(parents=True, exist_ok=True)
        digest = _Digest(item)
        damaged = 0
        while True:
            _receive_all(item, client, watch, digest)
            if digest.agrees():
                item.whole.parent.mkdir(parents=True, exist_ok=True)
                os.replace(item.part, item.whole)
                return
            item.part.unlink(missing_ok=True)
            damaged += 1
            watch.at(item, 0)
            if damaged == DAMAGED:
                raise HubError(
                    _("arrived damaged twice: its checksum is another one than the hub tells."),
                    where=one_line(item.name),
                    hint=_("A proxy or a mirror may change files on their way. Nothing of it was kept."),
                )
            watch.say(item.name, _("arrived damaged, it is fetched again"))


def _receive_all(item: Item, client: Any, watch: Watch, digest: _Digest) -> None:
    """Until all bytes of a file are here, with pauses that grow while none comes."""
    broken: tuple[type[BaseException], ...] = (*network_errors(), _Busy)
    patience = _Patience(item.name, watch)
    furthest = _size(item.part)  # a server that cannot go on sends the same bytes again: no news
    while True:
        try:
            asked_for = _receive(item, client, watch, digest)
            have = _size(item.part)
            if have == item.size:
                return
            if have == asked_for:  # there is more to ask for
                furthest = max(furthest, have)
                continue
            problem: BaseException = ConnectionError(_("the server sent less than the whole file"))
        except broken as error:
            watch.check()  # a connection that was hung up because the fetch is to stop
            problem = error.error if isinstance(error, _Busy) else error
        have = _size(item.part)
        patience.after(problem, moved=have > furthest)
        furthest = max(furthest, have)


def patiently(call: Callable[[], Answer], name: str, watch: Watch) -> Answer:
    """What `call` returns, with pauses that grow where a connection fails or a hub is busy."""
    patience = _Patience(name, watch)
    while True:
        try:
            return call()
        except Cancelled:
            raise
        except Exception as error:
            watch.check()
            patience.after(error)


class _Patience:
    """Pauses before another attempt, said in words."""

    def __init__(self, name: str, watch: Watch) -> None:
        self._name, self._watch = name, watch
        self._attempt = 0

    def after(self, problem: BaseException, moved: bool = False) -> None:
        """Wait after a problem, or raise it: where waiting cannot help, or has not for long."""
        self._attempt = 0 if moved else self._attempt + 1
        wait = pause_after(problem, max(0, self._attempt - 1))
        if wait is None or self._attempt >= ATTEMPTS or wait > LONGEST_WAIT:
            raise problem
        self._watch.say(self._name, _told(problem, wait, self._attempt))
        self._watch.pause(wait)


class _Busy(Exception):
    """An answer that is another one in a while."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _told(problem: BaseException, wait: float, attempt: int) -> str:
    """Why nothing moves, and for how long."""
    time_left = human_seconds(max(1, round(wait)))
    status = getattr(getattr(problem, "response", None), "status_code", None)
    if status == 429:
        return _("the hub has too many requests, again in {time}", time=time_left)
    if status is not None:
        return _("the hub has trouble (error {status}), again in {time}", status=status, time=time_left)
    if attempt > 1:
        return _("no connection, attempt {attempt} in {time}", attempt=attempt + 1, time=time_left)
    return _("the connection broke, it goes on in {time}", time=time_left)


def _receive(item: Item, client: Any, watch: Watch, digest: _Digest) -> int | None:
    """One request: what is missing of a file, or much of it, appended to its part.

    Returns how many bytes are to be here then; None for all.
    """
    with open(item.part, "ab", buffering=0) as file:
        have = os.fstat(file.fileno()).st_size
        if item.size is not None and have > item.size:
            file.truncate(0)
            have = 0
        digest.catch_up(item.part, have, watch, item)
        watch.at(item, have)
        if have == item.size:
            return have
        headers = {**item.headers, "Accept-Encoding": "identity"}
        until = have + MOST_AT_ONCE if item.size is not None and item.size > have + MOST_AT_ONCE else None
        if have or until:
            headers["Range"] = f"bytes={have}-{until - 1 if until else ''}"
        with (
            client.stream(
                "GET", item.url, headers=headers, timeout=patience(), follow_redirects=True
            ) as response,
            watch.listening(response),
        ):
            begins = _begins_at(response, have, item)
            if begins != have:
                file.truncate(0)
                digest.begin()
                watch.at(item, 0)
                have = 0
            if begins == have:
                _append(file, response, have, item, watch, digest)
        return until


def _begins_at(response: Any, have: int, item: Item) -> int | None:
    """The byte of the file that an answer begins with; None where nobody asked for what it holds.

    Raises where it is no file at all.
    """
    status = response.status_code
    if status == 416:  # the part is longer than the file: begin anew
        return None
    if status not in (200, 206):
        _refused(response, item)
    kind = response.headers.get("content-type", "")
    if kind.startswith("text/html") and not item.name.endswith((".html", ".htm")):
        raise problems.not_a_hub(one_line(item.name), str(response.request.url.host))
    if status == 200:
        return 0
    told = response.headers.get("content-range", "")
    return next((begins for begins in (have, 0) if told.startswith(f"bytes {begins}-")), None)


def _refused(response: Any, item: Item) -> None:
    """Raise what huggingface_hub makes of an answer that refuses."""
    from huggingface_hub.utils import hf_raise_for_status

    response.read()
    host, status = response.request.url.host, response.status_code
    if status not in BUSY and host != urlsplit(item.url).hostname:
        # addresses of files on another host hold for a while alone, and the hub gives new ones; no token goes
        # there, so this is not about one
        raise ConnectionError(_("{host} refuses (error {status})", host=one_line(host), status=status))
    try:
        hf_raise_for_status(response)
    except Exception as error:
        if response.status_code in BUSY:
            raise _Busy(error) from None
        raise
    raise ConnectionError(f"status {response.status_code}")


def _append(file: Any, response: Any, have: int, item: Item, watch: Watch, digest: _Digest) -> None:
    length = response.headers.get("content-length", "")
    if item.size is None and length.isdecimal() and "content-encoding" not in response.headers:
        item.size = have + int(length)
        watch.sized(item, item.size)
    for piece in response.iter_bytes():
        watch.check()
        if item.size is not None and have + len(piece) > item.size:
            piece = piece[: item.size - have]  # more than the hub told: the checksum says whether it matters
        view = memoryview(piece)
        while view:  # an unbuffered file may take less than all
            view = view[file.write(view) :]
        digest.add(piece)
        have += len(piece)
        watch.at(item, have)
        if have == item.size:
            return
    if item.size is None:
        item.size = have
        watch.sized(item, have)


class _Digest:
    """The checksum of a file, made while it arrives; of what lay there before, from the disk."""

    def __init__(self, item: Item) -> None:
        self._item = item
        self.begin()

    def begin(self) -> None:
        item = self._item
        self._count = 0
        self._hash = hashlib.sha256()
        if not item.sha256 and item.git and item.size is not None:
            self._hash = hashlib.sha1(usedforsecurity=False)  # git's way to name a file
            self._hash.update(b"blob %d\0" % item.size)

    def add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._count += len(piece)

    def catch_up(self, part: Path, have: int, watch: Watch, item: Item) -> None:
        """Take in what is on the disk and was not seen."""
        if self._count == have:
            return
        self.begin()
        watch.say(item.name, _("checking what is here"))
        with open(part, "rb") as file:
            while self._count < have and (piece := file.read(min(PIECE, have - self._count))):
                watch.check()
                self.add(piece)

    def agrees(self) -> bool:
        wanted = self._item.sha256 or (self._item.git if self._item.size is not None else "")
        return not wanted or self._hash.hexdigest() == wanted


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def _locked(item: Item, watch: Watch) -> Iterator[None]:
    """Hold the lock of a file, which the client of the hub takes too; said while another process has it."""
    from filelock import FileLock, Timeout

    item.lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(item.lock))
    began = time.monotonic()
    while True:
        watch.check()
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            if time.monotonic() - began > 0.5:
                watch.say(item.name, _("another process is fetching it"))
        except NotImplementedError:  # a file system without locks: parts are checked by their sums anyway
            yield
            return
    try:
        yield
    finally:
        lock.release()
