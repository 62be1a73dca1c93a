"""What this process can compute attention with: asked of the installed packages once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

from tui_tuner.compute.attention.choice import Kernel, Means
from tui_tuner.models.device import Device

HUB_KERNELS = {9: "kernels-community/flash-attn3"}  # by the capability's first number
HUB_KERNEL = "kernels-community/flash-attn2"


def means_on(device: Device, fail: Callable[[Kernel, Exception], None], hub: bool = False) -> Means:
    """What there is on a device.

    Args:
        hub: A kernel of the hub may be loaded, which downloads it the first time.
        fail: Told of a package that is installed and cannot be loaded.
    """
    from tui_tuner.compute.attention.varlen import torch_varlen

    if device.kind != "cuda":
        return Means(varlen=torch_varlen()[1])
    from tui_tuner.compute.attention.efficient import efficient_takes

    return Means(
        varlen=torch_varlen()[1],
        efficient=efficient_takes(),
        flash=_takes(Kernel.FLASH, flash_function, device, fail) if device.flash else frozenset(),
        hub=_takes(Kernel.HUB, hub_function, device, fail) if hub and device.ampere else frozenset(),
        triton=find_spec("triton") is not None,
    )


def _takes(
    kernel: Kernel,
    function: Callable[[Device], Callable[..., Any]],
    device: Device,
    fail: Callable[[Kernel, Exception], None],
) -> frozenset[str]:
    try:
        return parameters(function(device))
    except Exception as error:  # built for another torch, or not to be had
        fail(kernel, error)
        return frozenset()


@cache
def parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Names of a function's parameters."""
    return frozenset(inspect.signature(function).parameters)


@cache
def flash_function(device: Device) -> Callable[..., Any]:
    """The package flash_attn's function for sequences.

    Raises:
        Exception: it cannot be loaded, whatever the reason.
    """
    from flash_attn import flash_attn_varlen_func

    found: Callable[..., Any] = flash_attn_varlen_func
    return found


@cache
def hub_function(device: Device) -> Callable[..., Any]:
    """The same of a kernel of the hub.

    Raises:
        Exception: the package `kernels` is not installed, or the kernel cannot be had.
    """
    from kernels import get_kernel

    module = get_kernel(HUB_KERNELS.get(device.capability[0], HUB_KERNEL))
    found: Callable[..., Any] = module.flash_attn_varlen_func
    return found
