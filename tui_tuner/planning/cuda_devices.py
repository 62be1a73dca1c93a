"""The GPUs that a process sees through CUDA, in its order, from what NVML shows. Pure functions.

NVML lists all GPUs by their slots. CUDA lists those that CUDA_VISIBLE_DEVICES names, in its order: indices,
UUIDs or beginnings of them; indices count by slots or fastest first (CUDA_DEVICE_ORDER). Of parts of GPUs
(MIG), a process sees at most one, and then no whole GPU.

Sources: CUDA C++ Programming Guide, "CUDA Environment Variables"; NVIDIA Multi-Instance GPU User Guide, "CUDA
Device Enumeration".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BY_SLOT = "PCI_BUS_ID"


@dataclass(frozen=True)
class GpuPart:
    """A part of a GPU that is split (MIG): its UUID (`MIG-…`), and its instances' numbers."""

    uuid: str
    gpu_instance: int = 0
    compute_instance: int = 0


@dataclass(frozen=True)
class ListedGpu:
    """A GPU as NVML lists it.

    Args:
        uuid: `GPU-…`.
        bus: PCI bus id; NVML's own order is by it.
        speed: Larger is faster; those that are alike keep the order of their slots.
        split: It is in MIG mode, and only its parts can be used.
    """

    uuid: str
    bus: str = ""
    speed: float = 0.0
    split: bool = False
    parts: tuple[GpuPart, ...] = ()


@dataclass(frozen=True)
class VisibleDevice:
    """A device of CUDA: the place of its GPU in NVML's list, and of its part in it; None is the whole."""

    gpu: int
    part: int | None = None


def list_visible_devices(
    gpus: Sequence[ListedGpu], visible: str | None, order: str | None
) -> list[VisibleDevice]:
    """Return the devices that CUDA shows a process, in its order.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
        order: CUDA_DEVICE_ORDER; None where it is not set.
    """
    counted = _order_places(gpus, order)
    if visible is None:
        return _drop_hidden([device for gpu in counted for device in _take_device(gpus, gpu)])
    found: list[VisibleDevice] = []
    for entry in visible.split(","):
        devices = _resolve_entry(gpus, counted, entry.strip())
        if not devices:
            break  # CUDA ignores everything from the first invalid entry on
        if any(device in found for device in devices):
            return []  # a device that is named twice hides all
        found += devices
    return _drop_hidden(found)


def _order_places(gpus: Sequence[ListedGpu], order: str | None) -> list[int]:
    """Return places in NVML's list, in the order in which CUDA counts indices."""
    by_slot = sorted(range(len(gpus)), key=lambda place: gpus[place].bus)
    if order == BY_SLOT:
        return by_slot
    # sorted is stable, so GPUs of the same speed stay in the order of their slots
    return sorted(by_slot, key=lambda place: -gpus[place].speed)


def _take_device(gpus: Sequence[ListedGpu], gpu: int) -> list[VisibleDevice]:
    """Return the GPU, or the first of its parts if it is split; empty if it is split without parts."""
    if not gpus[gpu].split:
        return [VisibleDevice(gpu)]
    return [VisibleDevice(gpu, 0)] if gpus[gpu].parts else []


def _resolve_entry(gpus: Sequence[ListedGpu], counted: Sequence[int], entry: str) -> list[VisibleDevice]:
    """Return the device that one entry of the list names; none if it is invalid or ambiguous."""
    if entry.startswith("MIG-"):
        return _find_part(gpus, entry)
    if entry.startswith("GPU-"):
        # CUDA accepts any unambiguous beginning of a UUID
        same = [place for place, gpu in enumerate(gpus) if gpu.uuid.startswith(entry)]
        return _take_device(gpus, same[0]) if len(same) == 1 else []
    number = re.match(r"\+?(\d+)", entry)  # as C's strtoul reads it: what follows the digits does not count
    if number is None or int(number[1]) >= len(counted):
        return []
    return _take_device(gpus, counted[int(number[1])])


def _find_part(gpus: Sequence[ListedGpu], entry: str) -> list[VisibleDevice]:
    """Find the part that `MIG-<UUID>` names; older drivers write `MIG-GPU-<UUID>/<instance>/<instance>`."""
    # Drivers before 470 name parts by their GPU and the numbers of both instances
    older = re.fullmatch(r"MIG-(GPU-[^/]*)/(\d+)/(\d+)", entry)
    found = []
    for gpu, listed in enumerate(gpus):
        for place, part in enumerate(listed.parts):
            if older is None:
                same = part.uuid.startswith(entry)
            else:
                instances = (str(part.gpu_instance), str(part.compute_instance))
                same = listed.uuid.startswith(older[1]) and instances == (older[2], older[3])
            if same:
                found.append(VisibleDevice(gpu, place))
    return found if len(found) == 1 else []


def _drop_hidden(devices: list[VisibleDevice]) -> list[VisibleDevice]:
    """Keep what CUDA shows: the first part if there is any, else all whole GPUs."""
    parts = [device for device in devices if device.part is not None]
    return parts[:1] or devices
