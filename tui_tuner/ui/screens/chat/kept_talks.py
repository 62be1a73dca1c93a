"""Chats that were left, kept for when a chat with the same first model is opened again."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from textual.app import App

from tui_tuner.inference.talk import Talk

# Keyed by the app and weak, so that tests and a second app in one process share no chats.
_talks: WeakKeyDictionary[App[Any], dict[str, Talk]] = WeakKeyDictionary()


def keep_talk(app: App[Any], talk: Talk) -> None:
    """Keep a chat for as long as this app is open; one without turns is not kept."""
    if talk.models and talk.current_turns:
        _talks.setdefault(app, {})[talk.models[0].path] = talk


def find_talk(app: App[Any], path: str) -> Talk | None:
    """Return the last chat whose first model is in this folder; None if there was none."""
    return _talks.get(app, {}).get(path)
