"""What a machine has that computes parts of a model faster, and why not the rest. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil

from tui_tuner.compute.kernels.chosen import Chosen
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.text import one_line

LIGER = "liger-kernel"
LIGER_LEAST, LIGER_BELOW = (0, 5), (0, 9)  # the versions that are known to have the functions that are used
# Of compiled code: layers with windows and without, trained and frozen, in several numbers. Beyond the limit
# PyTorch would go on without compiling.
VARIANTS = 64


def list_kernels(device: Device) -> list[Chosen]:
    """What can compute the parts of a model on a device, without a model, and why nothing faster does.

    Whether it computes a model's own parts exactly is found out when one is loaded.
    """
    if device.kind != "cuda":
        why = _("kernels in the place of a model's parts are for GPUs")
        return [
            *(Chosen(part, "PyTorch", why) for part in ("norm", "rotary", "mlp")),
            _head(),
            _compiler(device),
        ]
    liger = liger_problem(device)
    fused = Chosen("norm", "torch _fused_rms_norm", _("one kernel, the weight's gradient one more"))
    if liger:
        why = _("Liger: {why}", why=liger)
        gated = [Chosen(part, "PyTorch", why) for part in ("rotary", "mlp")]
    else:
        gated = [Chosen(part, f"Liger {liger_version()}") for part in ("rotary", "mlp")]
    return [fused, *gated, _head(), _compiler(device), *_packages()]


def _head() -> Chosen:
    return Chosen("head", _("in chunks"), _("logits of all positions never exist at once"))


def _compiler(device: Device) -> Chosen:
    problem = compiler_problem(device)
    if problem:
        return Chosen("compile", "", problem)
    return Chosen("compile", "torch.compile", _("used where training.compile is true"))


def _packages() -> list[Chosen]:
    """Packages with kernels that are no dependencies, and what they would be for."""
    found = []
    for package in ("flash-attn", "kernels"):
        name = version_of(package)
        if name:
            found.append(Chosen("attention", f"{package} {name}", _("installed")))
        else:
            found.append(Chosen("attention", "", _("{package}: not installed", package=package)))
    return found


def version_of(package: str) -> str:
    """The installed version of a package; empty without one."""
    try:
        return one_line(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return ""


def liger_version() -> str:
    """The installed version of liger-kernel; empty without one."""
    return version_of(LIGER)


def liger_problem(device: Device) -> str:
    """Why Liger's kernels are not used on a device, as far as that is known without importing it; empty if
    they are."""
    found = liger_version()
    if device.kind != "cuda":
        return _("its kernels run on GPUs")
    if not found:
        return _("not installed (pip install 'tui-tuner[gpu]')")
    if not LIGER_LEAST <= _numbers(found) < LIGER_BELOW:
        return _("version {version} is not one that is known here", version=found)
    if importlib.util.find_spec("triton") is None:
        return _("Triton is not installed")
    return ""


def _numbers(name: str) -> tuple[int, int]:
    parts = [int(part) if part.isdigit() else 0 for part in (*name.split("."), "0")[:2]]
    return parts[0], parts[1]


def compiler_problem(device: Device) -> str:
    """Why nothing can be compiled for a device, as far as is known without trying; empty if it can."""
    if device.kind == "cuda":
        return "" if importlib.util.find_spec("triton") else _("Triton is not installed")
    named = os.environ.get("CXX", "")
    if any(shutil.which(name) for name in (named, "c++", "g++", "clang++") if name):
        return ""
    return _("no C++ compiler was found")


__all__ = ["VARIANTS", "compiler_problem", "liger_problem", "liger_version", "list_kernels", "version_of"]
