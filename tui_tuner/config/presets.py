"""The presets: commented YAML files that come with the package, or lie in `presets/` of a checkout."""

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
    """One preset: its name (the file's, without `.yaml`), its first comment line, and its file."""

    name: str
    description: str
    path: Path


def presets_folder() -> Path:
    """Where the presets are: `presets/` of the checkout for an editable install, else inside the package."""
    checkout = _PACKAGE.parent / "presets"
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    return _PACKAGE / "presets"


def list_presets(folder: Path | None = None) -> list[Preset]:
    """Every preset of a folder (by default `presets_folder`), by name; none if the folder is missing."""
    files = sorted((folder or presets_folder()).glob("*.yaml"), key=lambda path: path.stem)
    return [Preset(path.stem, _description(path), path) for path in files]


def find_preset(name: str, folder: Path | None = None) -> Path:
    """The file of a preset by its name, or the YAML file that `name` is the path of.

    Raises:
        ConfigError: neither a preset nor a file.
    """
    known = {preset.name: preset.path for preset in list_presets(folder)}
    if name in known:
        return known[name]
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or os.path.isfile(path):
        return path
    from tui_tuner.config.problems import nearest  # pydantic takes 0.1 s

    raise ConfigError(
        f"{_('neither a preset nor a YAML file.')}{nearest(name, known)}",
        where=one_line(name, 80),
        hint=_("`tui-tuner presets` lists the presets; a file of your own ends in .yaml."),
    )


def _description(path: Path) -> str:
    """The first line of the comment on top, without its `#`."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError):
        return ""
    return one_line(first.removeprefix("#").strip()) if first.startswith("#") else ""
