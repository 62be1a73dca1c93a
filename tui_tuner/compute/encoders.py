"""What models of transformers want to be given beside ids: where their positions begin."""

from __future__ import annotations

import sys
from typing import Any

_OWN_POSITIONS = "create_position_ids_from_input_ids"


def plain_model(model: Any) -> Any:
    """The model of transformers that peft or another wrapper stands around."""
    inner = getattr(model, "get_base_model", None)
    return inner() if inner is not None else model


def first_position(model: Any) -> int:
    """The position of a text's first token: 0, but in RoBERTa and its kin the one after padding's."""
    plain = plain_model(model)
    known = plain.__dict__.get("_tui_tuner_first_position")
    if known is None:
        known = _first_position(plain)
        plain.__dict__["_tui_tuner_first_position"] = known
    return int(known)


def _first_position(model: Any) -> int:
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and hasattr(module, "position_embeddings") and _counts(type(module)):
            return padding + 1
    return 0


def _counts(kind: type) -> bool:
    """Whether embeddings count positions by the ids, from padding's on."""
    return hasattr(kind, _OWN_POSITIONS) or hasattr(sys.modules.get(kind.__module__), _OWN_POSITIONS)
