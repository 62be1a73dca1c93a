"""Tokenising on several cores: batches of records go out to processes and come back in order.

Processes are spawned, not forked: the program may be running threads (a screen, CUDA) that a fork would tear.
If they cannot be started or die, the work is done here instead; the result is the same.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.encoding import Encodings, RowEncoder
from tui_tuner.data.records import Record

# Starting a process costs as long as tokenising some thousand rows.
WORTH_ROWS = 8192
_MAX_WORKERS = 32
T = TypeVar("T")
_encoder: RowEncoder | None = None


def worker_count(config: RunConfig) -> int:
    """Processes that tokenise: `data.workers`, or one for each core this process may use."""
    wanted = config.data.workers
    if isinstance(wanted, int):
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_WORKERS)


def encoded_in_order(
    encoder: RowEncoder, batches: Iterable[tuple[T, list[Record]]], config: RunConfig
) -> Iterator[tuple[T, Encodings]]:
    """Each batch's tag with its encodings, in the order they came. At most a few batches are under way."""
    workers = worker_count(config)
    begin_at = 0 if isinstance(config.data.workers, int) else WORTH_ROWS
    pool: _Pool | None = None
    seen = 0
    try:
        for tag, records in batches:
            seen += len(records)
            if pool is None and workers > 1 and seen > begin_at:
                pool = _Pool(encoder, config, workers)
            if pool is None:
                yield tag, encoder.encode(records)
            else:
                yield from pool.add(tag, records)
        if pool is not None:
            yield from pool.rest()
    finally:
        if pool is not None:
            pool.close()


class _Pool:
    def __init__(self, encoder: RowEncoder, config: RunConfig, workers: int) -> None:
        self._encoder = encoder
        self._limit = workers * 3
        self._waiting: deque[tuple[Any, list[Record], Future[Any] | None]] = deque()
        self._executor: ProcessPoolExecutor | None = None
        try:
            made = (pickle.dumps(encoder.tokenizer), config.model_dump_json())
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
        found, stops = done
        self._encoder.learn_stops(stops)
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


def _start(tokenizer: bytes, config: str) -> None:
    global _encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _encoder = RowEncoder(RunConfig.model_validate_json(config), pickle.loads(tokenizer))


def _encode(records: list[Record]) -> tuple[Encodings, dict[str, int]]:
    assert _encoder is not None
    return _encoder.encode(records), _encoder.stops
