"""A notice on this desktop, where there is one."""

from __future__ import annotations

import os
import shutil
import sys

from tui_tuner.locales import _
from tui_tuner.notifying.message import Message, NotSent

SECONDS = 5.0  # for the command that shows it


def has_desktop() -> bool:
    """Whether this process can show a notice on a desktop."""
    if sys.platform == "darwin":
        return bool(shutil.which("osascript")) and "SSH_CONNECTION" not in os.environ
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown and shutil.which("notify-send"))


def show_on_desktop(message: Message) -> None:
    """Show a notice; where there is no desktop nothing is done, as whoever has the terminal does it.

    Raises:
        NotSent: the desktop took it not.
    """
    if not has_desktop():
        return
    if sys.platform == "darwin":
        script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
        command = ["osascript", "-e", script, message.title, message.text]
    else:
        urgency = "critical" if message.bad else "normal"
        command = ["notify-send", f"--urgency={urgency}", "--app-name=tui-tuner", "--"]
        command += [message.title, _without_markup(message.text)]
    import subprocess

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        raise NotSent(_("{command} does not answer", command=command[0])) from None
    if done.returncode:
        raise NotSent(_("{command} ended with code {code}", command=command[0], code=done.returncode))


def _without_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
