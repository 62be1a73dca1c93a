"""What is typed to go on with a run that has made a model: to talk to it, to ask it, to use it on a file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tui_tuner.config.advice import setting
from tui_tuner.config.kinds import TaskKind
from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.verdicts.told import advice_of


class Lead(NamedTuple):
    """A command: what it does, and how it is typed from where one is. `key` does the same on a screen."""

    words: str
    command: str
    key: str


def has_model(folder: RunFolder) -> bool:
    """Whether a run has saved a model, whole or as a checkpoint."""
    return folder.best.is_dir() or folder.last.is_dir() or any(folder.checkpoints.glob("step-*"))


def leads_of(folder: RunFolder, kind: TaskKind | None) -> list[Lead]:
    """Where the model of a run leads, by what its task is for; nothing where it has none."""
    if kind is None or not has_model(folder):
        return []
    name, runs = shlex.quote(folder.name), runs_option(folder)
    leads = []
    if kind.writes:
        leads.append(Lead(_("Talk to it"), f"tui-tuner chat {name}{runs}", "c"))
        leads.append(Lead(_("Compare it with its base"), f"tui-tuner chat {name} --with base{runs}", "b"))
    else:
        question = " --question '…'" if kind.question else ""
        leads.append(Lead(_("Ask it"), f"tui-tuner ask {name} --text FILE{question}{runs}", "a"))
    return [*leads, Lead(_("Use it"), f"tui-tuner predict {name} FILE -o OUT.jsonl{runs}", "u")]


def lead_lines(folder: RunFolder, kind: TaskKind | None) -> list[str]:
    """The same as lines for people: what it does, and the command."""
    return [
        _("{what}: {command}", what=lead.words, command=one_line(lead.command, 4000))
        for lead in leads_of(folder, kind)
    ]


def again_command(folder: RunFolder, values: Mapping[str, Any]) -> str:
    """The command that trains a run's own config again, with these values in it."""
    path = shlex.quote(here(folder.path / "config.yaml"))
    return f"tui-tuner run {path} --set output.name=auto {setting(values)}"


def verdict_leads(folder: RunFolder | None, verdict: Verdict) -> list[str]:
    """What a verdict leads to, as lines: each piece of advice, and the command that acts on it."""
    if not verdict.final:
        if folder is None or verdict.verdict != "overfit":
            return []
        command = f"tui-tuner stop {shlex.quote(folder.name)}{runs_option(folder)}"
        return [_("stop here, and keep the best checkpoint: {command}", command=one_line(command, 4000))]
    lines = []
    for item in advice_of(verdict):
        lines.append(_("advice: {words}", words=item.words))
        if item.values and folder is not None:
            lines.append(f"  {one_line(again_command(folder, item.values), 4000)}")
    return lines


def runs_option(folder: RunFolder) -> str:
    """What a command has to be told of the folder of runs, unless it looks there anyway."""
    root = here(folder.path.parent)
    return "" if root == "runs" else f" --runs {shlex.quote(root)}"


def here(path: Path) -> str:
    """A path as one would type it from where one is; absolute where it lies elsewhere."""
    whole = os.path.abspath(path)
    try:
        inside = os.path.relpath(whole)
    except (OSError, ValueError):  # where one is was deleted
        return whole
    return whole if inside.startswith("..") else inside
