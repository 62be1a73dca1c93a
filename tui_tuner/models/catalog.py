"""Shapes of common models, so that plans need neither network nor weights."""

from __future__ import annotations

from typing import Any

CATALOG: dict[str, dict[str, Any]] = {}


def find(name: str) -> dict[str, Any] | None:
    """The config values of a hub id, or None."""
    return CATALOG.get(name)
