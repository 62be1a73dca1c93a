"""What NVML, the driver's own word, is asked about one of torch's devices."""

from __future__ import annotations

import os
from typing import Any


def find_handle(device: str) -> Any:
    """NVML's handle of one of torch's devices (`cuda:0`).

    Raises:
        Exception: there is no NVML, or it has no word on the device: it is a part of a GPU (MIG), or the
            driver keeps it to itself.
    """
    import pynvml
    import torch

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def is_alone(handle: Any) -> bool:
    """Whether no other process computes on a device.

    Raises:
        Exception: as `find_handle` does.
    """
    import pynvml

    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return len(processes) <= 1 or {process.pid for process in processes} == {os.getpid()}
