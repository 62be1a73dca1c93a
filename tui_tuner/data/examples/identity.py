"""Digest rows: for the token cache before they are read, and for a resumed run afterwards."""

from __future__ import annotations

import hashlib
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.data.chat.moment import find_template_dates
from tui_tuner.data.examples.store import TokenizedRows
from tui_tuner.data.records import Chat
from tui_tuner.data.sources.documents import fetch_hub_revision
from tui_tuner.data.sources.files import ResolvedSource

# Raised whenever the same input would give other tokens, masks or ledgers than before.
CACHE_VERSION = 9
_BLOCK = 1 << 20  # numbers that are hashed at once
# Fields that change the split or the use of rows, but not the rows themselves.
_NOT_TOKENS = {"packing", "masking", "validation", "max_dropped", "preflight", "seed", "workers", "path"}


def make_cache_key(
    config: RunConfig, data: DataSection, tokenizer: Any, sources: list[ResolvedSource], task: Any = None
) -> str:
    """Name the tokenised rows of this data with this tokenizer, these settings and this task's code."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(digest_task(task))
    settings = {k: v for k, v in data.model_dump(mode="json").items() if k not in _NOT_TOKENS}
    shape = {"version": CACHE_VERSION, "task": config.task, "data": settings}
    digest.update(orjson.dumps(shape, option=orjson.OPT_SORT_KEYS))
    beside = None if task is None else task.read_cache_extras(config, tokenizer)
    digest.update(orjson.dumps([find_dates_written(tokenizer, task), beside], option=orjson.OPT_SORT_KEYS))
    digest.update(digest_tokenizer(tokenizer))
    if data.limit is not None and data.pick == "random":
        digest.update(f"picked by {data.seed}".encode())
    for resolved in sources:
        digest.update(resolved.source.format.encode())
        # Notes are stored with the tokens: the same files found through another folder have other notes.
        digest.update("\n".join(resolved.notes).encode("utf-8", "replace"))
        for file in resolved.files:
            digest.update(f"\n{file.name}\n{file.kind}\n".encode("utf-8", "replace"))
            digest.update(_digest_content(file.path, file.kind))
    if data.cleaning.phrases and data.cleaning.refusals:
        digest.update(_digest_content(data.cleaning.phrases, "text"))
    return digest.hexdigest()


def find_dates_written(tokenizer: Any, task: Any = None) -> dict[str, str]:
    """Return what a template writes of the date, if the task renders chats with it."""
    return find_template_dates(tokenizer) if task is None or Chat in task.records else {}


def digest_task(task: Any) -> bytes:
    """Digest a task's module and columns: an edited task must not get its old examples."""
    if task is None:
        return b""
    digest = hashlib.blake2b(repr(sorted(task.columns.items())).encode(), digest_size=16)
    source = getattr(sys.modules.get(type(task).__module__), "__file__", None)
    if source:
        digest.update(Path(source).read_bytes())
    return digest.digest()


def digest_tokenizer(tokenizer: Any) -> bytes:
    """Digest everything that decides how text becomes ids, including the chat template."""
    parts = (digest_splitting(tokenizer), digest_vocabulary(tokenizer), digest_template(tokenizer))
    return hashlib.blake2b("".join(parts).encode(), digest_size=16).digest()


def digest_template(tokenizer: Any) -> str:
    """Digest the text of the chat template."""
    template = getattr(tokenizer, "chat_template", None)
    return _digest_hex(repr(template).encode("utf-8", "replace"))


def digest_vocabulary(tokenizer: Any) -> str:
    """Digest the tokens with their ids, and which of them are special."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(orjson.dumps(sorted(tokenizer.get_vocab().items())))
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    digest.update(repr([str(getattr(tokenizer, name, None)) for name in names]).encode())
    return digest.hexdigest()


def digest_splitting(tokenizer: Any) -> str:
    """Digest how text is split into tokens, as the library writes it; another version may differ."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return ""
    parts = orjson.loads(backend.to_str())
    # The library also writes how the last batch was cut or padded, which does not matter here.
    passing = {"truncation", "padding"}
    return _digest_hex(orjson.dumps({name: value for name, value in parts.items() if name not in passing}))


def digest_rows(rows: TokenizedRows | None) -> str:
    """Digest examples in their order: ids, labels, weights and columns, but not their place in the store.

    Each array is read once, at about a GiB a second.
    """
    if rows is None or not len(rows):
        return ""
    # The fastest of hashlib on recent processors, which have instructions for it.
    digest = hashlib.sha256()
    used, order = np.unique(rows.examples, return_inverse=True)
    digest.update(np.ascontiguousarray(order, dtype=np.int64).data)
    for name, values in sorted({**rows.columns, "length": rows.lengths}.items()):
        digest.update(f"{name} {values.dtype}".encode())
        digest.update(np.ascontiguousarray(values).data)
    store = rows.store
    offsets = np.asarray(store.example["offset"])[used]
    ends = offsets + np.asarray(store.example["length"])[used]
    breaks = np.flatnonzero(offsets[1:] != ends[:-1])  # where examples of the other side are between
    firsts, lasts = offsets[np.r_[0, breaks + 1]], ends[np.r_[breaks, len(ends) - 1]]
    weights = () if store.weights is None else (store.weights,)
    for array in (store.ids, store.labels, *weights):
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            for start in range(first, last, _BLOCK):
                digest.update(np.ascontiguousarray(array[start : min(start + _BLOCK, last)]).data)
    return digest.hexdigest()


def _digest_hex(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _digest_content(path: str, kind: str) -> bytes:
    """Digest a file's bytes; for the demo the package's version, for a hub data set its revision."""
    if kind == "demo":
        from tui_tuner import __version__, demo

        folder = Path(demo.__file__).parent
        parts = [item.read_bytes() for item in sorted(folder.glob("*.py"))]
        return hashlib.blake2b(b"".join(parts) + __version__.encode(), digest_size=16).digest()
    if kind == "hub":
        # A data set whose revision is unknown is never taken from the cache.
        return (fetch_hub_revision(path) or uuid.uuid4().hex).encode()
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()
