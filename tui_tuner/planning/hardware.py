"""What this machine has: GPUs through NVML, cores and memory through psutil. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tui_tuner.locales import _
from tui_tuner.models.device import GIB, Device, flash_installed, host_memory
from tui_tuner.planning.cuda_devices import BY_SLOT, Listed, Part, Seen, seen_devices
from tui_tuner.text import one_line

CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86 AVX-512, x86 AMX, Arm


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU, or a part of one (MIG). Memory in GiB; `free_gib` is what nothing holds when asked.

    `index` is that of the GPU in NVML's list.
    """

    index: int
    name: str
    total_gib: float
    free_gib: float
    capability: tuple[int, int]
    uuid: str = ""


@dataclass(frozen=True)
class Hardware:
    """A machine as planning sees it. Memory in GiB, container limits included."""

    gpus: tuple[Gpu, ...] = ()
    cpu: str = ""
    cores: int = 1
    memory_gib: float = 0.0
    available_gib: float = 0.0
    cpu_bf16: bool = False
    system: str = ""
    flash_attention: bool = False
    torch_cuda: bool = True
    notes: tuple[str, ...] = ()

    @property
    def usable_gpus(self) -> tuple[Gpu, ...]:
        """GPUs that the installed torch can use; none with a CPU-only torch."""
        return self.gpus if self.torch_cuda else ()

    @property
    def devices(self) -> tuple[Device, ...]:
        """What a run can compute on: the usable GPUs, as this process counts them, and the processor."""
        return (*(self._gpu(index) for index in range(len(self.usable_gpus))), self._processor())

    def device_for(self, asked: int | str) -> Device:
        """The device of a run that asks for this (`hardware.devices`): the first GPU, or the processor."""
        return self._processor() if asked == "cpu" or not self.usable_gpus else self._gpu(0)

    def _gpu(self, index: int) -> Device:
        gpu, flash = self.usable_gpus[index], self.flash_attention
        return Device("cuda", index, gpu.name, gpu.uuid, gpu.capability, gpu.total_gib, has_flash=flash)

    def _processor(self) -> Device:
        return Device("cpu", name=self.cpu, memory=self.memory_gib, cpu_bf16=self.cpu_bf16)

    def summary(self) -> str:
        """One line for a screen or log."""
        if self.usable_gpus:
            first = self.usable_gpus[0]
            count = f"{len(self.usable_gpus)} x " if len(self.usable_gpus) > 1 else ""
            return f"{count}{first.name}, {first.total_gib:.1f} GiB"
        return _(
            "{cpu}, {cores} cores, {memory:.1f} GiB",
            cpu=self.cpu or "CPU",
            cores=self.cores,
            memory=self.memory_gib,
        )


def detect() -> Hardware:
    """Ask the machine. Never raises: what cannot be asked is absent, and `notes` says why."""
    notes: list[str] = []
    gpus = _gpus(notes)
    cpu, flags = _cpu_model(Path("/proc/cpuinfo"))
    total, available = (size / GIB for size in host_memory())
    torch_cuda = _torch_has_cuda()
    if gpus and not torch_cuda:
        notes.append(_("A GPU is here, but the installed torch is the CPU build."))
    return Hardware(
        gpus=gpus,
        cpu=cpu,
        cores=_cores(),
        memory_gib=total,
        available_gib=available,
        cpu_bf16=bool(flags & CPU_BF16_FLAGS),
        system=platform.system(),
        flash_attention=flash_installed(),
        torch_cuda=torch_cuda,
        notes=tuple(notes),
    )


