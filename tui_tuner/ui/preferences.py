"""What the workbench remembers between two starts: a small JSON file in the platform's config folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

_FILE = "workbench.json"


def preferences_path() -> Path:
    """Where the file lives; `TUI_TUNER_CONFIG_DIR` moves it."""
    folder = os.environ.get("TUI_TUNER_CONFIG_DIR")
    return (Path(folder) if folder else user_config_path("tui-tuner", appauthor=False)) / _FILE


def read_preferences() -> dict[str, Any]:
    """What was remembered; empty where there is nothing readable."""
    try:
        data = json.loads(preferences_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def remember(**values: Any) -> bool:
    """Keep values; False where the folder cannot be written, which only costs the memory."""
    path = preferences_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**read_preferences(), **values}, indent=1), encoding="utf-8")
    except OSError:
        return False
    return True
