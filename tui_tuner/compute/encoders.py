"""Position ids of transformers models: where their counting starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_OWN_POSITIONS = "create_position_ids_from_input_ids"


def unwrap_model(model: torch.nn.Module) -> torch.nn.Module:
    """Return the transformers model inside a wrapper such as peft's."""
    inner = getattr(model, "get_base_model", None)
    return inner() if inner is not None else model


def find_first_position(model: torch.nn.Module) -> int:
    """Return the position of a text's first token: 0, but in RoBERTa and its relatives padding_idx + 1."""
    plain = unwrap_model(model)
    # Kept in the model itself: walking over all modules for each micro-batch takes too long.
    known = plain.__dict__.get("_tui_tuner_first_position")
    if known is None:
        known = _find_first_position(plain)
        plain.__dict__["_tui_tuner_first_position"] = known
    return int(known)


def _find_first_position(model: torch.nn.Module) -> int:
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if (
            isinstance(padding, int)
            and hasattr(module, "position_embeddings")
            and _counts_from_padding(type(module))
        ):
            return padding + 1
    return 0


def _counts_from_padding(kind: type) -> bool:
    """Return whether embeddings derive positions from the ids, starting after padding_idx."""
    # Depending on the family, transformers has this function in the class or at module level.
    return hasattr(kind, _OWN_POSITIONS) or hasattr(sys.modules.get(kind.__module__), _OWN_POSITIONS)
