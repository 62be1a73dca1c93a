"""What a run is computed on and by: the device and the versions of packages, as journal and card say."""

from __future__ import annotations

import platform
from importlib import metadata

from tui_tuner.config.schema import RunConfig

PACKAGES = ("tui-tuner", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers")


def device_name(config: RunConfig) -> str:
    """What trains, in words, as far as it can be told without torch."""
    from tui_tuner.planning.hardware import detect

    found = detect()
    if config.hardware.devices == "cpu" or not found.usable_gpus:
        return f"CPU {found.cpu} ({found.cores} cores)"
    return found.usable_gpus[0].name


def versions() -> dict[str, str]:
    """Of Python, and of each package that is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
