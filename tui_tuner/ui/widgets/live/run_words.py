"""Sentences around a live pane: what a run is, and how it is seen again by who leaves it."""

from __future__ import annotations

import shlex
import socket

from textual.content import Content

from tui_tuner.inference.leads import runs_option
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.bridge import Snapshot


def about(snapshot: Snapshot) -> Content:
    """Model, method and device of a run."""
    config = snapshot.view.config
    model, method = config.get("model"), config.get("method")
    name = model.get("name") if isinstance(model, dict) else None
    kind = method.get("kind") if isinstance(method, dict) else None
    parts = [one_line(part, 30) for part in (name, kind, snapshot.view.device) if part]
    return Content(" · ".join(parts)).stylize("$dim")


def attach_command(folder: RunFolder) -> str:
    """The command that shows a run again, from the folder where one is now."""
    return _command("attach", folder)


def left_words(snapshot: Snapshot) -> str:
    """What the shell is told once somebody has left the pane of a run that another process trains."""
    folder = snapshot.folder
    said = {"name": one_line(folder.name), "attach": one_line(attach_command(folder))}
    if snapshot.state == "paused":
        return _(
            "run {name} stays paused; `{go_on}` lets it go on, and `{attach}` shows it",
            go_on=one_line(_command("continue", folder)),
            name=said["name"],
            attach=said["attach"],
        )
    if snapshot.live:
        return _("run {name} goes on; see it with `{attach}`", name=said["name"], attach=said["attach"])
    return ""


def detach_question(paused: bool) -> str:
    """Asked of who leaves a run that this process trains."""
    if paused:
        return _(
            "Close the workbench? The run stays paused in the background, without a screen, until it is told "
            "to go on. See it again, and let it go on, with"
        )
    return _(
        "Close the workbench and let the run go on in the background, without a screen, to its end? See it "
        "again with"
    )


def is_local(folder: RunFolder) -> bool:
    """Whether a run is on this machine."""
    return folder.manifest().get("host") in (None, socket.gethostname())


def _command(name: str, folder: RunFolder) -> str:
    return f"tui-tuner {name} {shlex.quote(folder.name)}{runs_option(folder)}"
