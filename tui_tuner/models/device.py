"""What the device of a run can do: asked once, and handed on to everything that depends on it.

`find_device` asks torch; planning makes the same facts from NVML or from the table of cards, without torch.
What follows from them, for a config, is in `compute.numeric`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tui_tuner.errors import HardwareError
from tui_tuner.locales import _
from tui_tuner.text import one_line

GIB = 1024**3
# Ampere. Earlier GPUs compute bfloat16 by emulation, which `torch.cuda.is_bf16_supported` counts too, and
# FlashAttention, torch's own copy included, is not made for them.
AMPERE = (8, 0)


@dataclass(frozen=True)
class Device:
    """A GPU or the processor.

    Args:
        kind: `cuda` or `cpu`.
        index: Number of the GPU among those that this process sees.
        uuid: As NVML writes it (`GPU-…`, `MIG-…` of a part); empty where it is not known.
        capability: CUDA compute capability; (0, 0) on a processor.
        memory: GiB in all; 0 where it is not known.
        cpu_bf16: The processor has instructions for bfloat16.
        has_flash: The package flash_attn is installed.
    """

    kind: Literal["cpu", "cuda"]
    index: int = 0
    name: str = ""
    uuid: str = ""
    capability: tuple[int, int] = (0, 0)
    memory: float = 0.0
    cpu_bf16: bool = False
    has_flash: bool = False

    @property
    def place(self) -> str:
        """What torch calls it: `cpu`, `cuda:0`."""
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    @property
    def ampere(self) -> bool:
        """Whether it is a GPU of Ampere's generation or newer."""
        return self.kind == "cuda" and self.capability >= AMPERE

    @property
    def bf16(self) -> bool:
        """Whether it computes bfloat16 in hardware."""
        return self.ampere if self.kind == "cuda" else self.cpu_bf16

    @property
    def flash(self) -> bool:
        """Whether the package flash_attn runs on it."""
        return self.ampere and self.has_flash


def find_device(place: str, known: Sequence[Device] = ()) -> Device:
    """The device that torch calls `place` (`cpu`, `cuda`, `cuda:1`).

    Args:
        known: What was already asked of NVML and of the processor (`Hardware.devices`). For a GPU they are
            matched by their UUID, as torch and NVML may count in another order.

    Raises:
        HardwareError: torch cannot use it.
    """
    if place == "cpu":
        return next((device for device in known if device.kind == "cpu"), Device("cpu"))
    import torch

    index = int(place.partition(":")[2] or 0)
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found:
            what = _(
                "a GPU was asked for ({device}), and this machine has {count} that PyTorch can use.",
                device=place,
                count=found,
            )
        else:
            what = _(
                "a GPU was asked for ({device}), and this machine has none that PyTorch can use.",
                device=place,
            )
        raise HardwareError(
            what,
            where="hardware.devices",
            hint=_("Set hardware.devices to auto or cpu, or see `tui-tuner doctor`."),
        )
    facts = torch.cuda.get_device_properties(index)
    uuid = f"GPU-{facts.uuid}"
    same = next((device for device in known if device.uuid in (uuid, f"MIG-{facts.uuid}")), None)
    asked = same or Device(
        "cuda",
        name=one_line(facts.name),
        uuid=uuid,
        capability=(facts.major, facts.minor),
        memory=facts.total_memory / GIB,
    )
    return replace(asked, index=index, has_flash=flash_installed())


def prepare_device(place: str) -> None:
    """Make sure that torch can use a device, and settle how this process computes on it.

    cuDNN's attention builds a plan for each length that it has not seen, which takes longer than a step.
    Rows, held-out rows and each token of an answer are of ever new lengths, so it is kept off: PyTorch's own
    kernels know any length.

    Raises:
        HardwareError: torch cannot use it.
    """
    find_device(place)
    if place.startswith("cuda"):
        import torch

        torch.backends.cuda.enable_cudnn_sdp(False)


def flash_installed() -> bool:
    """Whether the package flash_attn is installed. It may still fail to load, built for another torch."""
    return importlib.util.find_spec("flash_attn") is not None


CONTAINER = Path("/sys/fs/cgroup")


def host_memory() -> tuple[int, int]:
    """Total and available memory of the machine in bytes, the container's limit included."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    try:
        limit = (CONTAINER / "memory.max").read_text(encoding="ascii").strip()
        used = int((CONTAINER / "memory.current").read_text(encoding="ascii"))
        parts = (
            line.split() for line in (CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines()
        )
        # files that were read count as used there, and make room for whoever needs it
        used -= sum(int(size) for name, size in parts if name == "inactive_file")
        if limit != "max":
            total = min(total, int(limit))
            available = min(available, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return total, available


def free_memory(device: Any) -> int:
    """Bytes that are free on a device of torch, those included that torch holds and nobody uses."""
    place = str(device)
    if not place.startswith("cuda"):
        return host_memory()[1]
    import torch

    free, _total = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
