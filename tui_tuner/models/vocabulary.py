"""Compare a tokenizer's tokens with a model's embeddings: missing rows, and rows never trained.

Tokens that were added to a tokenizer have no row in the embeddings until these are resized, and the new row
means nothing until it is trained, which adapters in the layers do not do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tui_tuner.errors import ModelError
from tui_tuner.locales import _
from tui_tuner.text import one_line

_SAMPLED = 4096  # ordinary rows that tell what a trained one looks like
_NEAR = 0.1  # of the usual distance from the mean: nearer is where resizing puts a new row
_SHOWN = 5
_PIECE = 1 << 24  # ids counted at a time


def count_embedding_rows(model: Any) -> int:
    """Return how many tokens a model has an embedding for."""
    return int(model.get_input_embeddings().weight.shape[0])


def find_stored_tokens_beyond(folder: Path, rows: int) -> list[str]:
    """List added tokens in a tokenizer's folder for which a model of `rows` embeddings has none."""
    path = folder / "tokenizer.json"
    try:
        return [name for number, name in _stored_added(path, path.stat().st_mtime_ns) if number >= rows]
    except OSError:
        return []


@lru_cache(maxsize=8)
def _stored_added(path: Path, changed: int) -> tuple[tuple[int, str], ...]:
    """Read ids and texts of the added tokens in a file; empty if it is damaged, which loading will report."""
    try:
        found = orjson.loads(path.read_bytes())["added_tokens"]
        return tuple((int(one["id"]), str(one["content"])) for one in found)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return ()


def count_token_ids(parts: Iterable[np.ndarray], wanted: Collection[int]) -> dict[int, int]:
    """Count how often each of the wanted ids occurs in the arrays; ids that do not occur are left out."""
    ids = np.array(sorted(wanted), dtype=np.int64)
    counts = np.zeros(len(ids), dtype=np.int64)
    if not len(ids):
        return {}
    for part in parts:
        for start in range(0, len(part), _PIECE):
            piece = np.asarray(part[start : start + _PIECE])
            places = np.searchsorted(ids, piece)
            # Ids beyond the last wanted one would index outside; the comparison below drops them again.
            places[places == len(ids)] = 0
            counts += np.bincount(places[ids[places] == piece], minlength=len(ids))
    return {int(one): int(count) for one, count in zip(ids, counts, strict=True) if count}


def fit_padding_token(model: Any, tokenizer: Any) -> str:
    """Pad with the end token if the padding token has no embedding, and return a note about it."""
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    rows = count_embedding_rows(model)
    if pad is None or pad < rows or end is None or end >= rows:
        return ""
    name = one_line(tokenizer.pad_token)
    tokenizer.pad_token = tokenizer.eos_token
    return _(
        "The model has no embedding for the padding token {name}: rows are padded with {end} instead, which "
        "does not change the training.",
        name=name,
        end=one_line(tokenizer.eos_token),
    )


def find_ids_beyond(model: Any, tokenizer: Any) -> list[int]:
    """List the ids of the tokenizer that the model has no embedding for."""
    rows = count_embedding_rows(model)
    # `len` counts tokens, while added ones may have ids with gaps below them.
    highest = max(
        len(tokenizer), *(number + 1 for number in getattr(tokenizer, "added_tokens_decoder", {0: ""}))
    )
    return list(range(rows, highest))


def make_vocabulary_error(model: Any, tokenizer: Any, used: Mapping[int, int]) -> ModelError:
    """Make the error for rows with tokens beyond the embeddings, with a way out."""
    return ModelError(
        _(
            "the rows hold tokens that the model has no embedding for: {tokens}. The tokenizer has {count:,} "
            "tokens, the model {rows:,}.",
            tokens=name_counted_tokens(tokenizer, used),
            count=len(tokenizer),
            rows=count_embedding_rows(model),
        ),
        where="model.tokenizer",
        hint=_(
            "Use the tokenizer that belongs to the model; or add rows to the model: load it with "
            "transformers, call model.resize_token_embeddings({count}), save model and tokenizer into a "
            "folder, name that in model.name, and set method.train_embeddings to true.",
            count=len(tokenizer),
        ),
    )


def name_counted_tokens(tokenizer: Any, used: Mapping[int, int]) -> str:
    """Return some tokens with their counts, the most frequent first: `<port> (12), …`."""
    most = sorted(used.items(), key=lambda item: -item[1])
    words = [f"{one_line(str(tokenizer.convert_ids_to_tokens(one)), 40)} ({count:,})" for one, count in most]
    return ", ".join([*words[:_SHOWN], *(["…"] if len(words) > _SHOWN else [])])


def find_untrained_tokens(model: Any, tokenizer: Any) -> list[int]:
    """List the ids of added tokens whose embedding was never trained: all zeros, or near the mean.

    The padding token is left out, unless it also ends texts: attention never reads its embedding.
    """
    import torch

    weight = model.get_input_embeddings().weight.detach()
    added = {one for one in getattr(tokenizer, "added_tokens_decoder", {}) if one < len(weight)}
    added -= {tokenizer.pad_token_id} - {tokenizer.eos_token_id}
    step = max(1, len(weight) // _SAMPLED)
    ordinary = [row for row in range(0, len(weight), step) if row not in added]
    if not added or len(ordinary) < 2 or not weight.is_floating_point():
        return []
    # A sample of rows is enough for a median; all of a 150k vocabulary in float32 would take gigabytes.
    usual = weight[ordinary].float()
    mean = usual.mean(0)
    distance = float((usual - mean).norm(dim=1).median())
    length = float(usual.norm(dim=1).median())
    ids = sorted(added)
    rows = weight[ids].float()
    # Resizing draws new rows around the mean of the old ones; reserved rows that were never used are zeros.
    new = ((rows - mean).norm(dim=1) < _NEAR * distance) | (rows.norm(dim=1) < 1e-3 * length)
    return [one for one, found in zip(ids, torch.atleast_1d(new).tolist(), strict=True) if found]
