"""A model on its way into memory, as a helper tells it: fetched from its hub, then read from the disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_tuner.locales import _
from tui_tuner.text import human_bytes, one_line


def fetching_words(name: object, told: Mapping[str, Any]) -> str:
    """How many bytes are here."""
    total, name = int(told.get("total") or 0), one_line(name, 60)
    if not total:
        return _("Asking the hub for {name}…", name=name)
    done = human_bytes(int(told.get("done") or 0))
    return _("Fetching {name}: {done} of {total}…", name=name, done=done, total=human_bytes(total))


def loading_words(name: object, told: Mapping[str, Any]) -> str:
    """How many weights are in memory."""
    total, name = int(told.get("total") or 0), one_line(name, 60)
    if not total:
        return _("Loading {name}…", name=name)
    return _("Loading {name}: {done:,} of {total:,} weights…", name=name, done=int(told["done"]), total=total)
