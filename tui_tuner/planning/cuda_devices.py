"""Which GPUs a process sees through CUDA, and in which order, from what NVML shows. Pure functions.

NVML lists all GPUs by their slots. CUDA lists those that CUDA_VISIBLE_DEVICES names, in its order: indices,
UUIDs or beginnings of them; indices count by slots or fastest first (CUDA_DEVICE_ORDER). Of parts of GPUs
(MIG), a process gets one at most, and then no whole GPU beside it.

Sources: CUDA C++ Programming Guide, "CUDA Environment Variables"; NVIDIA Multi-Instance GPU User Guide, "CUDA
Device Enumeration".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BY_SLOT = "PCI_BUS_ID"


@dataclass(frozen=True)
class Part:
    """A part of a GPU that is split (MIG): its UUID (`MIG-…`), and its instances' numbers."""

    uuid: str
    gpu_instance: int = 0
    compute_instance: int = 0


@dataclass(frozen=True)
class Listed:
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
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A device of CUDA: the place of its GPU in NVML's list, and of its part in it; None is the whole."""

    gpu: int
    part: int | None = None


def seen_devices(gpus: Sequence[Listed], visible: str | None, order: str | None) -> list[Seen]:
    """What CUDA shows a process, in its order.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
        order: CUDA_DEVICE_ORDER; None where it is not set.
    """
    counted = _counted(gpus, order)
    if visible is None:
        return _enumerated([device for gpu in counted for device in _of(gpus, gpu)])
    found: list[Seen] = []
    for entry in visible.split(","):
        devices = _named(gpus, counted, entry.strip())
        if not devices:
            break  # CUDA ignores everything from the first invalid entry on
        if any(device in found for device in devices):
            return []  # a device that is named twice hides all
        found += devices
    return _enumerated(found)


def _counted(gpus: Sequence[Listed], order: str | None) -> list[int]:
    """Places in NVML's list, in the order that indices of CUDA count by."""
    by_slot = sorted(range(len(gpus)), key=lambda place: gpus[place].bus)
    if order == BY_SLOT:
        return by_slot
    return sorted(by_slot, key=lambda place: -gpus[place].speed)


def _of(gpus: Sequence[Listed], gpu: int) -> list[Seen]:
    """The GPU itself, or the first of its parts where it is split; nothing where it has none."""
    if not gpus[gpu].split:
        return [Seen(gpu)]
    return [Seen(gpu, 0)] if gpus[gpu].parts else []


def _named(gpus: Sequence[Listed], counted: Sequence[int], entry: str) -> list[Seen]:
    """What one entry of the list names; nothing where it is invalid or could be several."""
    if entry.startswith("MIG-"):
        return _part(gpus, entry)
    if entry.startswith("GPU-"):
        same = [place for place, gpu in enumerate(gpus) if gpu.uuid.startswith(entry)]
        return _of(gpus, same[0]) if len(same) == 1 else []
    number = re.match(r"\+?(\d+)", entry)  # as C's strtoul reads it: what follows the digits does not count
    if number is None or int(number[1]) >= len(counted):
        return []
    return _of(gpus, counted[int(number[1])])


def _part(gpus: Sequence[Listed], entry: str) -> list[Seen]:
    """The part that `MIG-<UUID>` names; older drivers write `MIG-GPU-<UUID>/<instance>/<instance>`."""
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
                found.append(Seen(gpu, place))
    return found if len(found) == 1 else []


def _enumerated(devices: list[Seen]) -> list[Seen]:
    """CUDA takes the first part that it sees, and then no whole GPU."""
    parts = [device for device in devices if device.part is not None]
    return parts[:1] or devices
