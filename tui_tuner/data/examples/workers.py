"""Tokenising on several cores; batches come back in the order they went.

The tokenizers library has threads of its own and holds no lock of Python while it works, so a few cores are
busy without any other process. On many cores Python, which reads, renders and masks, becomes the slower half:
large sets are then rendered and tokenised in processes, and so are all sets of a tokenizer written in Python.

Processes are spawned, not forked: the program may be running threads (a screen, CUDA) that a fork would tear.
If they cannot be started or die, the work is done here instead; the result is the same.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.tokens import all_cores
from tui_tuner.data.examples.encoder import Begun, Encoder, Encodings
from tui_tuner.data.records import Record

# Starting a process costs as long as tokenising some thousand rows.
WORTH_ROWS = 8192
# With more cores than this, and more rows, processes are faster than the tokenizer's threads.
THREADS_DO = 3
THREADS_DO_ROWS = 50_000
_MAX_WORKERS = 32
_UNDER_WAY = 2  # batches with the tokenizer at once: one waits for Python while the other is worked on
T = TypeVar("T")
MakeEncoder = Callable[[RunConfig, Any], Encoder]
_encoder: Encoder | None = None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encoded_in_order(
    encoder: Encoder, batches: Iterable[tuple[T, list[Record]]], make: MakeEncoder
) -> Generator[tuple[T, Encodings]]:
    """Each batch's tag with its encodings, in the order they came. At most a few batches are under way.

    Args:
        make: Makes such an encoder in another process, from a config and a tokenizer; it is sent there by
            name.

    Close it when it is left early: threads and processes end then, and not before.
    """
    wanted = encoder.config.data.workers
    count = min(cores(), _MAX_WORKERS) if wanted == "auto" else wanted
    begin_at = 0 if wanted != "auto" else _worth_rows(encoder, count)
    way: _Here | _Pool = _Here(encoder, threads=wanted == "auto" and count > 1)
    seen = 0
    try:
        for tag, records in batches:
            seen += len(records)
            if isinstance(way, _Here) and count > 1 and seen > begin_at:
                yield from way.rest()
                way.close()
                way = _Pool(encoder, make, count)
            yield from way.add(tag, records)
        yield from way.rest()
    finally:
        way.close()


def _worth_rows(encoder: Encoder, count: int) -> float:
    """Rows from which on processes are worth their start and their messages."""
    if not encoder.in_threads:
        return WORTH_ROWS
    return THREADS_DO_ROWS if count > THREADS_DO else math.inf


class _Here:
    """This process: while the tokenizer works on some batches, the next are read and rendered.

    Args:
        threads: Use every core, if the tokenizer works outside Python's lock.
    """

    def __init__(self, encoder: Encoder, threads: bool) -> None:
        self._encoder = encoder
        self._waiting: deque[tuple[Any, Begun, Future[None]]] = deque()
        self._ending = contextlib.ExitStack()
        self._executor: ThreadPoolExecutor | None = None
        if threads and encoder.in_threads:
            self._ending.enter_context(all_cores())
            self._executor = ThreadPoolExecutor(_UNDER_WAY, thread_name_prefix="tokenise")

    def add(self, tag: Any, records: list[Record]) -> Iterator[tuple[Any, Encodings]]:
        if self._executor is None:
            yield tag, self._encoder.encode(records)
            return
        begun = self._encoder.begin(records)
        self._waiting.append((tag, begun, self._executor.submit(self._encoder.tokenise, begun)))
        while len(self._waiting) > _UNDER_WAY or (self._waiting and self._waiting[0][2].done()):
            yield self._next()

    def rest(self) -> Iterator[tuple[Any, Encodings]]:
        while self._waiting:
            yield self._next()

    def _next(self) -> tuple[Any, Encodings]:
        tag, begun, done = self._waiting.popleft()
        done.result()
        return tag, self._encoder.finish(begun)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        self._ending.close()


class _Pool:
    def __init__(self, encoder: Encoder, make: MakeEncoder, workers: int) -> None:
        self._encoder = encoder
        self._limit = workers * 3
        self._waiting: deque[tuple[Any, list[Record], Future[Any] | None]] = deque()
        self._executor: ProcessPoolExecutor | None = None
        try:
            made = (pickle.dumps((make, encoder.tokenizer)), encoder.config.model_dump_json())
            self._executor = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=made
            )
        except (OSError, pickle.PicklingError, AttributeError, TypeError, ValueError):
            self._executor = None

    def add(self, tag: Any, records: list[Record]) -> Iterator[tuple[Any, Encodings]]:
        future = self._guarded(lambda pool: pool.submit(_encode, records))
        self._waiting.append((tag, records, future))
        while len(self._waiting) > self._limit:
            yield self._next()

    def rest(self) -> Iterator[tuple[Any, Encodings]]:
        while self._waiting:
            yield self._next()

    def _next(self) -> tuple[Any, Encodings]:
        tag, records, future = self._waiting.popleft()
        done = self._guarded(lambda _: future.result()) if future is not None else None
        if done is None:
            return tag, self._encoder.encode(records)
        found, learned = done
        self._encoder.learn(learned)
        return tag, found

    def _guarded(self, work: Callable[[ProcessPoolExecutor], Any]) -> Any:
        """The result of `work`, or None once the processes are gone."""
        if self._executor is None:
            return None
        try:
            return work(self._executor)
        except (BrokenProcessPool, RuntimeError, OSError):
            self.close()
            return None

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


def _start(made: bytes, config: str) -> None:
    global _encoder
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    make, tokenizer = pickle.loads(made)
    _encoder = make(RunConfig.model_validate_json(config), tokenizer)


def _end_with_parent() -> None:
    """A worker that waits for records would wait for ever if the process that sends them is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(records: list[Record]) -> tuple[Encodings, dict[str, Any]]:
    assert _encoder is not None
    return _encoder.encode(records), _encoder.learned()
