"""Whether models fit into memory together, before one of them is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import OutOfMemoryError, TunerError
from tui_tuner.inference.origin import Origin
from tui_tuner.locales import _
from tui_tuner.models.device import free_memory
from tui_tuner.models.facts import load_facts
from tui_tuner.models.loading import torch_dtype
from tui_tuner.text import human_bytes, one_line

# Weights in 4 and 8 bits, with the constants that bitsandbytes keeps for each block of 64 (nested) or row
_QUANTISED = {"nf4": 0.5 + 1 / 64, "int8": 1.01}
_PAGES = 1.02  # what allocators need beyond the weights themselves


def check_room(models: Iterable[tuple[Origin, RunConfig]], device: str) -> None:
    """Raise `OutOfMemoryError` where the weights of these models are more than what is free.

    Of a model whose shapes nobody knows nothing is said: loading it will tell.

    Args:
        models: Those that share no weights with each other, or with what is loaded.
    """
    needed, names = 0.0, []
    for origin, config in models:
        try:
            facts = load_facts(config.model, network=False)
        except TunerError:
            continue
        needed += weight_bytes(facts.parameters, facts.token_parameters, config, device)
        names.append(one_line(origin.label))
    free = free_memory(device)
    if needed * _PAGES <= free:
        return
    raise OutOfMemoryError(
        _(
            "needs {needed} for its weights, and {free} is free on {device}.",
            needed=human_bytes(int(needed * _PAGES)),
            free=human_bytes(free),
            device=device,
        ),
        where=", ".join(names),
        hint=_("Take fewer models or a smaller one, end what else uses the memory, or try --device cpu."),
    )


def weight_bytes(parameters: int, embeddings: int, config: RunConfig, device: str) -> float:
    """Bytes of a model's weights as a config holds them; embeddings are never quantised."""
    width = torch_dtype(config.model.dtype, device).itemsize
    quantised = _QUANTISED.get(config.model.quantization)
    if quantised is None:
        return float(parameters * width)
    return embeddings * width + (parameters - embeddings) * quantised
