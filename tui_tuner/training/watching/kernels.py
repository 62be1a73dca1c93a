"""What computes each part of a run's model, for the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tui_tuner.compute.attention import NAME
from tui_tuner.compute.forward import ForwardWay
from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.locales import _
from tui_tuner.models.device import Device, torch_has_varlen
from tui_tuner.runs.events import Kernels


def kernels_event(chosen: Sequence[Chosen]) -> Kernels:
    """The event that tells them."""
    return Kernels([asdict(one) for one in chosen])


def lora_chosen(quickened: int | Sequence[Chosen]) -> list[Chosen]:
    """What computes LoRA layers: what `low_rank.quicken` says, or the number of layers it has replaced."""
    if not isinstance(quickened, int):
        return list(quickened)
    return [Chosen("lora", _("one step of autograd"), "", quickened)] if quickened else []


def attention_chosen(model: Any, way: ForwardWay) -> Chosen:
    """What computes the attention of flat or padded rows, once the way is settled."""
    if way.segments:
        return Chosen("attention", NAME, _("each sequence of a flat row sees itself alone"))
    stock = str(getattr(model.config, "_attn_implementation", "") or "eager")
    return Chosen("attention", stock, _("the model's own"))


def kernels_on(device: Device) -> list[dict[str, Any]]:
    """What can compute the parts of a model on a device, as `kernels` events have it."""
    return [asdict(one) for one in (*_attention_on(device), *_lora_on(device))]


def _attention_on(device: Device) -> list[Chosen]:
    if device.kind == "cpu":
        return [Chosen("attention", NAME, _("one call a sequence"))]
    if torch_has_varlen() and device.ampere:
        return [Chosen("attention", "torch varlen_attn", _("one call for all sequences of a row"))]
    why = (
        _("torch varlen_attn: needs a GPU of Ampere's generation or newer")
        if not device.ampere
        else _("torch varlen_attn: this PyTorch has none with all that is asked of it")
    )
    return [Chosen("attention", NAME, why)]


def _lora_on(device: Device) -> list[Chosen]:
    if device.kind == "cpu":
        return [Chosen("lora", _("one step of autograd"), _("where no dropout and no quantised weight is"))]
    return [Chosen("lora", "PEFT", _("one step of autograd: for processors only"))]
