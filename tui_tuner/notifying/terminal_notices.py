"""Bell and notifications of the terminal that shows a run, wherever the run is trained."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from tui_tuner.notifying.desktop import has_desktop
from tui_tuner.notifying.run_messages import Message, MessageComposer
from tui_tuner.runs.events import Event, RunStarted
from tui_tuner.text import one_line

BELL, END = "\a", "\x1b\\"
FRESH = 60.0  # seconds after which an event counts as history
_BY_777 = ("rxvt", "foot", "vte")  # terminals that support OSC 777; others use OSC 9


class TerminalNotices:
    """Turns the events of a run into control codes for the terminal, if they call for a notification."""

    def __init__(self) -> None:
        self._story: MessageComposer | None = None
        self._entries: list[str] = []

    def take_event(self, event: Event, now: float | None = None) -> str:
        """Return the control codes for an event; empty for most, and for events older than a minute."""
        body = event.body
        if isinstance(body, RunStarted):
            self._story, self._entries = MessageComposer(event.run), _read_entries(body.config)
        if self._story is None or not self._entries:
            return ""
        message = self._story.note_event(body)
        # Attaching to a run replays its journal, which must not ring for what happened hours ago
        if message is None or abs((time.time() if now is None else now) - event.time) > FRESH:
            return ""
        return list_notice_codes(self._entries, message)


def list_notice_codes(entries: Sequence[str], message: Message) -> str:
    """Return the control codes for a message; empty if no entry is for the terminal."""
    codes = BELL if "bell" in entries else ""
    if "desktop" in entries and not has_desktop():
        codes += format_notice(message)
    return codes


def format_notice(message: Message) -> str:
    """Return the control sequence of a notification: OSC 777 or OSC 9, wrapped for tmux if needed."""
    # A semicolon separates the fields of these sequences
    title = one_line(f"tui-tuner: {message.title}", 100).replace(";", ",")
    text = one_line(message.text, 200).replace(";", ",")
    kind = f"{os.environ.get('TERM', '')} {'vte' if os.environ.get('VTE_VERSION') else ''}"
    if any(name in kind for name in _BY_777):
        code = f"\x1b]777;notify;{title};{text}{END}"
    else:
        code = f"\x1b]9;{title}. {text}{END}"
    # Tmux passes on sequences that are wrapped like this, if allow-passthrough is on
    if os.environ.get("TMUX"):
        code = "\x1bPtmux;" + code.replace("\x1b", "\x1b\x1b") + END
    return code


def _read_entries(config: Mapping[str, object]) -> list[str]:
    output = config.get("output") if isinstance(config, Mapping) else None
    entries = output.get("notify") if isinstance(output, Mapping) else None
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
