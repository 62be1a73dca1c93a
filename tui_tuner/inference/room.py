"""Checks before loading that several models fit into memory together."""

from __future__ import annotations

from collections.abc import Iterable

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import OutOfMemoryError, TunerError
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.models.device import measure_free_memory
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import find_torch_dtype
from tui_tuner.text import format_bytes, one_line

# Bytes per weight in 4 and 8 bits, with the scales that bitsandbytes keeps per block of 64 (nested) or per
# row
_QUANTISED = {"nf4": 0.5 + 1 / 64, "int8": 1.01}
_PAGES = 1.02  # the overhead of allocators, which round up


def check_model_room(models: Iterable[tuple[Origin, RunConfig]], device: str) -> None:
    """Raise `OutOfMemoryError` if the weights of these models need more than the free memory.

    Models of unknown shape are not counted: loading them will show it.

    Args:
        models: Models that share no weights with each other or with loaded ones.
    """
    needed, names = 0.0, []
    for origin, config in models:
        try:
            # Only to prevent a crash: no download for the sake of an estimate
            facts = load_facts(config.model, network=False)
        except TunerError:
            continue
        needed += count_weight_bytes(facts.parameters, facts.token_parameters, config, device)
        names.append(one_line(origin.display_label))
    free = measure_free_memory(device)
    if needed * _PAGES <= free:
        return
    raise OutOfMemoryError(
        _(
            "needs {needed} for the weights, but only {free} is free on {device}.",
            needed=format_bytes(int(needed * _PAGES)),
            free=format_bytes(free),
            device=device,
        ),
        where=", ".join(names),
        hint=_(
            "Use fewer models or a smaller one, stop other programs that use the memory, or try --device cpu."
        ),
    )


def count_weight_bytes(parameters: int, embeddings: int, config: RunConfig, device: str) -> float:
    """Return the bytes of a model's weights as a config loads them; embeddings are never quantised."""
    width = find_torch_dtype(config.model.dtype, device).itemsize
    quantised = _QUANTISED.get(config.model.quantization)
    if quantised is None:
        return float(parameters * width)
    return embeddings * width + (parameters - embeddings) * quantised
