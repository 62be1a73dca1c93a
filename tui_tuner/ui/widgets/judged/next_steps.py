"""What one can do with a run that has ended: commands and lines of code, each whole, to be copied."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import NamedTuple

from textual.content import Content

from tui_tuner.config.deciding import kind_of
from tui_tuner.errors import TunerError
from tui_tuner.inference.leads import here, leads_of, runs_option
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView
from tui_tuner.tasks import find_task
from tui_tuner.ui.words import flowed


class NextStep(NamedTuple):
    """What can be done, and what is typed for it: a command, or lines of Python (`code`)."""

    words: str
    text: str
    code: bool = False


def next_keys(folder: RunFolder, view: RunView) -> list[tuple[str, str]]:
    """The keys that lead on from a run, each with what it does; the likeliest first."""
    words = {
        "c": _("talk to it"),
        "b": _("beside its base"),
        "a": _("ask it about a text"),
        "u": _("use it on a file"),
    }
    keys = [(lead.key, words[lead.key]) for lead in leads_of(folder, kind_of(view.config))]
    return [*keys, ("s", _("run again, changed"))]


def keys_content(keys: list[tuple[str, str]], width: int) -> Content:
    """Keys on lines of so many cells, broken between two of them only."""
    parts = [Content.assemble((key, "bold $accent"), f" {words}") for key, words in keys]
    return Content("\n").join(flowed(parts, "   ", width))


def next_steps(folder: RunFolder, view: RunView, state: str, live: bool) -> list[NextStep]:
    """What can be done with a run in its state."""
    name, runs = shlex.quote(folder.name), runs_option(folder)
    said = {
        "c": _("talk to it (or press c)"),
        "b": _("talk to it and to what it began with (or press b)"),
        "a": _("ask it about a text of your own (or press a)"),
        "u": _("use it on each row of a file (or press u)"),
    }
    leads = leads_of(folder, kind_of(view.config))
    steps = [NextStep(said[lead.key], lead.command) for lead in leads]
    if state in ("stopped", "failed", "lost"):
        words = _("go on from the last checkpoint (or press r)")
        steps.append(NextStep(words, f"tui-tuner resume {name}{runs}"))
    if live:
        steps.append(NextStep(_("see it from another terminal"), f"tui-tuner attach {name}{runs}"))
    steps += _again(folder)
    code = load_code(folder, view)
    return [*steps, NextStep(_("use it in Python"), code, True)] if code else steps


def _again(folder: RunFolder) -> list[NextStep]:
    """The same training again, with its own number of epochs or steps to be changed."""
    path = folder.path / "config.yaml"
    if not path.is_file():
        return []
    try:
        training = folder.config().training
    except TunerError:
        return []
    field, value = "training.epochs", f"{training.epochs:g}"
    if training.max_steps is not None:
        field, value = "training.max_steps", str(training.max_steps)
    words = _("train again with other values; it had {field}={value} (or press s)", field=field, value=value)
    command = f"tui-tuner run {shlex.quote(here(path))} --set output.name=auto --set {field}={value}"
    return [NextStep(words, command)]


def load_code(folder: RunFolder, view: RunView) -> str:
    """Lines of Python that load the model a run made; empty where it made none."""
    place = next((path for path in (folder.best, folder.last) if path.is_dir()), None)
    if place is None:
        return ""
    where = os.path.abspath(place)
    kind = kind_of(view.config)
    name = find_task(kind.name).auto_class if kind is not None else "AutoModelForCausalLM"
    library = "transformers"
    if (place / "adapter_config.json").is_file():
        if kind is not None and kind.decides:  # the base model has to be told of the classes first
            return _("# the lines are in {path}", path=os.path.join(where, "README.md"))
        name, library = name.replace("AutoModel", "AutoPeftModel"), "peft"
    return f"from {library} import {name}\nfolder = {where!r}\nmodel = {name}.from_pretrained(folder)"


def broken(command: str, width: int, long: Callable[[str], int] = len) -> list[str]:
    """A command on lines of at most so many cells, which a shell reads as one; no argument is broken.

    Args:
        long: The cells of a text.
    """
    lines: list[str] = []
    for word in _words(command):
        if lines and long(lines[-1]) + 1 + long(word) <= width - 2:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _words(command: str) -> list[str]:
    """The arguments as they are quoted; a flag stays with its value."""
    try:
        words = [shlex.quote(word) for word in shlex.split(command)]
    except ValueError:
        return [command]
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].startswith("--") and " " not in joined[-1]:
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined
