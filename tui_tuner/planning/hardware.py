"""What this machine has: GPUs through NVML, cores and memory through psutil. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.models.device import GIB, Device, flash_installed, host_memory
from tui_tuner.text import one_line

CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86 AVX-512, x86 AMX, Arm


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU. Memory in GiB; `free_gib` is what nothing else holds at the time of asking."""

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


def visible_indices(count: int, visible: str | None, uuids: Sequence[str] = ()) -> list[int]:
    """Physical indices that CUDA_VISIBLE_DEVICES leaves, in its order.

    Args:
        count: GPUs that NVML sees.
        visible: The variable's value; None is unset. Parts of GPUs (MIG) are not told apart here, so they
            hide nothing.
        uuids: Of each GPU, such as `GPU-8f6e…`; the variable may hold beginnings of them.
    """
    if visible is None:
        return list(range(count))
    chosen: list[int] = []
    for part in (piece.strip() for piece in visible.split(",")):
        if part.startswith("MIG-") or (part.startswith("GPU-") and not uuids):
            return list(range(count))
        if part.startswith("GPU-"):
            same = [index for index, uuid in enumerate(uuids) if uuid.startswith(part)]
            part = str(same[0]) if len(same) == 1 else ""
        if not part.isdecimal() or int(part) >= count:
            break  # CUDA ignores everything from the first invalid entry on
        chosen.append(int(part))
    return chosen


def _gpus(notes: list[str]) -> tuple[Gpu, ...]:
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
        count = pynvml.nvmlDeviceGetCount()
        uuids = [_uuid(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
        indices = visible_indices(count, os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
        return tuple(_gpu(pynvml, index) for index in indices)
    except pynvml.NVMLError as error:
        notes.append(_("The NVIDIA driver does not answer: {error}.", error=one_line(error)))
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: object, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)  # type: ignore[attr-defined]
    name = nvml.nvmlDeviceGetName(handle)  # type: ignore[attr-defined]
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)  # type: ignore[attr-defined]
    capability = nvml.nvmlDeviceGetCudaComputeCapability(handle)  # type: ignore[attr-defined]
    return Gpu(
        index=index,
        name=one_line(name.decode() if isinstance(name, bytes) else name),
        total_gib=int(memory.total) / GIB,
        free_gib=int(memory.free) / GIB,
        capability=(int(capability[0]), int(capability[1])),
        uuid=_uuid(nvml, handle),
    )


def _uuid(nvml: object, handle: object) -> str:
    """`GPU-…`; older bindings give bytes."""
    uuid = nvml.nvmlDeviceGetUUID(handle)  # type: ignore[attr-defined]
    return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


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
