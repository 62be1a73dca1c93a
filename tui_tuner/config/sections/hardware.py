"""The section `hardware`: devices, budget and price."""

from __future__ import annotations

from typing import Literal

from tui_tuner.config.sections.field_options import Section, declare_option
from tui_tuner.locales import N_


class HardwareSection(Section):
    """The devices to train on, and what they may cost."""

    devices: int | Literal["auto", "cpu"] = declare_option(
        "auto", N_("auto uses a GPU if there is one; otherwise cpu, or a number of GPUs."), ge=1, le=10_000
    )
    budget: float | None = declare_option(
        None,
        N_("Stop before the run costs more than this; it can be resumed."),
        unit=N_("currency"),
        gt=0,
        le=10**12,
    )
    price_per_hour: float | None = declare_option(
        None, N_("Price of the machine."), unit=N_("currency/hour"), ge=0, le=1_000_000
    )
