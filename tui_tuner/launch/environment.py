"""Environment variables to set before importing torch; the user's settings take precedence."""

from __future__ import annotations

import os

from tui_tuner.planning.cuda_devices import BY_SLOT

# libgomp's threads wait for each other in a busy loop of 300,000 turns by default. On cores shared with other
# processes this wastes most of the time: on 2 shared cores, small layers ran 2 to 5 passes per second instead
# of 20 to 36 (torch 2.13 CPU).
SPIN_COUNT = "1000"


def prepare_environment() -> None:
    """Set options of libgomp, and of torch's CUDA allocator for less fragmentation.

    CUDA_DEVICE_ORDER makes CUDA number GPUs by slot, as NVML does. Its default begins with the fastest, so on
    a machine with different GPUs planning would look at another one than training.
    """
    os.environ.setdefault("CUDA_DEVICE_ORDER", BY_SLOT)
    # The wait policy implies a spin count; setting both would override the user's choice
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    # The newer name of the same variable, which the user may have set
    if "PYTORCH_ALLOC_CONF" not in os.environ:
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
