"""What has to stand in the environment before torch is imported. What the user has set stays."""

from __future__ import annotations

import os

from tui_tuner.planning.cuda_devices import BY_SLOT

# Threads of libgomp wait for each other in a busy loop of 300,000 turns by default. Where others want
# the same cores, they burn their time in it: on 2 shared cores, small layers ran 2 to 5 passes a
# second instead of 20 to 36 (torch 2.13 CPU).
SPIN_COUNT = "1000"


def prepare_environment() -> None:
    """Set what the core wants of libgomp and of torch's CUDA allocator (less fragmentation).

    CUDA counts GPUs as NVML does, by their slots: its own order begins with the fastest, so on a machine with
    different cards planning would look at another one than training.
    """
    os.environ.setdefault("CUDA_DEVICE_ORDER", BY_SLOT)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    if "PYTORCH_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
