"""What a model's own generation config says of where an answer ends."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import TunerError
from tui_tuner.models.loading import cached_only, model_source
from tui_tuner.models.lookup import read_config

FILE = "generation_config.json"


def generation_ends(model: ModelSection, tokenizer: Any) -> list[str]:
    """Texts of the tokens that end generation by `generation_config.json`, or by `config.json` where that is
    missing; none where a model has neither, such as one with random weights.

    Ids that the tokenizer does not know are left out: they belong to another vocabulary.
    """
    if model.architecture is not None:
        return []
    values = _read(model, FILE) or _read(model, "config.json")
    ids = values.get("eos_token_id")
    known = len(tokenizer)
    found = []
    for number in ids if isinstance(ids, list) else [ids]:
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < known:
            found.append(str(tokenizer.convert_ids_to_tokens(number)))
    return found


def _read(model: ModelSection, name: str) -> dict[str, Any]:
    """A JSON file of the model; empty where it has none or it cannot be read: loading will say what is."""
    try:
        source = model_source(model)
        path = Path(source) / name if os.path.isdir(source) else _find(source, name, model.revision)
        return read_config(path) if path is not None and path.is_file() else {}
    except TunerError:
        return {}


@cache  # the cache key and each encoder ask, and a hub that is out of reach takes seconds each time
def _find(source: str, name: str, revision: str | None) -> Path | None:
    """A file of a hub model, from the cache on this machine or the hub; None if it has none."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    kept = try_to_load_from_cache(source, name, revision=revision)
    if isinstance(kept, str):
        return Path(kept)
    if kept is not None or cached_only(source, revision):  # known not to be there, or not to be had
        return None
    try:
        return Path(hf_hub_download(source, name, revision=revision))
    except Exception:  # whatever the hub's client raises, there is no such file to be had
        return None
