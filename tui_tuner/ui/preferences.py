"""The workbench's preferences: a small JSON file in the platform's config folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

_FILE = "workbench.json"


def find_preferences_path() -> Path:
    """Return the path of the file; `TUI_TUNER_CONFIG_DIR` overrides its folder."""
    folder = os.environ.get("TUI_TUNER_CONFIG_DIR")
    return (Path(folder) if folder else user_config_path("tui-tuner", appauthor=False)) / _FILE


def read_preferences() -> dict[str, Any]:
    """Return the stored preferences; empty if there are none or they cannot be read."""
    try:
        data = json.loads(find_preferences_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def save_preferences(**values: Any) -> bool:
    """Save values; False if the folder cannot be written, which is not an error."""
    path = find_preferences_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Read again just before writing: another workbench may have saved other keys meanwhile.
        path.write_text(json.dumps({**read_preferences(), **values}, indent=1), encoding="utf-8")
    except OSError:
        return False
    return True
