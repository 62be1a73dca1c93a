"""The bell and the notices of a terminal: for whoever shows a run in one, wherever it is trained."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from tui_tuner.notifying.desktop import has_desktop
from tui_tuner.notifying.message import Message, Story
from tui_tuner.runs.events import Event, RunStarted
from tui_tuner.text import one_line

BELL, END = "\a", "\x1b\\"
FRESH = 60.0  # seconds after which what happened is read as history
_BY_777 = ("rxvt", "foot", "vte")  # terminals that know OSC 777; others that know any know OSC 9


class TerminalNotices:
    """Fed with the events of a run as they are read; gives what to write to the terminal, mostly nothing."""

    def __init__(self) -> None:
        self._story: Story | None = None
        self._entries: list[str] = []

    def take(self, event: Event, now: float | None = None) -> str:
        """What an event makes of the terminal. What is older than a minute is history."""
        body = event.body
        if isinstance(body, RunStarted):
            self._story, self._entries = Story(event.run), _entries_of(body.config)
        if self._story is None or not self._entries:
            return ""
        message = self._story.see(body)
        if message is None or abs((time.time() if now is None else now) - event.time) > FRESH:
            return ""
        return codes_for(self._entries, message)


def codes_for(entries: Sequence[str], message: Message) -> str:
    """What to write to a terminal for a message; empty where none of the entries is a terminal's."""
    codes = BELL if "bell" in entries else ""
    if "desktop" in entries and not has_desktop():
        codes += notice(message)
    return codes


def notice(message: Message) -> str:
    """The control sequence by which a terminal shows a notice: OSC 777 or OSC 9, through tmux if need be."""
    title = one_line(f"tui-tuner: {message.title}", 100).replace(";", ",")
    text = one_line(message.text, 200).replace(";", ",")
    kind = f"{os.environ.get('TERM', '')} {'vte' if os.environ.get('VTE_VERSION') else ''}"
    if any(name in kind for name in _BY_777):
        code = f"\x1b]777;notify;{title};{text}{END}"
    else:
        code = f"\x1b]9;{title}. {text}{END}"
    if os.environ.get("TMUX"):  # which hands on what is wrapped so, where it is told to
        code = "\x1bPtmux;" + code.replace("\x1b", "\x1b\x1b") + END
    return code


def _entries_of(config: Mapping[str, object]) -> list[str]:
    output = config.get("output") if isinstance(config, Mapping) else None
    entries = output.get("notify") if isinstance(output, Mapping) else None
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
