"""Saved rates of this machine's GPUs, as measured by runs, for plans and further runs."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tui_tuner.planning.calibration import locate_calibration
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.speed.speed_rates import Rates
from tui_tuner.text import one_line


def find_rates_file() -> Path:
    """Return the file of the rates, next to the measurements of memory."""
    return locate_calibration().with_name("rates.json")


def keep_measured_rates(gpu: str, found: Rates, path: Path | None = None) -> Rates:
    """Save a measurement, and return the rates to choose by.

    Two measurements are never quite the same, and choices must not change with them from run to run: saved
    rates stay unless the new ones clearly differ. If the file cannot be written, nothing is saved.
    """
    path = path or find_rates_file()
    all_kept = _read_file(path)
    before = _parse_rates(all_kept.get(one_line(gpu)))
    # Keep the first: choices would otherwise change between runs with the noise of the measurement
    if before is not None and before.is_near(found):
        return before
    values = {name: value for name, value in asdict(found).items() if name != "measured"}
    text = json.dumps({**all_kept, one_line(gpu): values}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written next to it and renamed: a reader or a crash never sees half a file
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError:
        return found
    return found


def find_measured_rates(gpu: str, path: Path | None = None) -> Rates | None:
    """Return the rates kept for a kind of GPU; None if there are none, or the file is damaged."""
    return _parse_rates(_read_file(path or find_rates_file()).get(one_line(gpu)))


def add_rates_to_card(card: Card, path: Path | None = None) -> Card:
    """Return a GPU of this machine with the rates that were measured on it."""
    found = None if card.cpu else find_measured_rates(card.name, path)
    return card if found is None else replace(card, rates=found)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _parse_rates(values: Any) -> Rates | None:
    """Parse kept rates; None if they are invalid."""
    names = ("launch", "products", "memory", "link")
    try:
        # The file may have been edited, or be from another version
        numbers = [float(values[name]) for name in names]
    except (TypeError, ValueError, KeyError):
        return None
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        return None
    launch, products, memory, link = numbers
    return Rates(launch, products, memory, link, measured=True)
