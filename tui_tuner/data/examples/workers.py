"""Tokenise on several cores; batches come back in order.

The tokenizers library has its own threads and works outside Python's lock, so a few cores are busy without
another process. On many cores Python, which reads, renders and masks, becomes the slower half: large sets are
then rendered and tokenised in processes, and so are all sets of a tokenizer written in Python.

Processes are spawned, not forked: the program may be running threads (a screen, CUDA) that do not survive a
fork. If processes cannot be started or die, the work is done here instead, with the same result.
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
from tui_tuner.data.chat.batch_tokens import tokenise_on_all_cores
from tui_tuner.data.examples.record_encoder import EncodingBatch, Encodings, RecordEncoder
from tui_tuner.data.records import Record

# Starting a process takes as long as tokenising a few thousand rows.
WORTH_ROWS = 8192
# With more cores than this, and more rows, processes are faster than the tokenizer's threads.
THREADS_DO = 3
THREADS_DO_ROWS = 50_000
_MAX_WORKERS = 32
_UNDER_WAY = 2  # batches in the tokenizer at once: one waits for Python while the other is tokenised
T = TypeVar("T")
MakeEncoder = Callable[[RunConfig, Any], RecordEncoder]
_encoder: RecordEncoder | None = None


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encode_batches_in_order(
    encoder: RecordEncoder, batches: Iterable[tuple[T, list[Record]]], make: MakeEncoder
) -> Generator[tuple[T, Encodings]]:
    """Encode batches; yields each one's tag with its encodings, in order. Only a few are in progress at once.

    Close the generator if you leave it early: threads and processes end only then.

    Args:
        make: Makes such an encoder in another process, from a config and a tokenizer; it is sent there by
            name.
    """
    wanted = encoder.config.data.workers
    count = min(count_cores(), _MAX_WORKERS) if wanted == "auto" else wanted
    begin_at = 0 if wanted != "auto" else _rows_worth_processes(encoder, count)
    way: _LocalEncoding | _PoolEncoding = _LocalEncoding(encoder, threads=wanted == "auto" and count > 1)
    seen = 0
    try:
        for tag, records in batches:
            seen += len(records)
            # How many rows there are is not known before they are read, so processes start only now.
            if isinstance(way, _LocalEncoding) and count > 1 and seen > begin_at:
                yield from way.finish_rest()
                way.shut_down()
                way = _PoolEncoding(encoder, make, count)
            yield from way.add_batch(tag, records)
        yield from way.finish_rest()
    finally:
        way.shut_down()


def _rows_worth_processes(encoder: RecordEncoder, count: int) -> float:
    """Return the number of rows above which processes are worth their start and their messages."""
    if not encoder.in_threads:
        return WORTH_ROWS
    return THREADS_DO_ROWS if count > THREADS_DO else math.inf


class _LocalEncoding:
    """Encodes in this process: while the tokenizer works on some batches, the next ones are rendered.

    Args:
        threads: Use every core if the tokenizer works outside Python's lock.
    """

    def __init__(self, encoder: RecordEncoder, threads: bool) -> None:
        self._encoder = encoder
        self._waiting: deque[tuple[Any, EncodingBatch, Future[None]]] = deque()
        self._ending = contextlib.ExitStack()
        self._executor: ThreadPoolExecutor | None = None
        if threads and encoder.in_threads:
            self._ending.enter_context(tokenise_on_all_cores())
            self._executor = ThreadPoolExecutor(_UNDER_WAY, thread_name_prefix="tokenise")

    def add_batch(self, tag: Any, records: list[Record]) -> Iterator[tuple[Any, Encodings]]:
        if self._executor is None:
            yield tag, self._encoder.encode_batch(records)
            return
        begun = self._encoder.begin_batch(records)
        self._waiting.append((tag, begun, self._executor.submit(self._encoder.tokenise_batch, begun)))
        while len(self._waiting) > _UNDER_WAY or (self._waiting and self._waiting[0][2].done()):
            yield self._finish_next()

    def finish_rest(self) -> Iterator[tuple[Any, Encodings]]:
        while self._waiting:
            yield self._finish_next()

    def _finish_next(self) -> tuple[Any, Encodings]:
        tag, begun, done = self._waiting.popleft()
        done.result()
        return tag, self._encoder.finish_batch(begun)

    def shut_down(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
        self._ending.close()


class _PoolEncoding:
    def __init__(self, encoder: RecordEncoder, make: MakeEncoder, workers: int) -> None:
        self._encoder = encoder
        # Enough for workers to stay busy, and no more batches than that in memory.
        self._limit = workers * 3
        self._waiting: deque[tuple[Any, list[Record], Future[Any] | None]] = deque()
        self._executor: ProcessPoolExecutor | None = None
        try:
            # Pickled here and not by the pool, so that what cannot be pickled is noticed now.
            made = (pickle.dumps((make, encoder.tokenizer)), encoder.config.model_dump_json())
            self._executor = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=made
            )
        except (OSError, pickle.PicklingError, AttributeError, TypeError, ValueError):
            self._executor = None

    def add_batch(self, tag: Any, records: list[Record]) -> Iterator[tuple[Any, Encodings]]:
        future = self._try_work(lambda pool: pool.submit(_encode_in_worker, records))
        self._waiting.append((tag, records, future))
        while len(self._waiting) > self._limit:
            yield self._finish_next()

    def finish_rest(self) -> Iterator[tuple[Any, Encodings]]:
        while self._waiting:
            yield self._finish_next()

    def _finish_next(self) -> tuple[Any, Encodings]:
        tag, records, future = self._waiting.popleft()
        done = self._try_work(lambda _: future.result()) if future is not None else None
        if done is None:
            return tag, self._encoder.encode_batch(records)
        found, learned = done
        self._encoder.merge_learned(learned)
        return tag, found

    def _try_work(self, work: Callable[[ProcessPoolExecutor], Any]) -> Any:
        """Return the result of `work`, or None if the processes have ended."""
        if self._executor is None:
            return None
        try:
            return work(self._executor)
        except (BrokenProcessPool, RuntimeError, OSError):
            self.shut_down()
            return None

    def shut_down(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


def _start_worker(made: bytes, config: str) -> None:
    global _encoder
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()
    # Ctrl-C reaches the whole group of processes; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Every core has a worker already; more threads would only compete with them.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    make, tokenizer = pickle.loads(made)
    _encoder = make(RunConfig.model_validate_json(config), tokenizer)


def _end_with_parent() -> None:
    # A worker that waits for records would wait for ever if the process that sends them is killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode_in_worker(records: list[Record]) -> tuple[Encodings, dict[str, Any]]:
    assert _encoder is not None
    return _encoder.encode_batch(records), _encoder.export_learned()
