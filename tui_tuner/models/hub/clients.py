"""Choose the client for a hub."""

from __future__ import annotations

from tui_tuner.models.hub.huggingface import HuggingFace
from tui_tuner.models.hub.kinds import MODELSCOPE
from tui_tuner.models.hub.modelscope import ModelScope


def find_hub_client(source: str) -> type[HuggingFace] | type[ModelScope]:
    """Return the client of a hub, one of `SOURCES`."""
    return ModelScope if source == MODELSCOPE else HuggingFace
