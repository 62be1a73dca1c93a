"""Texts that end an answer according to a model's own generation config."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import TunerError
from tui_tuner.models.loading import find_model_source, is_cache_only
from tui_tuner.models.lookup import read_config_json

FILE = "generation_config.json"


def list_generation_ends(model: ModelSection, tokenizer: Any) -> list[str]:
    """Return the tokens, as text, that end generation by `generation_config.json`, or by `config.json` where
    that is missing; an empty list where a model has neither, such as one with random weights.

    Ids that the tokenizer does not know are left out, as they belong to another vocabulary.
    """
    if model.architecture is not None:
        return []
    values = _read_json_file(model, FILE) or _read_json_file(model, "config.json")
    ids = values.get("eos_token_id")
    known = len(tokenizer)
    found = []
    for number in ids if isinstance(ids, list) else [ids]:
        # JSON's `true` would pass for token 1.
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < known:
            found.append(str(tokenizer.convert_ids_to_tokens(number)))
    return found


def _read_json_file(model: ModelSection, name: str) -> dict[str, Any]:
    """Read a JSON file of the model; empty if it has none or it cannot be read, which loading will report."""
    try:
        source = find_model_source(model)
        path = Path(source) / name if os.path.isdir(source) else _find_hub_file(source, name, model.revision)
        return read_config_json(path) if path is not None and path.is_file() else {}
    except TunerError:
        return {}


# The cache key and each encoder ask, and an unreachable hub takes seconds each time.
@cache
def _find_hub_file(source: str, name: str, revision: str | None) -> Path | None:
    """Find a file of a hub model in the cache or on the hub; None if it has none."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    kept = try_to_load_from_cache(source, name, revision=revision)
    if isinstance(kept, str):
        return Path(kept)
    # Not None and not a path: the cache remembers that the hub has no such file.
    if kept is not None or is_cache_only(source, revision):
        return None
    try:
        return Path(hf_hub_download(source, name, revision=revision))
    # The hub's client raises many kinds of errors, and all of them mean that the file is not available.
    except Exception:
        return None
