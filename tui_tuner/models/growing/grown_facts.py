"""Count the embeddings of a model after its vocabulary has grown, before anything is loaded."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import orjson

from tui_tuner.config.schema import ModelSection
from tui_tuner.config.sections.new_tokens import LEARN
from tui_tuner.errors import TunerError
from tui_tuner.models.growing.growth import Growth, read_growth
from tui_tuner.models.growing.listed import add_listed, read_listing
from tui_tuner.models.growing.new_rows import count_grown_rows
from tui_tuner.models.growing.tokenizer_kinds import GrowingTokenizer, open_growing
from tui_tuner.models.hub.place import find_folder_on_disk
from tui_tuner.models.tiny import find_tiny_folder

PLAIN = "tokenizer.json"
_Facts = TypeVar("_Facts", bound=Any)  # `models.facts.ModelFacts`, which is made with this


def grow_facts(facts: _Facts, model: ModelSection) -> _Facts:
    """Return the shapes of a model with the new tokens that its config asks for.

    Learned ones are as many as are asked for: the rows may yield fewer. Without a tokenizer on this machine,
    each listed word is counted as one token, and the embeddings as having no room to spare.
    """
    brought = _find_brought_tokens(model)
    if brought is not None:
        vocab = count_grown_rows(facts.vocab, brought.first, brought.rows)
        own = len(brought.tokens) if model.adapter_use == "continue" and _trains_rows(model) else 0
        return _replace_rows(facts, vocab, own)
    if model.new_tokens is None:
        return facts
    count, first = count_new_tokens(model)
    first = facts.vocab if first is None else first
    vocab = count_grown_rows(facts.vocab, first, first + count)
    return _replace_rows(facts, vocab, count if model.new_tokens_train == "rows" else 0)


def _replace_rows(facts: _Facts, vocab: int, own: int) -> _Facts:
    raw = facts.raw | ({"vocab_size": vocab} if "vocab_size" in facts.raw else {})
    return dataclasses.replace(facts, vocab=vocab, new_rows=own, raw=raw)


def _find_brought_tokens(model: ModelSection) -> Growth | None:
    """Return the new tokens of the adapter that a run begins with; None without any."""
    if model.adapter is None:
        return None
    try:
        return read_growth(Path(model.adapter).expanduser())
    except TunerError:
        return None  # the run says what is wrong with it


def _trains_rows(model: ModelSection) -> bool:
    """Return whether an adapter has rows of embeddings alone."""
    try:
        settings = orjson.loads((Path(str(model.adapter)).expanduser() / "adapter_config.json").read_bytes())
        return bool(settings.get("trainable_token_indices"))
    except (OSError, ValueError, AttributeError):
        return False


def settle_new_tokens(model: ModelSection, count: int) -> ModelSection:
    """Return the section with the number of tokens that were really added, for `grow_facts`."""
    return model.model_copy(update={"new_tokens": {LEARN: count}}) if model.new_tokens else model


def count_new_tokens(model: ModelSection) -> tuple[int, int | None]:
    """Return how many new tokens a config asks for, and the id of the first; None if that is not known."""
    asked = model.new_tokens
    path = find_plain_tokenizer(model)
    if isinstance(asked, dict) and LEARN in asked:
        growing = open_plain(path) if path is not None else None
        return int(asked[LEARN]), None if growing is None else growing.first
    if path is None:
        return len(asked) if isinstance(asked, list) else 0, None
    try:
        return _count_listed(path, path.stat().st_mtime_ns, orjson.dumps(asked))
    except (OSError, TunerError):
        return 0, None  # the run says what is wrong with them


@lru_cache(maxsize=8)
def _count_listed(path: Path, changed: int, asked: bytes) -> tuple[int, int | None]:
    growing = open_plain(path)
    if growing is None:
        return 0, None
    listing = read_listing(orjson.loads(asked))
    add_listed(growing, listing)
    return len(growing.added) + len(listing.phrases), growing.first


def check_new_tokens(model: ModelSection) -> None:
    """Check the new tokens of a config as far as the files on this machine tell.

    Raises:
        ConfigError: the list or the file cannot be used.
        ModelError: the tokenizer cannot grow.
    """
    if model.new_tokens is None:
        return
    learns = isinstance(model.new_tokens, dict) and LEARN in model.new_tokens
    listing = None if learns else read_listing(model.new_tokens)
    path = find_plain_tokenizer(model)
    if path is None:
        return
    import tokenizers

    try:
        tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
    except Exception:  # the library raises a bare Exception for a damaged file; loading the model names it
        return
    growing = open_growing(tokenizer)
    if listing is not None:
        add_listed(growing, listing)


def find_plain_tokenizer(model: ModelSection) -> Path | None:
    """Find the file of a model's tokenizer on this machine, without asking a hub; None if there is none."""
    name = model.tokenizer or model.name
    folder = find_tiny_folder(name) or Path(name).expanduser()
    if not folder.is_dir():
        found = find_folder_on_disk(model.model_copy(update={"name": name}))
        if found is None:
            return None
        folder = found
    return folder / PLAIN if (folder / PLAIN).is_file() else None


def open_plain(path: Path) -> GrowingTokenizer | None:
    """Open a tokenizer's file without transformers; None if it is damaged or cannot grow."""
    import tokenizers

    try:
        tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        return open_growing(tokenizer)
    except Exception:  # the library raises a bare Exception for a damaged file; loading the model names it
        return None
