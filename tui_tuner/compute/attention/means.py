"""Attention functions of the installed packages, each looked up once per process."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

from tui_tuner.compute.attention.kernel_choice import Kernel, KernelMeans
from tui_tuner.models.device import Device

HUB_KERNELS = {9: "kernels-community/flash-attn3"}  # by the major compute capability
HUB_KERNEL = "kernels-community/flash-attn2"


def find_attention_means(
    device: Device, fail: Callable[[Kernel, Exception], None], hub: bool = False
) -> KernelMeans:
    """Find the attention functions that are usable on a device.

    Args:
        hub: Whether a kernel may be loaded from the hub, which downloads it the first time.
        fail: Called for a package that is installed but cannot be loaded.
    """
    from tui_tuner.compute.attention.varlen import find_torch_varlen

    if device.kind != "cuda":
        return KernelMeans(varlen=find_torch_varlen()[1])
    from tui_tuner.compute.attention.efficient import find_efficient_arguments

    return KernelMeans(
        varlen=find_torch_varlen()[1],
        efficient=find_efficient_arguments(),
        flash=_list_parameters(Kernel.FLASH, load_flash_function, device, fail)
        if device.can_use_flash
        else frozenset(),
        hub=_list_parameters(Kernel.HUB, load_hub_function, device, fail)
        if hub and device.is_ampere
        else frozenset(),
        triton=find_spec("triton") is not None,
    )


def _list_parameters(
    kernel: Kernel,
    function: Callable[[Device], Callable[..., Any]],
    device: Device,
    fail: Callable[[Kernel, Exception], None],
) -> frozenset[str]:
    try:
        return list_function_parameters(function(device))
    # A package that was built for another torch fails in many ways, also with undefined symbols.
    except Exception as error:
        fail(kernel, error)
        return frozenset()


@cache
def list_function_parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of a function's parameters, which differ between versions."""
    return frozenset(inspect.signature(function).parameters)


@cache
def load_flash_function(device: Device) -> Callable[..., Any]:
    """Load the varlen function of the package flash_attn.

    Raises:
        Exception: it cannot be loaded, for whatever reason.
    """
    from flash_attn import flash_attn_varlen_func

    found: Callable[..., Any] = flash_attn_varlen_func
    return found


@cache
def load_hub_function(device: Device) -> Callable[..., Any]:
    """Load the varlen function of a kernel from the hub.

    Raises:
        Exception: the package `kernels` is not installed, or the kernel cannot be loaded.
    """
    from kernels import get_kernel

    module = get_kernel(HUB_KERNELS.get(device.capability[0], HUB_KERNEL))
    found: Callable[..., Any] = module.flash_attn_varlen_func
    return found
