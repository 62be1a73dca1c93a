"""What one can do with a run that has ended: commands and lines of code, each whole, to be copied."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tui_tuner.config.deciding import kind_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView
from tui_tuner.tasks import find_task


class NextStep(NamedTuple):
    """What can be done, and what is typed for it: a command, or lines of Python (`code`)."""

    words: str
    text: str
    code: bool = False


def here(path: Path) -> str:
    """A path as one would type it from where one is; absolute where it lies elsewhere."""
    whole = os.path.abspath(path)
    try:
        inside = os.path.relpath(whole)
    except (OSError, ValueError):  # where one is was deleted
        return whole
    return whole if inside.startswith("..") else inside


def can_be_asked(folder: RunFolder, view: RunView) -> bool:
    """Whether there is a model, and one that finds something in a text rather than writing one."""
    kind = kind_of(view.config)
    return kind is not None and not kind.writes and (folder.best.is_dir() or folder.last.is_dir())


def can_be_talked_to(folder: RunFolder, view: RunView) -> bool:
    """Whether there is a model, and one that writes text."""
    kind = kind_of(view.config)
    return kind is not None and kind.writes and (folder.best.is_dir() or folder.last.is_dir())


def next_steps(folder: RunFolder, view: RunView, state: str, live: bool) -> list[NextStep]:
    """What can be done with a run in its state."""
    root = here(folder.path.parent)
    runs = "" if root == "runs" else f" --runs {shlex.quote(root)}"
    name = shlex.quote(folder.name)
    steps: list[NextStep] = []
    if can_be_asked(folder, view):
        kind = kind_of(view.config)
        asked = " --question '…'" if kind is not None and kind.question else ""
        words = _("ask it about a text of your own (or press a)")
        steps.append(NextStep(words, f"tui-tuner ask {name} --text FILE{asked}{runs}"))
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
