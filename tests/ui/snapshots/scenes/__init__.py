"""Screens in states that people meet. A scene opens the app on a stage, and gives it when all is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from textual.pilot import Pilot

from tests.ui.snapshots.stage import Stage

Play = Callable[[Stage], AsyncIterator[Pilot[Any]]]


@dataclass(frozen=True)
class Scene:
    """A state of a screen.

    Args:
        name: Of its files.
        shows: The class of the screen on top, such as `HomeScreen`.
        play: Opens the app, and gives it in that state.
    """

    name: str
    shows: str
    play: Callable[[Stage], AbstractAsyncContextManager[Pilot[Any]]]


SCENES: dict[str, Scene] = {}


def scene(shows: str) -> Callable[[Play], Play]:
    """Make a scene of a function; its name is that of the scene."""

    def make(play: Play) -> Play:
        name = play.__name__
        assert name not in SCENES, f"two scenes are called {name}"
        SCENES[name] = Scene(name, shows, asynccontextmanager(play))
        return play

    return make
