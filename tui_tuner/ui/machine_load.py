"""Use of this machine's processors and memory, read at most once a second, through psutil and NVML."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class MachineLoad:
    """Shares are 0 to 1, memory in bytes. The `gpu` fields are None where there is no NVIDIA GPU."""

    cpu: float
    memory_used: int
    memory_total: int
    gpu: float | None = None
    gpu_memory_used: int | None = None
    gpu_memory_total: int | None = None
    gpu_temperature: int | None = None
    gpus: int = 0


class LoadReader:
    """Read the load. Memory of several GPUs is summed, their utilisation averaged."""

    def __init__(self) -> None:
        # The first call only starts psutil's measurement; its result means nothing.
        psutil.cpu_percent(None)
        self.cpu_count = psutil.cpu_count() or 1
        self._nvml: Any = None
        self._gpus: list[Any] = []
        self.gpu_name = ""
        with contextlib.suppress(Exception):  # no driver, library or device: no GPU to show
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            self._gpus = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            if self._gpus:
                name = pynvml.nvmlDeviceGetName(self._gpus[0])
                # Older versions of pynvml return bytes.
                self.gpu_name = name.decode() if isinstance(name, bytes) else str(name)

    def read_load(self) -> MachineLoad:
        """Return the load since the last call."""
        memory = psutil.virtual_memory()
        load = MachineLoad(psutil.cpu_percent(None) / 100, memory.total - memory.available, memory.total)
        if not self._gpus:
            return load
        with contextlib.suppress(Exception):  # a GPU that fell off the bus must not break the screen
            return self._with_gpus(load)
        return load

    def _with_gpus(self, load: MachineLoad) -> MachineLoad:
        nvml = self._nvml
        memory = [nvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in self._gpus]
        use = [nvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in self._gpus]
        # Some virtual GPUs have no sensor, while their other figures can be read.
        temperature = None
        with contextlib.suppress(Exception):
            temperature = max(nvml.nvmlDeviceGetTemperature(g, nvml.NVML_TEMPERATURE_GPU) for g in self._gpus)
        return MachineLoad(
            load.cpu,
            load.memory_used,
            load.memory_total,
            sum(use) / len(use) / 100,
            sum(info.used for info in memory),
            sum(info.total for info in memory),
            temperature,
            len(self._gpus),
        )
