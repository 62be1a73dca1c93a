"""Sentences around a live pane: what a run is, and how to return to it."""

from __future__ import annotations

import shlex
import socket

from textual.content import Content

from tui_tuner.inference.leads import format_runs_option
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.ui.bridge import RunSnapshot


def describe_live_run(snapshot: RunSnapshot) -> Content:
    """Describe model, method and device of a run."""
    config = snapshot.view.config
    model, method = config.get("model"), config.get("method")
    name = model.get("name") if isinstance(model, dict) else None
    kind = method.get("kind") if isinstance(method, dict) else None
    parts = [one_line(part, 30) for part in (name, kind, snapshot.view.device) if part]
    return Content(" · ".join(parts)).stylize("$dim")


def format_attach_command(folder: RunFolder) -> str:
    """Return the command that shows a run again from the current folder."""
    return _format_command("attach", folder)


def format_left_message(snapshot: RunSnapshot) -> str:
    """Return a message for the shell after leaving the pane of a run that another process trains."""
    folder = snapshot.folder
    said = {"name": one_line(folder.name), "attach": one_line(format_attach_command(folder))}
    if snapshot.state == "paused":
        return _(
            "run {name} stays paused; `{go_on}` continues it, `{attach}` shows it",
            go_on=one_line(_format_command("continue", folder)),
            name=said["name"],
            attach=said["attach"],
        )
    if snapshot.is_live:
        return _("run {name} continues; watch it with `{attach}`", name=said["name"], attach=said["attach"])
    return ""


def format_detach_question(paused: bool) -> str:
    """Return the question before leaving a run that this process trains."""
    if paused:
        return _(
            "Close the workbench? The run stays paused in the background, without a screen, until you "
            "continue it. To watch or continue it, use"
        )
    return _(
        "Close the workbench and let the run continue in the background, without a screen, to its end? To "
        "watch it, use"
    )


def is_run_local(folder: RunFolder) -> bool:
    """Return whether a run is on this machine."""
    return folder.read_manifest().get("host") in (None, socket.gethostname())


def _format_command(name: str, folder: RunFolder) -> str:
    return f"tui-tuner {name} {shlex.quote(folder.name)}{format_runs_option(folder)}"