def _gpus(notes: list[str]) -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to a run of this user, in its order."""
    try:
        import pynvml
    except ImportError:
        notes.append(_("pynvml is not installed, so no GPU was looked for."))
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        parts = [_parts(pynvml, handle) for handle in handles]
        listed = [_listed(pynvml, handle, found) for handle, found in zip(handles, parts, strict=True)]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        # where the user has not set it, every process that trains does (`launch.environment`)
        order = os.environ.get("CUDA_DEVICE_ORDER", BY_SLOT)
        return tuple(_gpu(pynvml, seen, handles, parts) for seen in seen_devices(listed, visible, order))
    except pynvml.NVMLError as error:
        notes.append(_("The NVIDIA driver does not answer: {error}.", error=one_line(error)))
        return ()
    finally:
        pynvml.nvmlShutdown()


def _listed(nvml: Any, handle: Any, parts: Sequence[Any]) -> Listed:
    """A GPU with what decides about its place among those that CUDA shows."""
    cores = _asked(nvml, lambda: nvml.nvmlDeviceGetNumGpuCores(handle), 0)
    clock = _asked(nvml, lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM), 1)
    current, _pending = _asked(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle), (0, 0))
    return Listed(
        _uuid(nvml, handle),
        bus=_text(_asked(nvml, lambda: nvml.nvmlDeviceGetPciInfo(handle).busId, "")).lower(),
        speed=float(cores * clock),
        split=bool(current),
        parts=tuple(_part(nvml, part) for part in parts),
    )


def _part(nvml: Any, handle: Any) -> Part:
    return Part(
        _uuid(nvml, handle),
        _asked(nvml, lambda: nvml.nvmlDeviceGetGpuInstanceId(handle), 0),
        _asked(nvml, lambda: nvml.nvmlDeviceGetComputeInstanceId(handle), 0),
    )


def _parts(nvml: Any, handle: Any) -> list[Any]:
    """Handles of the parts of a GPU that is split; none of one that is whole."""
    places = range(_asked(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle), 0))
    if not places:
        return []
    one = nvml.nvmlDeviceGetMigDeviceHandleByIndex
    found = [_asked(nvml, partial(one, handle, place), None) for place in places]
    return [part for part in found if part is not None]  # places between parts may be free


def _asked(nvml: Any, question: Callable[[], Any], otherwise: Any) -> Any:
    """What NVML answers, or `otherwise` where this GPU, driver or binding has no answer."""
    try:
        return question()
    except (nvml.NVMLError, AttributeError):
        return otherwise


def _gpu(nvml: Any, seen: Seen, handles: Sequence[Any], parts: Sequence[Sequence[Any]]) -> Gpu:
    """A GPU, or a part of it with its own share of the memory."""
    whole = handles[seen.gpu]
    own = whole if seen.part is None else parts[seen.gpu][seen.part]
    memory = nvml.nvmlDeviceGetMemoryInfo(own)
    capability = nvml.nvmlDeviceGetCudaComputeCapability(whole)
    name = _asked(nvml, lambda: nvml.nvmlDeviceGetName(own), None) or nvml.nvmlDeviceGetName(whole)
    return Gpu(
        index=seen.gpu,
        name=one_line(_text(name)),
        total_gib=int(memory.total) / GIB,
        free_gib=int(memory.free) / GIB,
        capability=(int(capability[0]), int(capability[1])),
        uuid=_uuid(nvml, own),
    )


def _uuid(nvml: Any, handle: Any) -> str:
    """`GPU-…`, or `MIG-…` of a part."""
    return _text(nvml.nvmlDeviceGetUUID(handle))


def _text(value: Any) -> str:
    """Older bindings give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=1)
def _torch_has_cuda() -> bool:
    """Whether the installed torch was built for CUDA, from its metadata: importing it takes a second.

    Linux wheels from PyPI are CUDA builds without a local version; CPU builds carry `+cpu`.
    """
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    return "+cpu" not in version and platform.system() != "Darwin"


def _cpu_model(cpuinfo: Path) -> tuple[str, frozenset[str]]:
    """Model name and feature flags; both may be empty, off Linux."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return one_line(platform.processor()), frozenset()
    name, flags = "", frozenset[str]()
    for line in text.splitlines():
        key, _unused, value = line.partition(":")
        key = key.strip().lower()
        if key == "model name" and not name:
            name = one_line(value.strip())
        elif key in ("flags", "features") and not flags:
            flags = frozenset(value.split())
        if name and flags:
            break
    return name or one_line(platform.processor()), flags


def _cores() -> int:
    """Cores this process may use: affinity and the container's CPU quota included."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, cores)
