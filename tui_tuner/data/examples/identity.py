"""What rows are, in digests: for the token cache before they are read, for a resumed run afterwards."""

from __future__ import annotations

import hashlib
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.data.chat.moment import dates_of
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.records import Chat
from tui_tuner.data.sources.documents import hub_revision
from tui_tuner.data.sources.files import Resolved

# Raised whenever the same input would give other tokens, masks or ledgers than before.
CACHE_VERSION = 8
_BLOCK = 1 << 20  # numbers that are hashed at once
# What changes the split or the use of rows, but not the rows themselves.
_NOT_TOKENS = {"packing", "validation", "max_dropped", "preflight", "seed", "workers", "path"}


def cache_key(
    config: RunConfig, data: DataSection, tokenizer: Any, sources: list[Resolved], task: Any = None
) -> str:
    """A name for the tokenised rows of this data with this tokenizer, these settings and this task's code."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(task_identity(task))
    settings = {k: v for k, v in data.model_dump(mode="json").items() if k not in _NOT_TOKENS}
    shape = {"version": CACHE_VERSION, "task": config.task, "data": settings}
    digest.update(orjson.dumps(shape, option=orjson.OPT_SORT_KEYS))
    beside = None if task is None else task.read_beside(config, tokenizer)
    digest.update(orjson.dumps([dates_written(tokenizer, task), beside], option=orjson.OPT_SORT_KEYS))
    digest.update(tokenizer_identity(tokenizer))
    if data.limit is not None and data.pick == "random":
        digest.update(f"picked by {data.seed}".encode())
    for resolved in sources:
        digest.update(resolved.source.format.encode())
        # the same files are said other things about where another folder was named
        digest.update("\n".join(resolved.notes).encode("utf-8", "replace"))
        for file in resolved.files:
            digest.update(f"\n{file.name}\n{file.kind}\n".encode("utf-8", "replace"))
            digest.update(_content(file.path, file.kind))
    if data.cleaning.phrases and data.cleaning.refusals:
        digest.update(_content(data.cleaning.phrases, "text"))
    return digest.hexdigest()


def dates_written(tokenizer: Any, task: Any = None) -> dict[str, str]:
    """What of the date stands in the rows, where the task renders chats with a template that writes it."""
    return dates_of(tokenizer) if task is None or Chat in task.records else {}


def task_identity(task: Any) -> bytes:
    """A digest of a task's module and columns: a task that was edited must not meet its old examples."""
    if task is None:
        return b""
    digest = hashlib.blake2b(repr(sorted(task.columns.items())).encode(), digest_size=16)
    source = getattr(sys.modules.get(type(task).__module__), "__file__", None)
    if source:
        digest.update(Path(source).read_bytes())
    return digest.digest()


def tokenizer_identity(tokenizer: Any) -> bytes:
    """A digest of all that decides how text becomes ids, the chat template included."""
    parts = (splitting_identity(tokenizer), vocabulary_identity(tokenizer), template_identity(tokenizer))
    return hashlib.blake2b("".join(parts).encode(), digest_size=16).digest()


def template_identity(tokenizer: Any) -> str:
    """A digest of the chat template's text."""
    template = getattr(tokenizer, "chat_template", None)
    return _hex(repr(template).encode("utf-8", "replace"))


def vocabulary_identity(tokenizer: Any) -> str:
    """A digest of the tokens with their ids, and of which of them are special."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(orjson.dumps(sorted(tokenizer.get_vocab().items())))
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    digest.update(repr([str(getattr(tokenizer, name, None)) for name in names]).encode())
    return digest.hexdigest()


def splitting_identity(tokenizer: Any) -> str:
    """A digest of how text is split into tokens, as the library writes it; another version may differ.

    How a batch was cut or padded last is a part of what the library writes, and none of this.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    parts = orjson.loads(backend.to_str())
    passing = {"truncation", "padding"}
    return _hex(orjson.dumps({name: value for name, value in parts.items() if name not in passing}))


def rows_identity(rows: TokenizedRows | None) -> str:
    """A digest of examples in their order: ids, labels and columns; not of where they lie in the store.

    Each array is read once, at about a GiB a second.
    """
    if rows is None or not len(rows):
        return ""
    digest = hashlib.sha256()  # the quickest of hashlib on processors of the last years
    used, order = np.unique(rows.examples, return_inverse=True)
    digest.update(np.ascontiguousarray(order, dtype=np.int64).data)
    for name, values in sorted({**rows.columns, "length": rows.lengths}.items()):
        digest.update(f"{name} {values.dtype}".encode())
        digest.update(np.ascontiguousarray(values).data)
    store = rows.store
    offsets = np.asarray(store.example["offset"])[used]
    ends = offsets + np.asarray(store.example["length"])[used]
    breaks = np.flatnonzero(offsets[1:] != ends[:-1])  # behind which examples of the other side lie
    firsts, lasts = offsets[np.r_[0, breaks + 1]], ends[np.r_[breaks, len(ends) - 1]]
    for array in (store.ids, store.labels):
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            for start in range(first, last, _BLOCK):
                digest.update(np.ascontiguousarray(array[start : min(start + _BLOCK, last)]).data)
    return digest.hexdigest()


def _hex(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _content(path: str, kind: str) -> bytes:
    """A digest of a file's bytes; the demo goes by the package's version, a hub set by its revision."""
    if kind == "demo":
        from tui_tuner import __version__, demo

        folder = Path(demo.__file__).parent
        parts = [item.read_bytes() for item in sorted(folder.glob("*.py"))]
        return hashlib.blake2b(b"".join(parts) + __version__.encode(), digest_size=16).digest()
    if kind == "hub":
        # a set whose revision cannot be told is never taken from the cache
        return (hub_revision(path) or uuid.uuid4().hex).encode()
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
