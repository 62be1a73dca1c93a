"""Commands for using the model of a run: chat, ask, predict, export, and training it again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tui_tuner.config.advice import write_setting
from tui_tuner.config.kinds.tasks import TaskKind
from tui_tuner.locales import _
from tui_tuner.runs.events import Verdict
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line
from tui_tuner.verdicts.verdict_lines import list_verdict_advice


class Lead(NamedTuple):
    """A label and a command that works from the current folder; `key` does the same on a screen."""

    words: str
    command: str
    key: str


def has_saved_model(folder: RunFolder) -> bool:
    """Return whether a run has saved a model or a checkpoint."""
    return (
        folder.best_path.is_dir() or folder.last_path.is_dir() or any(folder.checkpoints_path.glob("step-*"))
    )


def list_leads(folder: RunFolder, kind: TaskKind | None) -> list[Lead]:
    """List the commands for a run's model, depending on its task; none without a model."""
    if kind is None or not has_saved_model(folder):
        return []
    name, runs = shlex.quote(folder.name), format_runs_option(folder)
    leads = []
    if kind.talks:
        leads.append(Lead(_("Talk to it"), f"tui-tuner chat {name}{runs}", "c"))
        leads.append(Lead(_("Compare it with its base"), f"tui-tuner chat {name} --with base{runs}", "b"))
    else:
        question = " --question '…'" if kind.question else ""
        leads.append(Lead(_("Ask it"), f"tui-tuner ask {name} --text FILE{question}{runs}", "a"))
    leads.append(Lead(_("Use it"), f"tui-tuner predict {name} FILE -o OUT.jsonl{runs}", "u"))
    return [*leads, Lead(_("Export it"), f"tui-tuner export {name} --to merged -o FOLDER{runs}", "e")]


def format_leads(folder: RunFolder, kind: TaskKind | None) -> list[str]:
    """List the commands as lines of label and command."""
    return [
        _("{what}: {command}", what=lead.words, command=one_line(lead.command, 4000))
        for lead in list_leads(folder, kind)
    ]


def format_again_command(folder: RunFolder, values: Mapping[str, Any]) -> str:
    """Return the command that trains a run's config again with changed values."""
    path = shlex.quote(shorten_lead_path(folder.path / "config.yaml"))
    return f"tui-tuner run {path} --set output.name=auto {write_setting(values)}"


def format_verdict_leads(folder: RunFolder | None, verdict: Verdict) -> list[str]:
    """List the advice of a verdict as lines, each with the command that follows it."""
    # A verdict of a running run may still change, so only one that asks for action is shown
    if not verdict.final:
        if folder is None or verdict.verdict != "overfit":
            return []
        # While a run is training, overfitting is the only verdict that one should act on at once
        command = f"tui-tuner stop {shlex.quote(folder.name)}{format_runs_option(folder)}"
        return [_("stop now and keep the best checkpoint: {command}", command=one_line(command, 4000))]
    lines = []
    for item in list_verdict_advice(verdict):
        lines.append(_("advice: {words}", words=item.words))
        if item.values and folder is not None:
            lines.append(f"  {one_line(format_again_command(folder, item.values), 4000)}")
    return lines


def format_runs_option(folder: RunFolder) -> str:
    """Return the `--runs` option for a run's folder; empty for the default folder."""
    root = shorten_lead_path(folder.path.parent)
    return "" if root == "runs" else f" --runs {shlex.quote(root)}"


def shorten_lead_path(path: Path) -> str:
    """Return a path relative to the current folder; absolute if it is outside."""
    whole = os.path.abspath(path)
    try:
        inside = os.path.relpath(whole)
    except (OSError, ValueError):
        # The current folder may have been deleted
        return whole
    return whole if inside.startswith("..") else inside
