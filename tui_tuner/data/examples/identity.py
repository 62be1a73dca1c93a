"""What decides whether tokenised rows can be used again: contents, tokenizer, template, settings."""

from __future__ import annotations

import hashlib
import sys
import uuid
from pathlib import Path
from typing import Any

import orjson

from tui_tuner.config.schema import DataSection, RunConfig
from tui_tuner.data.sources.documents import hub_revision
from tui_tuner.data.sources.files import Resolved

# Raised whenever the same input would give other tokens, masks or ledgers than before.
CACHE_VERSION = 5
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
    digest.update(tokenizer_identity(tokenizer))
    for resolved in sources:
        digest.update(resolved.source.format.encode())
        for file in resolved.files:
            digest.update(f"\n{file.name}\n{file.kind}\n".encode("utf-8", "replace"))
            digest.update(_content(file.path, file.kind))
    if data.cleaning.phrases:
        digest.update(_content(data.cleaning.phrases, "text"))
    return digest.hexdigest()


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
    digest = hashlib.blake2b(digest_size=16)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        digest.update(backend.to_str().encode())
    else:
        digest.update(orjson.dumps(sorted(tokenizer.get_vocab().items())))
    digest.update(repr(getattr(tokenizer, "chat_template", None)).encode("utf-8", "replace"))
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    digest.update(repr([str(getattr(tokenizer, name, None)) for name in names]).encode())
    return digest.digest()


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
