"""The guide's machine question: this machine, other GPUs to plan for, budgets, and notifications.

No prices are built in: the user enters the price of an hour.
"""

from __future__ import annotations

import math
import re
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tui_tuner.config.notices import FIELD as NOTIFY
from tui_tuner.config.notices import find_notify_problem, split_notify_entries
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.planning.calibration import calibrate_card
from tui_tuner.planning.estimate import make_imaginary_machine as machine_with
from tui_tuner.planning.gpus import CARDS, Card, find_local_card, parse_gpu_cards
from tui_tuner.planning.hardware import Hardware, detect_hardware
from tui_tuner.planning.speed.rate_store import add_rates_to_card
from tui_tuner.text import format_bytes, format_money, format_seconds, one_line

HERE, CPU = "here", "cpu"
STEP = 0.25  # GiB to which free memory is rounded down, so that small fluctuations do not change a plan
_KEPT_SECONDS = 5.0
_NUMBER = r"(\d+(?:[.,]\d+)?)"
# A currency sign, a currency code, or the usual names
_CURRENCY = r"(?:[$€£¥₹]|[A-Z]{3}|(?i:usd|eur|gbp|cny|jpy|chf|inr|euros?|dollars?|pounds?|yuan|yen))"
_UNITS = {
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "m": 60.0,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
}
_lock = threading.Lock()
_seen: tuple[float, Hardware] | None = None


@dataclass(frozen=True)
class Machine:
    """The machine that a run is planned for.

    Args:
        asked: The name in the answer: `here`, `cpu`, or a GPU.
        card: Its first GPU, or its RAM.
        config: Config fields that follow from it, by their dotted names.
    """

    asked: str
    card: Card
    hardware: Hardware
    devices: int = 1
    config: Mapping[str, Any] | None = None

    @property
    def is_here(self) -> bool:
        """Return whether it is this machine."""
        return self.asked in (HERE, CPU)

    @property
    def field_values(self) -> dict[str, Any]:
        """Return the config fields that follow from it."""
        return dict(self.config or {})

    @property
    def display_name(self) -> str:
        """Return its name for use in a sentence."""
        return _(self.card.name) if self.devices == 1 else f"{self.devices} x {one_line(self.card.name)}"


@dataclass(frozen=True)
class MachineChoice:
    """A machine on offer. `means` describes it, `values` are the config fields it sets."""

    asked: str
    words: str
    means: str
    values: Mapping[str, Any]


def find_machine(asked: str | None = HERE) -> Machine:
    """Find a machine by name: `here`, `cpu`, a GPU (`RTX 4090`, `24 GiB`), or several (`2xH100`).

    Raises:
        HardwareError: unknown GPU.
    """
    name = (asked or HERE).strip()
    plain = name.lower()
    if plain in (HERE, CPU, ""):
        hardware, config = detect_local_hardware(), RunConfig()
        values = {"hardware.devices": CPU} if plain == CPU else {}
        # With the memory overhead and the speed that earlier runs showed on this machine
        card = add_rates_to_card(calibrate_card(find_local_card(edit_values(config, values), hardware)))
        usable = math.floor(card.usable / STEP) * STEP
        if plain == CPU:
            # A plan for the processor must not see a GPU, or `auto` would choose it
            hardware = replace(hardware, gpus=())
        return Machine(plain or HERE, replace(card, usable=usable), hardware, config=values)
    card, config = parse_gpu_cards(name, RunConfig())
    count = config.hardware.devices if isinstance(config.hardware.devices, int) else 1
    return Machine(name, card, machine_with(card), count, {"hardware.devices": count} if count > 1 else {})


def detect_local_hardware() -> Hardware:
    """Detect the hardware of this machine; the result is kept for a few seconds."""
    global _seen
    # Several threads of the guide may ask at the same time, and detecting the hardware takes a while
    with _lock:
        if _seen is None or time.monotonic() - _seen[0] > _KEPT_SECONDS:
            _seen = (time.monotonic(), detect_hardware())
        return _seen[1]


def describe_machine(folder: Path | None = None) -> tuple[str, ...]:
    """Describe GPU, processor, memory, and the free disk space of a folder (default: the working folder)."""
    hardware = detect_local_hardware()
    lines = [_describe_gpus(hardware)]
    lines.append(
        _(
            "{cpu} with {cores} cores; {free:.1f} of {total:.1f} GiB of memory free.",
            cpu=hardware.cpu or "CPU",
            cores=hardware.cores,
            free=hardware.available_gib,
            total=hardware.memory_gib,
        )
    )
    free = find_free_disk(folder)
    if free is not None:
        lines.append(_("{size} free on the disk of this folder.", size=format_bytes(free)))
    return (*lines, *hardware.notes)


