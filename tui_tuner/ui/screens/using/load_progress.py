"""The progress of a helper that downloads and loads a model, as sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line


def describe_fetch_progress(name: object, told: Mapping[str, Any]) -> str:
    """Return the progress of a download in bytes."""
    total, name = int(told.get("total") or 0), one_line(name, 60)
    if not total:
        return _("Asking the hub for {name}…", name=name)
    done = format_bytes(int(told.get("done") or 0))
    return _("Fetching {name}: {done} of {total}…", name=name, done=done, total=format_bytes(total))


def describe_loading(name: object, told: Mapping[str, Any]) -> str:
    """Return the progress of loading, in weights."""
    total, name = int(told.get("total") or 0), one_line(name, 60)
    if not total:
        return _("Loading {name}…", name=name)
    return _("Loading {name}: {done:,} of {total:,} weights…", name=name, done=int(told["done"]), total=total)
