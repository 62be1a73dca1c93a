"""The presets that come with the package, as the screens show them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.locales import _


@dataclass(frozen=True)
class PresetRow:
    name: str
    description: str
    path: Path


def list_preset_rows() -> list[PresetRow]:
    """Return every preset, `demo` first; none if the package was installed without them."""
    try:
        from tui_tuner.config.presets import list_presets
    except ImportError:
        return []
    found = [PresetRow(p.name, _(p.description), p.path) for p in list_presets()]
    return sorted(found, key=lambda preset: (preset.name != "demo", preset.name))


def read_preset_comment(preset: PresetRow) -> str:
    """Read the comment at the top of a preset: its purpose, and the command that runs it."""
    lines = []
    with contextlib.suppress(OSError, UnicodeDecodeError), preset.path.open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            lines.append(line.lstrip("#").strip())
    return "\n".join(lines)


def read_preset_values(preset: PresetRow) -> dict[str, Any]:
    """Read the values that a preset sets.

    Raises:
        ConfigError: the file is damaged.
    """
    from tui_tuner.config.load import read_config_yaml

    values, _lines = read_config_yaml(preset.path)
    return values
