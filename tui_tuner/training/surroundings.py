"""Name the device and the package versions of a run, for its journal and its model card."""

from __future__ import annotations

import platform
from importlib import metadata

from tui_tuner.config.schema import RunConfig

PACKAGES = ("tui-tuner", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers")


def name_training_device(config: RunConfig) -> str:
    """Return the name of the device that trains, as far as it is known without torch."""
    from tui_tuner.planning.hardware import detect_hardware

    found = detect_hardware()
    if config.hardware.devices == "cpu" or not found.usable_gpus:
        return f"CPU {found.cpu} ({found.cores} cores)"
    return found.usable_gpus[0].name


def read_package_versions() -> dict[str, str]:
    """Return the version of Python, and that of each package that is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
