"""The question of the machine: what is here, other cards to plan for, and what a budget buys.

No price is known here: what an hour costs is typed by whoever pays for it.
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
from tui_tuner.config.notices import entries_in, problem_of
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.planning.calibration import calibrated
from tui_tuner.planning.estimate import machine as machine_with
from tui_tuner.planning.gpus import CARDS, Card, card_here, counted_card
from tui_tuner.planning.hardware import Hardware, detect
from tui_tuner.planning.speed.kept import rated
from tui_tuner.text import human_bytes, human_money, human_seconds, one_line

HERE, CPU = "here", "cpu"
STEP = 0.25  # GiB to which free memory is rounded down, so that a plan is good for more than a moment
_KEPT_SECONDS = 5.0
_NUMBER = r"(\d+(?:[.,]\d+)?)"
# A sign, the code of a currency, or what people write for the usual ones
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
    """What a run is planned for.

    Args:
        asked: As it was named: `here`, `cpu`, or a GPU.
        card: Its first GPU, or its RAM.
        config: Fields that follow, by their dotted names.
    """

    asked: str
    card: Card
    hardware: Hardware
    devices: int = 1
    config: Mapping[str, Any] | None = None

    @property
    def here(self) -> bool:
        """Whether it is this one."""
        return self.asked in (HERE, CPU)

    @property
    def values(self) -> dict[str, Any]:
        """What it means for the config."""
        return dict(self.config or {})

    @property
    def name(self) -> str:
        """What it is called, in a sentence."""
        return _(self.card.name) if self.devices == 1 else f"{self.devices} x {one_line(self.card.name)}"


@dataclass(frozen=True)
class MachineChoice:
    """A machine that can be chosen. `means` says what it has, `values` what it sets."""

    asked: str
    words: str
    means: str
    values: Mapping[str, Any]


def find_machine(asked: str | None = HERE) -> Machine:
    """The machine of a name: `here`, `cpu`, a GPU (`RTX 4090`, `24 GiB`), or several of it (`2xH100`).

    Raises:
        HardwareError: no such card.
    """
    name = (asked or HERE).strip()
    plain = name.lower()
    if plain in (HERE, CPU, ""):
        hardware, config = seen_hardware(), RunConfig()
        values = {"hardware.devices": CPU} if plain == CPU else {}
        card = rated(calibrated(card_here(with_values(config, values), hardware)))
        usable = math.floor(card.usable / STEP) * STEP
        if plain == CPU:
            hardware = replace(hardware, gpus=())
        return Machine(plain or HERE, replace(card, usable=usable), hardware, config=values)
    card, config = counted_card(name, RunConfig())
    count = config.hardware.devices if isinstance(config.hardware.devices, int) else 1
    return Machine(name, card, machine_with(card), count, {"hardware.devices": count} if count > 1 else {})


def seen_hardware() -> Hardware:
    """This machine, looked at once in a few seconds."""
    global _seen
    with _lock:
        if _seen is None or time.monotonic() - _seen[0] > _KEPT_SECONDS:
            _seen = (time.monotonic(), detect())
        return _seen[1]


def machine_lines(folder: Path | None = None) -> tuple[str, ...]:
    """What is here: GPU, processor, memory, and room for models and runs in a folder (the working one)."""
    hardware = seen_hardware()
    lines = [_gpu_words(hardware)]
    lines.append(
        _(
            "{cpu} with {cores} cores; {free:.1f} of {total:.1f} GiB of memory are free.",
            cpu=hardware.cpu or "CPU",
            cores=hardware.cores,
            free=hardware.available_gib,
            total=hardware.memory_gib,
        )
    )
    free = free_disk(folder)
    if free is not None:
        lines.append(_("{size} are free on the disk of this folder.", size=human_bytes(free)))
    return (*lines, *hardware.notes)


def _gpu_words(hardware: Hardware) -> str:
    gpus = hardware.usable_gpus
    if not gpus:
        return _("No GPU that can train: the processor does, which is enough for small models.")
    first = gpus[0]
    told = {"name": first.name, "free": first.free_gib, "total": first.total_gib}
    if len(gpus) == 1:
        return _("{name} with {free:.1f} of {total:.1f} GiB free.", **told)
    return _(
        "{count} GPUs; the first, {name}, has {free:.1f} of {total:.1f} GiB free.", count=len(gpus), **told
    )


def free_disk(folder: Path | None = None) -> int | None:
    """Bytes that can be written in a folder; None where that cannot be asked."""
    try:
        return shutil.disk_usage(folder or Path.cwd()).free
    except OSError:
        return None


def machine_choices() -> tuple[MachineChoice, ...]:
    """This machine, its processor alone where it has a GPU, and every GPU of the table, smallest first."""
    hardware = seen_hardware()
    found = [MachineChoice(HERE, _("This machine"), machine_lines()[0], {})]
    if hardware.usable_gpus:
        means = _("Slower by far; leaves the GPU to others.")
        found.append(MachineChoice(CPU, _("The processor of this machine"), means, {"hardware.devices": CPU}))
    for card in sorted(CARDS.values(), key=lambda card: (card.usable, card.tflops)):
        means = _(
            "{usable:.0f} GiB, {speed:g} TFLOP/s by its data sheet: planned for here, trained elsewhere.",
            usable=card.usable,
            speed=card.tflops,
        )
        found.append(MachineChoice(card.name, card.name, means, {}))
    return tuple(found)


@dataclass(frozen=True)
class Budget:
    """The most time or money. Each is None where it is not known: money without a price is no time."""

    seconds: float | None = None
    money: float | None = None
    price: float | None = None

    @property
    def given(self) -> bool:
        return self.seconds is not None or self.money is not None

    @property
    def values(self) -> dict[str, float]:
        """For the config: the run stops, resumably, before it costs more.

        A time becomes money by its price; without one no field holds it.
        """
        found = {} if self.price is None else {"hardware.price_per_hour": self.price}
        if self.money is not None and self.price:
            found["hardware.budget"] = self.money
        return found

    def allows(self, seconds: float | None) -> bool | None:
        """Whether a run of so many seconds is within; None where nobody can tell."""
        if seconds is None or self.seconds is None:
            return None
        return seconds <= self.seconds

    def words(self) -> str:
        """What it buys, as a sentence; empty where there is none."""
        if not self.given:
            return ""
        if self.money is None:
            return _("{time} at most.", time=human_seconds(self.seconds or 0.0))
        if self.seconds is None:
            if self.price is None:
                return _("What {money} buys needs the price of an hour.", money=human_money(self.money))
            return _("An hour costs nothing, so {money} set no limit.", money=human_money(self.money))
        return _(
            "{money} buy {time} at {price} an hour.",
            money=human_money(self.money),
            time=human_seconds(self.seconds),
            price=human_money(self.price or 0.0),
        )


def read_budget(asked: str | float | None, price: float | None = None) -> Budget:
    """A budget as it was typed: `2 h`, `30 min`, `1 h 30 min`, or an amount of money.

    Args:
        price: Of an hour, in the same currency.

    Raises:
        ConfigError: neither a time nor an amount.
    """
    if asked is None or (isinstance(asked, str) and not asked.strip()):
        return Budget(price=price)
    seconds = _seconds_in(asked) if isinstance(asked, str) else None
    if seconds is not None:
        if not 0 < seconds < math.inf:
            raise _no_budget(asked)
        money = seconds / 3600 * price if price else None
        return Budget(seconds, money, price)
    money = _money_in(asked)
    if money is None or not 0 < money < math.inf:
        raise _no_budget(asked)
    return Budget(money / price * 3600 if price else None, money, price)


def _no_budget(asked: object) -> ConfigError:
    return ConfigError(
        _("{value!r} is neither a time nor an amount of money.", value=one_line(asked, 40)),
        where="budget",
        hint=_("Write it as `2 h`, `30 min` or `5.50`."),
    )


def _seconds_in(text: str) -> float | None:
    """`1 h 30 min`, `90min`, `1:30` (hours and minutes); None for what has no unit of time."""
    clock = re.fullmatch(r"\s*(\d{1,4}):([0-5]\d)\s*", text)
    if clock:
        return int(clock.group(1)) * 3600.0 + int(clock.group(2)) * 60.0
    parts = re.findall(rf"{_NUMBER}\s*([a-z]+)", text.lower())
    rest = re.sub(rf"{_NUMBER}\s*([a-z]+)", "", text.lower()).replace(",", "").replace("and", "").strip()
    if not parts or rest or any(unit not in _UNITS for _number, unit in parts):
        return None
    return sum(float(number.replace(",", ".")) * _UNITS[unit] for number, unit in parts)


def _money_in(asked: str | float) -> float | None:
    """An amount, with or without a sign or name of a currency around it."""
    if isinstance(asked, bool):
        return None
    if isinstance(asked, (int, float)):
        return float(asked)
    found = re.fullmatch(rf"\s*{_CURRENCY}?\s*{_NUMBER}\s*{_CURRENCY}?\s*", asked)
    return float(found.group(1).replace(",", ".")) if found else None


@lru_cache(maxsize=1)
def processor_speed() -> float:
    """Floating-point operations a second of this processor in float32, by a product of matrices that takes
    some hundredths of a second; 0 where it cannot be tried."""
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
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best if best > 0 else 0.0


@dataclass(frozen=True)
class MessageChoice:
    """A way to hear of the end of a run, of a failure, and of a GPU that stands idle.

    Args:
        name: `none`, `bell`, `desktop`, `ntfy` or `webhook`.
        words: What it is called. needs: What has to be there for it.
        values: Fields of the config; empty where `asks` has to be answered first.
        asks: What has to be typed: the question, and what stands before the answer in the entry.
    """

    name: str
    words: str
    needs: str
    values: Mapping[str, Any] = field(default_factory=dict)
    asks: tuple[str, str] | None = None

    def values_of(self, answer: str = "") -> dict[str, Any]:
        """The fields for what was typed.

        Raises:
            ConfigError: it is no place that a message can be sent to.
        """
        if self.asks is None:
            return dict(self.values)
        before, typed = self.asks[1], answer.strip()
        entries = entries_in(typed if typed.startswith(before) else before + typed) or [typed]
        problem = next(filter(None, map(problem_of, entries)), "")
        if problem:
            raise ConfigError(_("{problem}.", problem=problem), where=NOTIFY, field=NOTIFY)
        return {NOTIFY: entries}


def message_choices() -> tuple[MessageChoice, ...]:
    """How one hears of a run while nobody watches (`output.notify`)."""
    return (
        MessageChoice(
            "none", _("No message"), _("Nothing: the list of runs says how it ended."), {NOTIFY: []}
        ),
        MessageChoice(
            "bell",
            _("The terminal's bell"),
            _("A terminal that stays open; tmux marks its window."),
            {NOTIFY: ["bell"]},
        ),
        MessageChoice(
            "desktop",
            _("A notice on the desktop"),
            _("That you sit at the machine that trains; over SSH nobody sees it."),
            {NOTIFY: ["desktop"]},
        ),
        MessageChoice(
            "ntfy",
            _("A message to a phone, by ntfy"),
            _("The app ntfy, and a topic that nobody guesses: whoever knows it can read along."),
            asks=(_("The topic, such as my-runs-7391"), "ntfy:"),
        ),
        MessageChoice(
            "webhook",
            _("A message to a chat or a program"),
            _("The address of a webhook, which counts as a secret: ${NAME} keeps it out of the config."),
            asks=(_("The address, or ${NAME} for a variable of the environment"), ""),
        ),
    )
