"""Answers that a user found good or bad, kept as rows that can be trained on.

Three JSONL files, each in a layout that `data.formats` reads, and TRL too:

    kept.jsonl              good answers, as chats       {"messages": [...]}
    kept-judged.jsonl       good and bad ones (KTO)      {"prompt": [...], "completion": [...], "label": true}
    kept-preferred.jsonl    the better of two answers    {"prompt": [...], "chosen": [...], "rejected": [...]}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tui_tuner.inference.talk import Messages, Reply

GOOD, JUDGED, PREFERRED = "kept.jsonl", "kept-judged.jsonl", "kept-preferred.jsonl"
Row = dict[str, Any]


def keep(folder: Path, reply: Reply, rivals: Sequence[Reply]) -> list[str]:
    """Write what is thought of an answer now (`reply.good`), in the place of what was written before.

    A good answer is preferred to each rival that is not good, and a good rival to one that is not.

    Args:
        rivals: Other answers to the same messages.

    Returns:
        The names of the files that have a row about this answer.

    Raises:
        OSError: a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    good, judged = {"messages": reply.chat}, _judged(reply)
    pairs = [_pair(reply, other) for other in rivals if reply.good and not other.good]
    pairs += [_pair(other, reply) for other in rivals if other.good and not reply.good]
    both = {_key(_pair(reply, other)) for other in rivals} | {_key(_pair(other, reply)) for other in rivals}
    with _alone(folder):
        _write(folder / GOOD, [good] if reply.good else [], lambda row: _key(row) == _key(good))
        rows = [judged] if reply.good is not None else []
        _write(folder / JUDGED, rows, lambda row: _key({**row, "label": None}) == _key(_unjudged(judged)))
        _write(folder / PREFERRED, pairs, lambda row: _key(row) in both)
    named = ((GOOD, bool(reply.good)), (JUDGED, reply.good is not None), (PREFERRED, bool(pairs)))
    return [name for name, there in named if there]


def _judged(reply: Reply) -> Row:
    return {"prompt": reply.asked, "completion": _said(reply), "label": reply.good}


def _unjudged(row: Row) -> Row:
    return {**row, "label": None}


def _pair(better: Reply, worse: Reply) -> Row:
    return {"prompt": better.asked, "chosen": _said(better), "rejected": _said(worse)}


def _said(reply: Reply) -> Messages:
    return [{"role": "assistant", "content": reply.text}]


def _key(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def _write(path: Path, rows: list[Row], replaces: Callable[[Row], bool]) -> None:
    """Put rows at the end of a file, and take out those that they replace; whole or not at all.

    Lines that are none of ours stay as they are.
    """
    path = Path(os.path.realpath(path))
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    lines = text.removesuffix("\n").split("\n") if text else []  # U+2028 may stand in a string of JSON
    kept = [line for line in lines if not _is_row(line, replaces)]
    if len(kept) == len(lines) and not rows:
        return
    lines = [*kept, *(json.dumps(row, ensure_ascii=False) for row in rows)]
    other = path.with_name(f".{path.name}-{os.urandom(6).hex()}")
    handle = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(handle)
        os.replace(other, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(other)
        raise


def _is_row(line: str, replaces: Callable[[Row], bool]) -> bool:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and replaces(row)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While another workbench keeps an answer in this folder, wait."""
    handle = os.open(folder / ".kept.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
