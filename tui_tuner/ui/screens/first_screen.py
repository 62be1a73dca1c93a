"""Screens that a command opens at once: a config in the form, a chat, or the guide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from textual.app import App

from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.ui.editing.config_opening import OpenedConfig
from tui_tuner.ui.hosting import Tuner

if TYPE_CHECKING:
    from tui_tuner.inference.talk import Talk


@dataclass(frozen=True)
class OpenedChat:
    """A chat to open when the workbench starts.

    Args:
        device: cpu, cuda:0 or auto.
    """

    talk: Talk
    device: str = "auto"


@dataclass(frozen=True)
class OpenedGuide:
    """The guide, with the answers that the command line gave."""

    answers: Answers = field(default_factory=Answers)


First = OpenedConfig | OpenedChat | OpenedGuide


def open_first_screen(app: Tuner, opened: First) -> None:
    """Push the screen that a command asked for on top of the home screen."""
    if isinstance(opened, OpenedConfig):
        # Each screen is imported only if it is opened: a start of the app must not wait for the other two.
        from tui_tuner.ui.screens.editing.editing_form import open_config_at_once

        open_config_at_once(app, opened)
        return
    if isinstance(opened, OpenedGuide):
        from tui_tuner.ui.screens.guide.open_guide import open_guide

        open_guide(cast(App[Any], app), opened.answers)
        return
    from tui_tuner.ui.screens.chat.chat_screen import ChatScreen

    screen = ChatScreen(opened.talk.models, talk=opened.talk, device=opened.device)
    cast(App[Any], app).push_screen(screen)
