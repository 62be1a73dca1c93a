"""What a command has the workbench open with: a config in the form, a chat, or the guide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from textual.app import App

from tui_tuner.guiding.answers import Answers
from tui_tuner.ui.editing.opening import Opened
from tui_tuner.ui.hosting import Tuner

if TYPE_CHECKING:
    from tui_tuner.inference.talk import Talk


@dataclass(frozen=True)
class Talking:
    """A chat to begin with.

    Args:
        device: cpu, cuda:0 or auto.
    """

    talk: Talk
    device: str = "auto"


@dataclass(frozen=True)
class Guided:
    """The guide, with answers that are given already."""

    answers: Answers = field(default_factory=Answers)


First = Opened | Talking | Guided


def open_at_once(app: Tuner, opened: First) -> None:
    """Show it, above the home screen."""
    if isinstance(opened, Opened):
        from tui_tuner.ui.screens.editing.form import open_config_at_once

        open_config_at_once(app, opened)
        return
    if isinstance(opened, Guided):
        from tui_tuner.ui.screens.guide.begin import open_guide

        open_guide(cast(App[Any], app), opened.answers)
        return
    from tui_tuner.ui.screens.chat.chat import ChatScreen

    screen = ChatScreen(opened.talk.models, talk=opened.talk, device=opened.device)
    cast(App[Any], app).push_screen(screen)
