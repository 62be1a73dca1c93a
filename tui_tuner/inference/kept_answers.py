"""Answers that the user rated, saved as rows for training.

Three JSONL files, each in a layout that both `data.formats` and TRL read:

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


def keep_answer_rating(folder: Path, reply: Reply, rivals: Sequence[Reply]) -> list[str]:
    """Save the rating of an answer (`reply.good`), replacing its earlier rating.

    A good answer is preferred to each rival that is not good, and the other way round.

    Args:
        rivals: Other answers to the same messages.

    Returns:
        The names of the files that have a row about this answer.

    Raises:
        OSError: a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    good, judged = {"messages": reply.chat_messages}, _make_judged_row(reply)
    pairs = [_make_pair(reply, other) for other in rivals if reply.good and not other.good]
    pairs += [_make_pair(other, reply) for other in rivals if other.good and not reply.good]
    # A changed rating may turn a pair around, so both orders are removed
    both = {_make_row_key(_make_pair(reply, other)) for other in rivals} | {
        _make_row_key(_make_pair(other, reply)) for other in rivals
    }
    with _hold_lock(folder):
        _replace_rows(
            folder / GOOD, [good] if reply.good else [], lambda row: _make_row_key(row) == _make_row_key(good)
        )
        rows = [judged] if reply.good is not None else []
        _replace_rows(
            folder / JUDGED,
            rows,
            lambda row: _make_row_key({**row, "label": None}) == _make_row_key(_drop_label(judged)),
        )
        _replace_rows(folder / PREFERRED, pairs, lambda row: _make_row_key(row) in both)
    named = ((GOOD, bool(reply.good)), (JUDGED, reply.good is not None), (PREFERRED, bool(pairs)))
    return [name for name, there in named if there]


def _make_judged_row(reply: Reply) -> Row:
    return {"prompt": reply.asked, "completion": _make_completion(reply), "label": reply.good}


def _drop_label(row: Row) -> Row:
    return {**row, "label": None}


def _make_pair(better: Reply, worse: Reply) -> Row:
    return {"prompt": better.asked, "chosen": _make_completion(better), "rejected": _make_completion(worse)}


def _make_completion(reply: Reply) -> Messages:
    return [{"role": "assistant", "content": reply.text}]


def _make_row_key(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def _replace_rows(path: Path, rows: list[Row], replaces: Callable[[Row], bool]) -> None:
    """Append rows to a file and remove those that they replace, atomically.

    Lines that are not valid rows stay unchanged.
    """
    # Replacing a symbolic link would leave its target as it is
    path = Path(os.path.realpath(path))
    text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
    lines = (
        text.removesuffix("\n").split("\n") if text else []
    )  # splitlines() would break at U+2028, which JSON strings may contain
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
            # On disk before the rename, so that a crash leaves either the old file or the new one
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
def _hold_lock(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, waiting for other workbenches that write to it."""
    handle = os.open(folder / ".kept.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
