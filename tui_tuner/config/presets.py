"""Find presets: commented YAML files in the package, or in `presets/` of a checkout."""

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
    """A preset: its name (the file's, without `.yaml`), its first comment line, and its file."""

    name: str
    description: str
    path: Path


def presets_folder() -> Path:
    """Return the folder of presets: the checkout's for an editable install, else the package's."""
    checkout = _PACKAGE.parent / "presets"
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return _PACKAGE / "presets"


def list_presets(folder: Path | None = None) -> list[Preset]:
    """List the presets of a folder (default: `presets_folder`) by name; empty if it is missing."""
    files = sorted((folder or presets_folder()).glob("*.yaml"), key=lambda path: path.stem)
    return [Preset(path.stem, _read_description(path), path) for path in files]


def find_preset(name: str, folder: Path | None = None) -> Path:
    """Return the file of a preset by name, or the YAML file at the path `name`.

    Raises:
        ConfigError: neither a preset nor a file.
    """
    known = {preset.name: preset.path for preset in list_presets(folder)}
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):
        return path
    # Here, as `problems` imports pydantic, which takes 0.1 s: too long for a mere list of presets
    from tui_tuner.config.problems import suggest_nearest

    raise ConfigError(
        f"{_('is neither a preset nor a YAML file.')}{suggest_nearest(name, known)}",
        where=one_line(name, 80),
        hint=_("`tui-tuner presets` lists the presets; the name of your own file must end in .yaml."),
    )


def _read_description(path: Path) -> str:
    """Return the first line of the comment at the top, without its `#`."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError):
        return ""
    return one_line(first.removeprefix("#").strip()) if first.startswith("#") else ""
