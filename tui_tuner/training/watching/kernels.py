"""What computes each part of a run's model, for the journal and for `tui-tuner doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tui_tuner.compute import attention
from tui_tuner.compute.forward import ForwardWay
from tui_tuner.compute.kernels.available import list_kernels
from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.compute.low_rank.choosing import JOINT, ONE, PART
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.runs.events import Kernels
from tui_tuner.training.watching.reporting import Reporter


def kernels_event(chosen: Sequence[Chosen]) -> Kernels:
    """The event that tells them."""
    return Kernels([asdict(one) for one in chosen])


def attention_chosen(model: Any, way: ForwardWay, device: Device) -> list[Chosen]:
    """What computes attention, once the way is settled and was tried."""
    if way.segments:
        return attention.kernels_in_use() or [attention.describe_on(device)]
    stock = str(getattr(model.config, "_attn_implementation", "") or "eager")
    return [Chosen("attention", stock, _("the model's own"))]


def tell_of_failures(reporter: Reporter) -> None:
    """Warn of the kernels for attention that failed since the last time."""
    for notice in attention.take_notices():
        reporter.warn("attention", notice, _("Another kernel takes its place: the loss is right."))


def kernels_on(device: Device) -> list[Chosen]:
    """What can compute the parts of a model on a device, and why not what is faster."""
    return [attention.describe_on(device), _lora_on(device), *list_kernels(device)]


def _lora_on(device: Device) -> Chosen:
    if device.kind == "cpu":
        return Chosen(PART, _(ONE), _("for layers without dropout whose weights are not quantised"))
    return Chosen(PART, _(JOINT), _("for layers that prove to give peft's own outputs and gradients"))