def _describe_gpus(hardware: Hardware) -> str:
    gpus = hardware.usable_gpus
    if not gpus:
        return _("No GPU for training: the processor trains, which is enough for small models.")
    first = gpus[0]
    told = {"name": first.name, "free": first.free_gib, "total": first.total_gib}
    if len(gpus) == 1:
        return _("{name} with {free:.1f} of {total:.1f} GiB free.", **told)
    return _(
        "{count} GPUs; the first, {name}, has {free:.1f} of {total:.1f} GiB free.", count=len(gpus), **told
    )


def find_free_disk(folder: Path | None = None) -> int | None:
    """Return the free bytes on the disk of a folder; None if unknown."""
    try:
        return shutil.disk_usage(folder or Path.cwd()).free
    except OSError:
        return None


def list_machines() -> tuple[MachineChoice, ...]:
    """List this machine, its processor if it has a GPU, and every known GPU, smallest first."""
    hardware = detect_local_hardware()
    found = [MachineChoice(HERE, _("This machine"), describe_machine()[0], {})]
    if hardware.usable_gpus:
        means = _("Much slower; leaves the GPU to others.")
        found.append(MachineChoice(CPU, _("The processor of this machine"), means, {"hardware.devices": CPU}))
    # By memory, then by speed: the first card on which a model fits is the smallest that will do
    for card in sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops)):
        means = _(
            "{usable:.0f} GiB, {speed:g} TFLOP/s by its data sheet: plan here, train elsewhere.",
            usable=card.usable,
            speed=card.tflops,
        )
        found.append(MachineChoice(card.name, card.name, means, {}))
    return tuple(found)


@dataclass(frozen=True)
class Budget:
    """A limit of time or money. Unknown values are None: without a price, money does not give a time."""

    seconds: float | None = None
    money: float | None = None
    price: float | None = None

    @property
    def is_given(self) -> bool:
        return self.seconds is not None or self.money is not None

    @property
    def field_values(self) -> dict[str, float]:
        """Return the config fields by which a run stops before it costs more.

        A time becomes money by the price; without a price there is no field for it.
        """
        found = {} if self.price is None else {"hardware.price_per_hour": self.price}
        if self.money is not None and self.price:
            found["hardware.budget"] = self.money
        return found

    def allows_seconds(self, seconds: float | None) -> bool | None:
        """Return whether a run of so many seconds is within the budget; None if unknown."""
        if seconds is None or self.seconds is None:
            return None
        return seconds <= self.seconds

    def describe_budget(self) -> str:
        """Describe what the budget buys in a sentence; empty without a budget."""
        if not self.is_given:
            return ""
        if self.money is None:
            return _("At most {time}.", time=format_seconds(self.seconds or 0.0))
        if self.seconds is None:
            if self.price is None:
                return _(
                    "To plan with {money}, the price of an hour is needed.", money=format_money(self.money)
                )
            return _("An hour costs nothing, so {money} sets no limit.", money=format_money(self.money))
        return _(
            "{money} buys {time} at {price} per hour.",
            money=format_money(self.money),
            time=format_seconds(self.seconds),
            price=format_money(self.price or 0.0),
        )


def parse_budget(asked: str | float | None, price: float | None = None) -> Budget:
    """Parse a budget: `2 h`, `30 min`, `1 h 30 min`, or an amount of money.

    Args:
        price: The price of an hour, in the same currency.

    Raises:
        ConfigError: neither a time nor an amount.
    """
    if asked is None or (isinstance(asked, str) and not asked.strip()):
        return Budget(price=price)
    seconds = _parse_seconds(asked) if isinstance(asked, str) else None
    if seconds is not None:
        if not 0 < seconds < math.inf:
            raise _refuse_budget(asked)
        # A price of 0 buys any time, so it gives no amount of money either
        money = seconds / 3600 * price if price else None
        return Budget(seconds, money, price)
    money = _parse_money(asked)
    if money is None or not 0 < money < math.inf:
        raise _refuse_budget(asked)
    return Budget(money / price * 3600 if price else None, money, price)


