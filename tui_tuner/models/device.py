"""Facts about the device of a run, found once and passed to everything that depends on them.

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
    def torch_name(self) -> str:
        """Return what torch calls it: `cpu`, `cuda:0`."""
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    @property
    def is_ampere(self) -> bool:
        """Return whether it is an Ampere GPU or newer."""
        return self.kind == "cuda" and self.capability >= AMPERE

    @property
    def has_bf16(self) -> bool:
        """Return whether it computes bfloat16 in hardware."""
        return self.is_ampere if self.kind == "cuda" else self.cpu_bf16

    @property
    def can_use_flash(self) -> bool:
        """Return whether the package flash_attn can run on it."""
        return self.is_ampere and self.has_flash


def find_device(place: str, known: Sequence[Device] = ()) -> Device:
    """Return the device that torch calls `place` (`cpu`, `cuda`, `cuda:1`).

    Args:
        known: Facts already read from NVML and from the processor (`Hardware.compute_devices`). GPUs are
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
                "a GPU was requested ({device}), but this machine has {count} that PyTorch can use.",
                device=place,
                count=found,
            )
        else:
            what = _(
                "a GPU was requested ({device}), but this machine has none that PyTorch can use.",
                device=place,
            )
        raise HardwareError(
            what,
            where="hardware.devices",
            hint=_("Set hardware.devices to auto or cpu, or run `tui-tuner doctor`."),
        )
    facts = torch.cuda.get_device_properties(index)
    # torch writes a UUID without the prefix that NVML puts before it, and a MIG part has another prefix.
    uuid = f"GPU-{facts.uuid}"
    same = next((device for device in known if device.uuid in (uuid, f"MIG-{facts.uuid}")), None)
    asked = same or Device(
        "cuda",
        name=one_line(facts.name),
        uuid=uuid,
        capability=(facts.major, facts.minor),
        memory=facts.total_memory / GIB,
    )
    # The index is torch's even if NVML knew the card: they may count in another order.
    return replace(asked, index=index, has_flash=is_flash_installed())


def prepare_device(place: str) -> None:
    """Make sure that torch can use a device, and settle how this process computes attention on it.

    Raises:
        HardwareError: torch cannot use it.
    """
    find_device(place)
    if place.startswith("cuda"):
        import torch

        # cuDNN's attention builds a plan for each length that it has not seen, which takes longer than a
        # step. Rows, held-out rows and each token of an answer keep bringing new lengths; PyTorch's own
        # kernels take any length.
        torch.backends.cuda.enable_cudnn_sdp(False)


def is_flash_installed() -> bool:
    """Return whether the package flash_attn is installed. It may still fail to load, built for another
    torch.
    """
    return importlib.util.find_spec("flash_attn") is not None


CONTAINER = Path("/sys/fs/cgroup")


def measure_host_memory() -> tuple[int, int]:
    """Return total and available memory of the machine in bytes, limited to the container's share."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    try:
        limit = (CONTAINER / "memory.max").read_text(encoding="ascii").strip()
        used = int((CONTAINER / "memory.current").read_text(encoding="ascii"))
        parts = (
            line.split() for line in (CONTAINER / "memory.stat").read_text(encoding="ascii").splitlines()
        )
        # Cached file pages count as used there, but the kernel drops them as soon as memory is needed.
        used -= sum(int(size) for name, size in parts if name == "inactive_file")
        if limit != "max":
            total = min(total, int(limit))
            available = min(available, max(0, int(limit) - used))
    # No cgroup v2, or a number in a form that this kernel does not document: the machine's own figures hold.
    except (OSError, ValueError):
        pass
    return total, available


def measure_free_memory(device: Any) -> int:
    """Return the free bytes of a torch device, with what torch has reserved but does not use."""
    place = str(device)
    if not place.startswith("cuda"):
        return measure_host_memory()[1]
    import torch

    free, _total = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
