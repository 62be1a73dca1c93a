"""Devices and money."""

from __future__ import annotations

from typing import Literal

from tui_tuner.config.sections.base import Section, option
from tui_tuner.locales import N_


class HardwareSection(Section):
    """Which devices, and what they may cost."""

    devices: int | Literal["auto", "cpu"] = option(
        "auto", N_("auto takes a GPU where there is one; cpu, or a number of GPUs."), ge=1, le=10_000
    )
    budget: float | None = option(
        None, N_("Stop, resumably, before the run costs more."), unit=N_("currency"), gt=0, le=10**12
    )
    price_per_hour: float | None = option(
        None, N_("What the machine costs."), unit=N_("currency/hour"), ge=0, le=1_000_000
    )
