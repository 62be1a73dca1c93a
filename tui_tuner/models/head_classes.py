"""Names of the classes of a model's head, as its config.json gives them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import TunerError
from tui_tuner.models.loading import find_model_source, is_cache_only
from tui_tuner.models.lookup import read_model_config

_UNNAMED = re.compile(r"LABEL_\d+")


def read_head_classes(model: ModelSection, kind: str) -> list[str]:
    """Return the class names of the head in a model's files, by number; empty if there is no such head.

    Args:
        kind: The end of the transformers class name, such as `ForSequenceClassification`.
    """
    if model.architecture is not None:
        return []
    values = _read_head_config(model)
    architectures = values.get("architectures")
    if not isinstance(architectures, list) or not any(str(one).endswith(kind) for one in architectures):
        return []
    names = values.get("id2label")
    if not isinstance(names, Mapping):
        # A value that a config.json leaves out has the library's default, 2.
        count = values.get("num_labels", 2)
        return [f"LABEL_{number}" for number in range(count if isinstance(count, int) else 2)]
    try:
        # JSON has texts as keys: sorted as they are, class 10 would come before class 2.
        return [str(names[number]) for number in sorted(names, key=int)]
    except (ValueError, TypeError):
        return []


def list_loaded_classes(model: Any) -> list[str]:
    """Return the class names of a loaded model's head, by number."""
    named = model.config.id2label
    return [str(named[number]) for number in sorted(named)]


def are_classes_unnamed(names: list[str]) -> bool:
    """Return whether classes have only the names that the library gives them."""
    return all(_UNNAMED.fullmatch(name) for name in names)


def _read_head_config(model: ModelSection) -> Mapping[str, Any]:
    """Read the model's config.json; empty if it cannot be read, which loading will report."""
    try:
        source = find_model_source(model)
        if os.path.isdir(source):
            return read_model_config(Path(source) / "config.json")
        from transformers import PretrainedConfig

        where = {"revision": model.revision, "local_files_only": is_cache_only(source, model.revision)}
        return PretrainedConfig.get_config_dict(source, **where)[0]
    except (TunerError, OSError, ValueError):
        return {}