def _refuse_budget(asked: object) -> ConfigError:
    return ConfigError(
        _("{value!r} is neither a time nor an amount of money.", value=one_line(asked, 40)),
        where="budget",
        hint=_("Write it as `2 h`, `30 min` or `5.50`."),
    )


def _parse_seconds(text: str) -> float | None:
    """Parse `1 h 30 min`, `90min` or `1:30` (hours and minutes) into seconds; None without a unit of time."""
    clock = re.fullmatch(r"\s*(\d{1,4}):([0-5]\d)\s*", text)
    if clock:
        return int(clock.group(1)) * 3600.0 + int(clock.group(2)) * 60.0
    parts = re.findall(rf"{_NUMBER}\s*([a-z]+)", text.lower())
    # Anything left over, such as “2 h of RTX”, means that this is not a time
    rest = re.sub(rf"{_NUMBER}\s*([a-z]+)", "", text.lower()).replace(",", "").replace("and", "").strip()
    if not parts or rest or any(unit not in _UNITS for _number, unit in parts):
        return None
    return sum(float(number.replace(",", ".")) * _UNITS[unit] for number, unit in parts)


def _parse_money(asked: str | float) -> float | None:
    """Parse an amount of money, with or without a currency sign or name; None if it is not one."""
    # YAML reads `budget: yes` as true, which Python would count as 1
    if isinstance(asked, bool):
        return None
    if isinstance(asked, (int, float)):
        return float(asked)
    found = re.fullmatch(rf"\s*{_CURRENCY}?\s*{_NUMBER}\s*{_CURRENCY}?\s*", asked)
    return float(found.group(1).replace(",", ".")) if found else None


@lru_cache(maxsize=1)
def measure_processor_speed() -> float:
    """Measure float32 operations per second of this processor with a matrix product of some hundredths of a
    second; 0 if it cannot be measured."""
    try:
        import numpy as np
    except ImportError:
        return 0.0
    size = 384
    left = np.ones((size, size), dtype=np.float32)
    left @ left
    best = math.inf
    for _unused in range(4):
        start = time.perf_counter()
        left @ left
        # The fastest of four: other programs can only make it slower
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best if best > 0 else 0.0


@dataclass(frozen=True)
class MessageChoice:
    """A way to be notified when a run ends or fails, or its GPU is idle.

    Args:
        name: `none`, `bell`, `desktop`, `ntfy` or `webhook`.
        words: Its label. needs: Its requirements.
        values: Config fields; empty if `asks` must be answered first.
        asks: (question to the user, prefix of the answer in the config entry).
    """

    name: str
    words: str
    needs: str
    values: Mapping[str, Any] = field(default_factory=dict)
    asks: tuple[str, str] | None = None

    def fill_values(self, answer: str = "") -> dict[str, Any]:
        """Return the config fields for the user's answer.

        Raises:
            ConfigError: messages cannot be sent to it.
        """
        if self.asks is None:
            return dict(self.values)
        before, typed = self.asks[1], answer.strip()
        # Users who know the notation may type the prefix themselves
        entries = split_notify_entries(typed if typed.startswith(before) else before + typed) or [typed]
        problem = next(filter(None, map(find_notify_problem, entries)), "")
        if problem:
            raise ConfigError(_("{problem}.", problem=problem), where=NOTIFY, field=NOTIFY)
        return {NOTIFY: entries}


def list_message_choices() -> tuple[MessageChoice, ...]:
    """List the ways to be notified about a run (`output.notify`)."""
    return (
        MessageChoice(
            "none", _("No message"), _("Nothing: the list of runs shows how it ended."), {NOTIFY: []}
        ),
        MessageChoice(
            "bell",
            _("The terminal's bell"),
            _("A terminal that stays open; tmux marks its window."),
            {NOTIFY: ["bell"]},
        ),
        MessageChoice(
            "desktop",
            _("A desktop notification"),
            _("You must sit at the machine that trains; it is not visible over SSH."),
            {NOTIFY: ["desktop"]},
        ),
        MessageChoice(
            "ntfy",
            _("A message to a phone, via ntfy"),
            _("The ntfy app, and a topic that is hard to guess: anyone who knows it can read the messages."),
            asks=(_("The topic, such as my-runs-7391"), "ntfy:"),
        ),
        MessageChoice(
            "webhook",
            _("A message to a chat or a program"),
            _("The address of a webhook. Treat it as a secret: ${NAME} keeps it out of the config."),
            asks=(_("The address, or ${NAME} for an environment variable"), ""),
        ),
    )
