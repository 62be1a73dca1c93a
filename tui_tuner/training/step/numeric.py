"""The numbers of a run as torch names them; which ones is decided in `compute.numeric`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from tui_tuner.compute import numeric
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.models.device import Device, find_device


def as_device(device: str | Device) -> Device:
    """The facts of a device, also where only torch's name of it was handed on."""
    return device if isinstance(device, Device) else _found(device)


@lru_cache(maxsize=16)
def _found(place: str) -> Device:
    return find_device(place)


def scaled(config: RunConfig, device: str | Device) -> bool:
    """Whether gradients need a loss scaler."""
    return numeric.needs_scaler(as_device(device), ResolvedConfig.of(config))


def autocast_dtype(config: RunConfig, device: str | Device) -> Any:
    """What autocast computes in, or None."""
    name = numeric.autocast_name(as_device(device), ResolvedConfig.of(config))
    return None if name is None else getattr(torch, name)
