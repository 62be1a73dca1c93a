"""The classes that the head of a model tells apart, as its config.json names them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.config.schema import ModelSection
from tui_tuner.errors import TunerError
from tui_tuner.models.loading import cached_only, model_source
from tui_tuner.models.lookup import read_model_config

_UNNAMED = re.compile(r"LABEL_\d+")


def head_classes(model: ModelSection, kind: str) -> list[str]:
    """Names of the classes of the head in a model's files, by number; none where there is no such head.

    Args:
        kind: How the name of the class of transformers ends, such as `ForSequenceClassification`.
    """
    if model.architecture is not None:
        return []
    values = _read(model)
    architectures = values.get("architectures")
    if not isinstance(architectures, list) or not any(str(one).endswith(kind) for one in architectures):
        return []
    names = values.get("id2label")
    if not isinstance(names, Mapping):
        count = values.get("num_labels", 2)  # what is left out of a config.json is the library's default
        return [f"LABEL_{number}" for number in range(count if isinstance(count, int) else 2)]
    try:
        return [str(names[number]) for number in sorted(names, key=int)]
    except (ValueError, TypeError):
        return []


def class_names(model: Any) -> list[str]:
    """Names of the classes of a loaded model's head, by number."""
    named = model.config.id2label
    return [str(named[number]) for number in sorted(named)]


def are_unnamed(names: list[str]) -> bool:
    """Whether classes have nothing but the names that the library gives them."""
    return all(_UNNAMED.fullmatch(name) for name in names)


def _read(model: ModelSection) -> Mapping[str, Any]:
    """The model's config.json; nothing where it cannot be read, which loading will say."""
    try:
        source = model_source(model)
        if os.path.isdir(source):
            return read_model_config(Path(source) / "config.json")
        from transformers import PretrainedConfig

        where = {"revision": model.revision, "local_files_only": cached_only(source, model.revision)}
        return PretrainedConfig.get_config_dict(source, **where)[0]
    except (TunerError, OSError, ValueError):
        return {}
