"""Talks that were left: they are there again when their first model is talked to once more."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from textual.app import App

from tui_tuner.inference.talk import Talk

_talks: WeakKeyDictionary[App[Any], dict[str, Talk]] = WeakKeyDictionary()


def keep_talk(app: App[Any], talk: Talk) -> None:
    """Have it again later, as long as this app is open."""
    if talk.models and talk.turns:
        _talks.setdefault(app, {})[talk.models[0].path] = talk


def talk_with(app: App[Any], path: str) -> Talk | None:
    """The last talk whose first model is of this folder; None if there was none."""
    return _talks.get(app, {}).get(path)
