"""Values of the LoRA family's fields that are valid alone and cannot be combined."""

from __future__ import annotations

from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.model import ModelSection
from tui_tuner.locales import _


def list_low_rank_problems(method: MethodSection, model: ModelSection) -> list[str]:
    """Return each as `field: sentence`; a field that the method does not read is none."""
    found = []
    if method.reads_field("init"):
        found += [f"method.init: {said}" for said in _list_init_problems(method.init, model.quantization)]
    if method.reads_field("final_rank") and method.kept_rank >= method.rank:
        if method.final_rank is None:
            said = _("a rank of {rank} leaves nothing to take away; use 2 or more", rank=method.rank)
            return [*found, f"method.rank: {said}"]
        said = _(
            "{final} is not below method.rank {rank}, so that there is nothing to take away",
            final=method.final_rank,
            rank=method.rank,
        )
        found.append(f"method.final_rank: {said}")
    return found


def _list_init_problems(init: str, quantization: str) -> list[str]:
    if init in ("pissa", "olora") and quantization != "none":
        return [
            _(
                "{init} takes a part out of the weights, and {quantization} weights would be rounded anew by "
                "that; use loftq for a model in 4 bits, or quantization none",
                init=init,
                quantization=quantization,
            )
        ]
    if init == "loftq" and quantization != "nf4":
        return [
            _(
                "loftq gives back what weights in 4 bits have lost, and here there are none; set "
                "model.quantization to nf4, or use default"
            )
        ]
    return []
