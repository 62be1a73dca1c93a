"""Kernels on this machine for parts of a model, and why others are missing. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil

from tui_tuner.compute.kernels.chosen_kernel import ChosenKernel
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.text import one_line

LIGER = "liger-kernel"
LIGER_LEAST, LIGER_BELOW = (0, 5), (0, 9)  # versions known to have the functions we use
# The limit of compiled variants: layers with and without windows, trained and frozen, in several dtypes.
# Beyond it PyTorch would run uncompiled.
VARIANTS = 64


def list_available_kernels(device: Device) -> list[ChosenKernel]:
    """List the kernel for each part of a model on a device, and why no faster one is used.

    Whether a kernel is exact for the parts of a model is tested when that model is loaded.
    """
    if device.kind != "cuda":
        why = _("model parts are replaced by kernels only on GPUs")
        return [
            *(ChosenKernel(part, "PyTorch", why) for part in ("norm", "rotary", "mlp")),
            _describe_head(),
            _describe_compiler(device),
        ]
    liger = find_liger_problem(device)
    fused = ChosenKernel("norm", "torch _fused_rms_norm", _("one kernel, one more for the weight's gradient"))
    if liger:
        why = _("Liger: {why}", why=liger)
        gated = [ChosenKernel(part, "PyTorch", why) for part in ("rotary", "mlp")]
    else:
        gated = [ChosenKernel(part, f"Liger {find_liger_version()}") for part in ("rotary", "mlp")]
    return [fused, *gated, _describe_head(), _describe_compiler(device), *_list_packages()]


def _describe_head() -> ChosenKernel:
    return ChosenKernel("head", _("in chunks"), _("the logits of all positions are never in memory at once"))


def _describe_compiler(device: Device) -> ChosenKernel:
    problem = find_compiler_problem(device)
    if problem:
        return ChosenKernel("compile", "", problem)
    return ChosenKernel("compile", "torch.compile", _("used if training.compile is true"))


def _list_packages() -> list[ChosenKernel]:
    """List optional packages with attention kernels, and whether they are installed."""
    found = []
    for package in ("flash-attn", "kernels"):
        name = find_package_version(package)
        if name:
            found.append(ChosenKernel("attention", f"{package} {name}", _("installed")))
        else:
            found.append(ChosenKernel("attention", "", _("{package}: not installed", package=package)))
    return found


def find_package_version(package: str) -> str:
    """Return the installed version of a package; empty if it is not installed."""
    try:
        return one_line(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return ""


def find_liger_version() -> str:
    """Return the installed version of liger-kernel; empty if it is not installed."""
    return find_package_version(LIGER)


def find_liger_problem(device: Device) -> str:
    """Explain why Liger's kernels are not used on a device, without importing it; empty if they are."""
    found = find_liger_version()
    if device.kind != "cuda":
        return _("its kernels run on GPUs")
    if not found:
        return _("not installed (pip install 'tui-tuner[gpu]')")
    if not LIGER_LEAST <= _parse_version(found) < LIGER_BELOW:
        return _("version {version} is not supported", version=found)
    if importlib.util.find_spec("triton") is None:
        return _("Triton is not installed")
    return ""


def _parse_version(name: str) -> tuple[int, int]:
    parts = [int(part) if part.isdigit() else 0 for part in (*name.split("."), "0")[:2]]
    return parts[0], parts[1]


def find_compiler_problem(device: Device) -> str:
    """Explain why nothing can be compiled for a device, without trying it; empty if it can."""
    if device.kind == "cuda":
        return "" if importlib.util.find_spec("triton") else _("Triton is not installed")
    named = os.environ.get("CXX", "")
    if any(shutil.which(name) for name in (named, "c++", "g++", "clang++") if name):
        return ""
    return _("no C++ compiler was found")


__all__ = [
    "VARIANTS",
    "find_compiler_problem",
    "find_liger_problem",
    "find_liger_version",
    "find_package_version",
    "list_available_kernels",
]
