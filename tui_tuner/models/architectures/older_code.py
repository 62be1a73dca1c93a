"""Models whose only code is their own, for a transformers of years ago: refused before any download."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tui_tuner.config.advice import advise, write_setting
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.errors import ModelError
from tui_tuner.locales import N_, _
from tui_tuner.models.hub.place import is_path
from tui_tuner.text import one_line

# ChatGLM 1 to 3, by whichever hub and owner; GLM-4 without `-hf` has the same code
_NAMES = re.compile(r"(?:^|/)(?:chatglm\d?-6b|glm-4-9b)(?!.*-hf$)(?:-[\w.]+)*$", re.IGNORECASE)
_OLD_TYPE = "chatglm"  # in config.json
_NEAREST = "zai-org/glm-4-9b-chat-hf"
_SMALLER = "Qwen/Qwen3-4B"


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
        hint=advise(
            N_(
                "The nearest model is its successor, {nearest} (9B), or the smaller {smaller}. To try the "
                "code all the same, read it and agree with {agree}.",
                nearest=write_setting({"model.name": _NEAREST}),
                smaller=write_setting({"model.name": _SMALLER}),
                agree=write_setting({"model.trust_remote_code": True}),
            )
        ),
    )


def _has_older_code(model: ModelSection) -> bool:
    folder = Path(model.name).expanduser()
    if not is_path(model.name):
        return bool(_NAMES.search(model.name))
    path = folder / "config.json"
    if not os.path.isfile(path):
        return False
    from tui_tuner.models.lookup import read_config

    try:
        values = read_config(path)
    except ModelError:
        return False  # whoever loads it says what is wrong
    return values.get("model_type") == _OLD_TYPE
