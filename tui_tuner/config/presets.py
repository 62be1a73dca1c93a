"""The presets: commented YAML files in the package, or in `presets/` of a checkout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import one_line

_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Preset:
    """One preset: its name (the file name without `.yaml`), its first comment line, and its file."""

    name: str
    description: str
    path: Path


def find_presets_folder() -> Path:
    """Return the folder of the presets: that of the checkout in an editable install, else the package's."""
    checkout = _PACKAGE.parent / "presets"
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return _PACKAGE / "presets"


def list_presets(folder: Path | None = None) -> list[Preset]:
    """Return the presets of a folder (default: `find_presets_folder`), sorted by name; empty if it is
    missing.
    """
    files = sorted((folder or find_presets_folder()).glob("*.yaml"), key=lambda path: path.stem)
    return [Preset(path.stem, _read_description(path), path) for path in files]


def find_preset(name: str, folder: Path | None = None) -> Path:
    """Return the file of a preset by its name, or a YAML file by its path.

    Raises:
        ConfigError: `name` is neither a preset nor a YAML file.
    """
    known = {preset.name: preset.path for preset in list_presets(folder)}
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):
        return path
    from tui_tuner.config.problems import suggest_nearest  # pydantic takes 0.1 s

    raise ConfigError(
        f"{_('neither a preset nor a YAML file.')}{suggest_nearest(name, known)}",
        where=one_line(name, 80),
        hint=_("`tui-tuner presets` lists the presets; a file of your own ends in .yaml."),
    )


def _read_description(path: Path) -> str:
    """Return the first line of a preset's opening comment, without its `#`; empty if there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError):
        return ""
    return one_line(first.removeprefix("#").strip()) if first.startswith("#") else ""
