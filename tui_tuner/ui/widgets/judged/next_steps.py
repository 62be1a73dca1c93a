"""Next steps with a run that has ended: complete commands and lines of code to copy."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import NamedTuple

from textual.content import Content

from tui_tuner.config.deciding import find_task_kind
from tui_tuner.errors import TunerError
from tui_tuner.inference.leads import format_runs_option, list_leads, shorten_lead_path
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView
from tui_tuner.tasks import find_task
from tui_tuner.ui.screen_words import flow_screen_parts


class NextStep(NamedTuple):
    """A next step and the text for it: a command, or lines of Python (`code`)."""

    words: str
    text: str
    code: bool = False


def list_next_keys(folder: RunFolder, view: RunView) -> list[tuple[str, str]]:
    """Return the keys for next steps with their descriptions, the most likely first."""
    words = {
        "c": _("talk to it"),
        "b": _("compare with base"),
        "a": _("ask it about a text"),
        "u": _("use it on a file"),
        "e": _("export it"),
    }
    keys = [(lead.key, words[lead.key]) for lead in list_leads(folder, find_task_kind(view.config))]
    return [*keys, ("s", _("change and rerun"))]


def lay_out_keys(keys: list[tuple[str, str]], width: int) -> Content:
    """Lay out keys in lines of `width` cells, broken only between keys."""
    parts = [Content.assemble((key, "bold $accent"), f" {words}") for key, words in keys]
    return Content("\n").join(flow_screen_parts(parts, "   ", width))


def list_next_steps(folder: RunFolder, view: RunView, state: str, live: bool) -> list[NextStep]:
    """Return the steps that are possible in the state of a run."""
    name, runs = shlex.quote(folder.name), format_runs_option(folder)
    said = {
        "c": _("talk to it (or press c)"),
        "b": _("talk to it and to its base model (or press b)"),
        "a": _("ask it about a text of your own (or press a)"),
        "u": _("use it on each row of a file (or press u)"),
        "e": _("export it for other programs (or press e)"),
    }
    leads = list_leads(folder, find_task_kind(view.config))
    steps = [NextStep(said[lead.key], lead.command) for lead in leads]
    if state in ("stopped", "failed", "lost"):
        words = _("resume from the last checkpoint (or press r)")
        steps.append(NextStep(words, f"tui-tuner resume {name}{runs}"))
    if live:
        steps.append(NextStep(_("watch it from another terminal"), f"tui-tuner attach {name}{runs}"))
    steps += _suggest_again(folder)
    code = write_load_code(folder, view)
    return [*steps, NextStep(_("use it in Python"), code, True)] if code else steps


def _suggest_again(folder: RunFolder) -> list[NextStep]:
    """Suggest training again with another number of epochs or steps."""
    path = folder.path / "config.yaml"
    if not path.is_file():
        return []
    try:
        training = folder.load_config().training
    except TunerError:
        return []
    field, value = "training.epochs", f"{training.epochs:g}"
    if training.max_steps is not None:
        field, value = "training.max_steps", str(training.max_steps)
    words = _("train again with other values; it had {field}={value} (or press s)", field=field, value=value)
    command = (
        f"tui-tuner run {shlex.quote(shorten_lead_path(path))} --set output.name=auto --set {field}={value}"
    )
    return [NextStep(words, command)]


def write_load_code(folder: RunFolder, view: RunView) -> str:
    """Return lines of Python that load the model of a run; empty if it has none."""
    place = next((path for path in (folder.best_path, folder.last_path) if path.is_dir()), None)
    if place is None:
        return ""
    where = os.path.abspath(place)
    kind = find_task_kind(view.config)
    name = find_task(kind.name).auto_class if kind is not None else "AutoModelForCausalLM"
    library = "transformers"
    if (place / "adapter_config.json").is_file():
        # The base model must be loaded with the number of classes, which takes more lines than fit here.
        if kind is not None and kind.decides:
            return _("# the lines are in {path}", path=os.path.join(where, "README.md"))
        name, library = name.replace("AutoModel", "AutoPeftModel"), "peft"
    return f"from {library} import {name}\nfolder = {where!r}\nmodel = {name}.from_pretrained(folder)"


def break_shell_command(command: str, width: int, long: Callable[[str], int] = len) -> list[str]:
    """Break a command into lines of at most `width` cells that a shell reads as one; arguments stay whole.

    Args:
        long: Returns the cells of a text.
    """
    lines: list[str] = []
    for word in _split_command(command):
        if lines and long(lines[-1]) + 1 + long(word) <= width - 2:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _split_command(command: str) -> list[str]:
    """Split a command into quoted arguments, each flag together with its value."""
    try:
        words = [shlex.quote(word) for word in shlex.split(command)]
    except ValueError:
        return [command]
    # A flag at the end of a line and its value on the next would be hard to read.
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--") and " " not in joined[-1]:
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined
