"""Query NVML, the driver's interface, about one of torch's devices."""

from __future__ import annotations

import os
from typing import Any


def find_nvml_handle(device: str) -> Any:
    """Return NVML's handle of one of torch's devices (`cuda:0`).

    Raises:
        Exception: there is no NVML, or it has no figures on the device, because it is a part of a GPU (MIG)
            or the driver hides it.
    """
    import pynvml
    import torch

    pynvml.nvmlInit()
    # By UUID, because NVML numbers all GPUs of the machine and ignores CUDA_VISIBLE_DEVICES.
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def is_device_unshared(handle: Any) -> bool:
    """Return whether no other process computes on a device.

    Raises:
        Exception: as `find_nvml_handle` does.
    """
    import pynvml

    # In a container, NVML shows process ids of the host, so a single process is taken to be this one.
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return len(processes) <= 1 or {process.pid for process in processes} == {os.getpid()}
