"""List the kernels that compute each part of a run's model, for the journal and `tui-tuner doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tui_tuner.compute import attention
from tui_tuner.compute.forward import ForwardWay
from tui_tuner.compute.kernels.available_kernels import list_available_kernels
from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.compute.low_rank.lora_choice import JOINT, ONE, PART
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.runs.events import Kernels
from tui_tuner.training.watching.reporting import Reporter


def make_kernels_event(chosen: Sequence[ChosenKernel]) -> Kernels:
    return Kernels([asdict(one) for one in chosen])


def describe_chosen_attention(model: Any, way: ForwardWay, device: Device) -> list[ChosenKernel]:
    """Return what computes attention, once the way is settled and was tried."""
    if way.segments:
        return attention.list_used_kernels() or [attention.describe_device_attention(device)]
    stock = str(getattr(model.config, "_attn_implementation", "") or "eager")
    return [ChosenKernel("attention", stock, _("the model's own"))]


def warn_of_kernel_failures(reporter: Reporter) -> None:
    """Warn of attention kernels that failed since the last call."""
    for notice in attention.take_kernel_warnings():
        reporter.report_warning(
            "attention", notice, _("Another kernel is used instead; the loss is not affected.")
        )


def list_device_kernels(device: Device) -> list[ChosenKernel]:
    """List what computes each part of a model on a device, and why nothing faster does."""
    return [attention.describe_device_attention(device), _lora_on(device), *list_available_kernels(device)]


def _lora_on(device: Device) -> ChosenKernel:
    if device.kind == "cpu":
        return ChosenKernel(PART, _(ONE), _("for layers without dropout whose weights are not quantised"))
    return ChosenKernel(PART, _(JOINT), _("for layers whose outputs and gradients match peft's"))
