"""Models whose only code is their own, for a transformers of years ago: refused before any download.

Where somebody agreed to run that code, it is tried, and what it fails with is said with the nearest model.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.place import is_model_path
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

# ChatGLM 1 to 3, by whichever hub and owner; GLM-4 without `-hf` has the same code
_NAMES = re.compile(r"(?:^|/)(?:chatglm\d?-6b|glm-4-9b)(?!.*-hf$)(?:-[\w.]+)*$", re.IGNORECASE)
_OLD_TYPE = "chatglm"  # in config.json
_NEAREST = "zai-org/glm-4-9b-chat-hf"
_SMALLER = "Qwen/Qwen3-4B"
_TRIED = 4  # tokens


def check_older_code(model: ModelSection) -> None:
    """Refuse a model that runs with its own older code alone, unless somebody agreed to run that code.

    Raises:
        ModelError: it needs `model.trust_remote_code`; the hint names the nearest model without.
    """
    if model.architecture is not None or model.trust_remote_code or not _has_older_code(model):
        return
    raise ModelError(
        _(
            "transformers has no code for ChatGLM: the model brings Python code of its own, written for a "
            "transformers of 2023, and most likely fails with the one installed here."
        ),
        where=one_line(model.name, 120),
        field="model.name",
        hint=build_hint(
            N_(
                "The nearest model is its successor, {nearest} (9B), or the smaller {smaller}. To try the "
                "code all the same, read it and agree with {agree}.",
                nearest=write_setting({"model.name": _NEAREST}),
                smaller=write_setting({"model.name": _SMALLER}),
                agree=write_setting({"model.trust_remote_code": True}),
            )
        ),
    )


@contextlib.contextmanager
def name_nearest(model: ModelSection) -> Iterator[None]:
    """Within it, an error of older code that somebody agreed to run names the nearest model without.

    Raises:
        ModelError: the code does not run.
    """
    try:
        yield
    except ModelError as error:
        if not _is_tried(model):
            raise
        raise ModelError(
            _(
                "the code that ChatGLM brings does not run with transformers {version}: {error}",
                version=importlib.metadata.version("transformers"),
                error=one_line(error.what, 300),
            ),
            where=one_line(model.name, 120),
            field="model.name",
            hint=build_hint(
                N_(
                    "The nearest model is its successor, {nearest} (9B), or the smaller {smaller}.",
                    nearest=write_setting({"model.name": _NEAREST, "model.trust_remote_code": False}),
                    smaller=write_setting({"model.name": _SMALLER, "model.trust_remote_code": False}),
                )
            ),
        ) from error


def _is_tried(model: ModelSection) -> bool:
    """Return whether a model runs older code of its own that somebody agreed to."""
    return model.architecture is None and model.trust_remote_code and _has_older_code(model)


def try_older_code(model: ModelSection, loaded: Any) -> None:
    """Compute a few tokens with a loaded model that has older code: code may load and not compute.

    Raises:
        ModelError: what it gives are no logits [1, tokens, vocabulary]; and whatever the code raises.
    """
    if not _is_tried(model):
        return
    import torch

    ids = torch.ones(1, _TRIED, dtype=torch.long, device=next(loaded.parameters()).device)
    with torch.no_grad():
        logits: Tensor | None = getattr(loaded(input_ids=ids), "logits", None)
    if logits is None or tuple(logits.shape[:2]) != (1, _TRIED):
        raise ModelError(_("it computes no logits for each token."))


def _has_older_code(model: ModelSection) -> bool:
    folder = Path(model.name).expanduser()
    if not is_model_path(model.name):
        return bool(_NAMES.search(model.name))
    path = folder / "config.json"
    if not os.path.isfile(path):
        return False
    from tui_tuner.models.lookup import read_config_json

    try:
        values = read_config_json(path)
    except ModelError:
        return False  # whoever loads it says what is wrong
    return values.get("model_type") == _OLD_TYPE
