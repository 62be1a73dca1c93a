"""The entry that tasks and methods share in their registries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """An entry of a registry: its name in a config, a short label and one line of help."""

    name: str
    label: str
    help: str
