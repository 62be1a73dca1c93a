"""Find out where a model comes from: this package, a folder, or a hub, and which commit of it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tui_tuner.config.kinds.tasks import is_tiny_model
from tui_tuner.config.schema import ModelSection
from tui_tuner.locales import _
from tui_tuner.models.hub.modelscope import BRANCH as MASTER
from tui_tuner.models.hub.place import is_model_path
from tui_tuner.models.loading import find_model_source, find_tokenizer_source
from tui_tuner.runs.events import ModelSource

_FILES = {"model": "config.json", "tokenizer": "tokenizer_config.json"}


def find_model_sources(model: ModelSection) -> list[ModelSource]:
    """Return the source of the model, and of its tokenizer if that comes from elsewhere."""
    if model.architecture is not None:
        found = [
            ModelSource("model", str(model.architecture.get("model_type") or _("a new model")), "random")
        ]
    else:
        found = [_find_source("model", model.name, find_model_source(model), model)]
    if model.tokenizer not in (None, "train"):
        # `model.revision` is a commit of the model's repository, which the tokenizer's does not have.
        found.append(
            _find_source(
                "tokenizer",
                str(model.tokenizer),
                find_tokenizer_source(model),
                model.model_copy(update={"revision": None}),
            )
        )
    return found


def _find_source(what: str, name: str, source: str, model: ModelSection) -> ModelSource:
    revision = model.revision
    if name == "demo" or is_tiny_model(name):
        return ModelSource(what, name, "package", source)
    if os.path.isdir(source):
        if is_model_path(name):
            return ModelSource(what, name, "folder", source)
        # A hub id with a folder is of ModelScope, whose store has a folder for each revision.
        return ModelSource(what, name, "hub", source, revision or MASTER)
    from huggingface_hub import try_to_load_from_cache

    path = None
    # A name that the library refuses, or a damaged cache: the commit stays unknown.
    with suppress(Exception):
        path = try_to_load_from_cache(source, _FILES[what], revision=revision)
    if not isinstance(path, str):
        return ModelSource(what, name, "hub", revision=revision or "")
    # The cache has its files under `snapshots/<commit>`.
    snapshot = Path(path).parent
    return ModelSource(what, name, "hub", str(snapshot), snapshot.name)
