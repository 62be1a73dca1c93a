"""Rates of this machine's GPUs, as runs measured them: plans and further runs choose by what is kept."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tui_tuner.planning.calibration import calibration_file
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.speed.rates import Rates
from tui_tuner.text import one_line


def rates_file() -> Path:
    """Where they are kept: beside what was learned of memory."""
    return calibration_file().with_name("rates.json")


def keep_rates(gpu: str, found: Rates, path: Path | None = None) -> Rates:
    """Keep what was measured, and return what is to be chosen by.

    Two measurements are never quite the same, and a choice must not change with them from run to run: what is
    kept already stays unless the new one is clearly another. Where the disk refuses, nothing is kept.
    """
    path = path or rates_file()
    all_kept = _read(path)
    before = _rates(all_kept.get(one_line(gpu)))
    if before is not None and before.near(found):
        return before
    values = {name: value for name, value in asdict(found).items() if name != "measured"}
    text = json.dumps({**all_kept, one_line(gpu): values}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError:
        return found
    return found


def kept_rates(gpu: str, path: Path | None = None) -> Rates | None:
    """What is kept of a kind of GPU; None where nothing is, or it is damaged."""
    return _rates(_read(path or rates_file()).get(one_line(gpu)))


def rated(card: Card, path: Path | None = None) -> Card:
    """A GPU of this machine with the rates that were measured on it."""
    found = None if card.cpu else kept_rates(card.name, path)
    return card if found is None else replace(card, rates=found)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _rates(values: Any) -> Rates | None:
    """Rates as they were kept; None where they make no sense."""
    names = ("launch", "products", "memory", "link")
    try:
        numbers = [float(values[name]) for name in names]
    except (TypeError, ValueError, KeyError):
        return None
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        return None
    launch, products, memory, link = numbers
    return Rates(launch, products, memory, link, measured=True)
