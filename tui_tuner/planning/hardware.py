"""Hardware of this machine: GPUs through NVML, cores and memory through psutil. Imports no torch."""

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
from tui_tuner.models.device import GIB, Device, is_flash_installed, measure_host_memory
from tui_tuner.planning.cuda_devices import BY_SLOT, GpuPart, ListedGpu, VisibleDevice, list_visible_devices
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
        """Return the GPUs that the installed torch can use; none with a CPU-only torch."""
        return self.gpus if self.torch_cuda else ()

    @property
    def compute_devices(self) -> tuple[Device, ...]:
        """Return the devices a run can use: usable GPUs, as this process counts them, and the processor."""
        return (
            *(self._make_gpu_device(index) for index in range(len(self.usable_gpus))),
            self._make_processor_device(),
        )

    def device_for(self, asked: int | str) -> Device:
        """Return the device for a value of `hardware.devices`: the first GPU, or the processor."""
        return (
            self._make_processor_device()
            if asked == "cpu" or not self.usable_gpus
            else self._make_gpu_device(0)
        )

    def _make_gpu_device(self, index: int) -> Device:
        gpu, flash = self.usable_gpus[index], self.flash_attention
        return Device("cuda", index, gpu.name, gpu.uuid, gpu.capability, gpu.total_gib, has_flash=flash)

    def _make_processor_device(self) -> Device:
        return Device("cpu", name=self.cpu, memory=self.memory_gib, cpu_bf16=self.cpu_bf16)

    def describe_hardware(self) -> str:
        """Describe the machine in one line, for a screen or log."""
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


def detect_hardware() -> Hardware:
    """Detect this machine's hardware. Never raises: what cannot be detected is left out, with a note."""
    notes: list[str] = []
    gpus = _list_gpus(notes)
    cpu, flags = _cpu_model(Path("/proc/cpuinfo"))
    total, available = (size / GIB for size in measure_host_memory())
    torch_cuda = _torch_has_cuda()
    if gpus and not torch_cuda:
        notes.append(_("This machine has a GPU, but the installed torch is the CPU build."))
    return Hardware(
        gpus=gpus,
        cpu=cpu,
        cores=_count_cores(),
        memory_gib=total,
        available_gib=available,
        cpu_bf16=bool(flags & CPU_BF16_FLAGS),
        system=platform.system(),
        flash_attention=is_flash_installed(),
        torch_cuda=torch_cuda,
        notes=tuple(notes),
    )


def _list_gpus(notes: list[str]) -> tuple[Gpu, ...]:
    """List the GPUs that CUDA shows to a run of this user, in its order."""
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
        # NVML ignores CUDA_VISIBLE_DEVICES, so CUDA's view is worked out from the whole list
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        parts = [_list_parts(pynvml, handle) for handle in handles]
        listed = [_list_gpu(pynvml, handle, found) for handle, found in zip(handles, parts, strict=True)]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        # where the user has not set it, every process that trains does (`launch.environment`)
        order = os.environ.get("CUDA_DEVICE_ORDER", BY_SLOT)
        return tuple(
            _read_gpu(pynvml, seen, handles, parts) for seen in list_visible_devices(listed, visible, order)
        )
    except pynvml.NVMLError as error:
        notes.append(_("The NVIDIA driver does not answer: {error}.", error=one_line(error)))
        return ()
    finally:
        pynvml.nvmlShutdown()


def _list_gpu(nvml: Any, handle: Any, parts: Sequence[Any]) -> ListedGpu:
    """Read a GPU with the properties that decide its place in CUDA's order."""
    cores = _ask_nvml(nvml, lambda: nvml.nvmlDeviceGetNumGpuCores(handle), 0)
    clock = _ask_nvml(nvml, lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM), 1)
    current, _pending = _ask_nvml(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle), (0, 0))
    return ListedGpu(
        _read_uuid(nvml, handle),
        bus=_decode_text(_ask_nvml(nvml, lambda: nvml.nvmlDeviceGetPciInfo(handle).busId, "")).lower(),
        speed=float(cores * clock),
        split=bool(current),
        parts=tuple(_identify_part(nvml, part) for part in parts),
    )


def _identify_part(nvml: Any, handle: Any) -> GpuPart:
    return GpuPart(
        _read_uuid(nvml, handle),
        _ask_nvml(nvml, lambda: nvml.nvmlDeviceGetGpuInstanceId(handle), 0),
        _ask_nvml(nvml, lambda: nvml.nvmlDeviceGetComputeInstanceId(handle), 0),
    )


def _list_parts(nvml: Any, handle: Any) -> list[Any]:
    """List the handles of the parts of a split GPU; empty for a whole one."""
    places = range(_ask_nvml(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle), 0))
    if not places:
        return []
    one = nvml.nvmlDeviceGetMigDeviceHandleByIndex
    found = [_ask_nvml(nvml, partial(one, handle, place), None) for place in places]
    return [part for part in found if part is not None]  # places between parts may be free


def _ask_nvml(nvml: Any, question: Callable[[], Any], otherwise: Any) -> Any:
    """Return NVML's answer, or `otherwise` if this GPU, driver or binding has none."""
    try:
        return question()
    except (nvml.NVMLError, AttributeError):
        return otherwise


def _read_gpu(nvml: Any, seen: VisibleDevice, handles: Sequence[Any], parts: Sequence[Sequence[Any]]) -> Gpu:
    """Read a GPU, or a part of it with its own share of the memory."""
    whole = handles[seen.gpu]
    own = whole if seen.part is None else parts[seen.gpu][seen.part]
    memory = nvml.nvmlDeviceGetMemoryInfo(own)
    capability = nvml.nvmlDeviceGetCudaComputeCapability(whole)
    # Some drivers have no name for a MIG part
    name = _ask_nvml(nvml, lambda: nvml.nvmlDeviceGetName(own), None) or nvml.nvmlDeviceGetName(whole)
    return Gpu(
        index=seen.gpu,
        name=one_line(_decode_text(name)),
        total_gib=int(memory.total) / GIB,
        free_gib=int(memory.free) / GIB,
        capability=(int(capability[0]), int(capability[1])),
        uuid=_read_uuid(nvml, own),
    )


def _read_uuid(nvml: Any, handle: Any) -> str:
    """Return the UUID: `GPU-…`, or `MIG-…` for a part."""
    return _decode_text(nvml.nvmlDeviceGetUUID(handle))


def _decode_text(value: Any) -> str:
    """Decode text of NVML, which older bindings return as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@lru_cache(maxsize=1)
def _torch_has_cuda() -> bool:
    """Return whether the installed torch was built for CUDA, from its metadata: importing it takes a second.

    Linux wheels from PyPI are CUDA builds without a local version; CPU builds carry `+cpu`.
    """
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    return "+cpu" not in version and platform.system() != "Darwin"


def _cpu_model(cpuinfo: Path) -> tuple[str, frozenset[str]]:
    """Read the processor's model name and feature flags; the flags are empty on systems other than Linux."""
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


def _count_cores() -> int:
    """Count the cores this process may use, within its affinity and the container's CPU quota."""
    # Missing on macOS and Windows
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        # A container may be limited to few cores on a machine with many (cgroup v2)
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, cores)
