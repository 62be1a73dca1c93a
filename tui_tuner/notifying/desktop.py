"""Desktop notifications on this machine."""

from __future__ import annotations

import os
import shutil
import sys

from tui_tuner.locales import _
from tui_tuner.notifying.run_messages import Message, NotSent

SECONDS = 5.0  # for the command that shows it


def has_desktop() -> bool:
    """Return whether this process can show desktop notifications."""
    if sys.platform == "darwin":
        return bool(shutil.which("osascript")) and "SSH_CONNECTION" not in os.environ
    # notify-send may be installed on machines without a desktop, where it can only fail
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown and shutil.which("notify-send"))


def show_on_desktop(message: Message) -> None:
    """Show a desktop notification; without a desktop do nothing, as the terminal shows it then.

    Raises:
        NotSent: the command failed.
    """
    if not has_desktop():
        return
    if sys.platform == "darwin":
        # Texts are passed as arguments, so nothing in them can be executed as AppleScript
        script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
        command = ["osascript", "-e", script, message.title, message.text]
    else:
        urgency = "critical" if message.bad else "normal"
        # After `--`, a title that begins with a dash is not an option
        command = ["notify-send", f"--urgency={urgency}", "--app-name=tui-tuner", "--"]
        command += [message.title, _escape_markup(message.text)]
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


def _escape_markup(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
