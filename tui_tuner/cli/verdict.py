"""`tui-tuner verdict`: what a run's curves say, in a word, with the evidence and what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tui_tuner.cli.options import Json, Runs
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

Judged = Annotated[
    str,
    typer.Argument(help=N_("Name or folder of a run, its events.jsonl, or `last`."), metavar="RUN"),
]


def verdict(run: Judged = "last", runs: Runs = "runs", json: Json = False) -> None:
    """Say whether a run learnt anything, on what evidence, and what to change."""
    from tui_tuner.verdicts.judge import judge_run, plain_values

    place = find_journal(run, runs)
    found = judge_run(place)
    if json:
        import orjson

        from tui_tuner.runs.wire import plain

        option = orjson.OPT_INDENT_2
        typer.echo(orjson.dumps(plain(plain_values(found)), option=option).decode())
        return
    name = place.parent.name if place.is_file() else place.name
    for line in lines_of(found, name):
        typer.echo(line)


def find_journal(run: str, runs: str) -> Path:
    """The journal or the folder that RUN means.

    Raises:
        UsageError: no run, or several, match.
    """
    from tui_tuner.runs.store import RunStore

    direct = Path(run).expanduser()
    if direct.is_file():
        return direct
    if (direct / "events.jsonl").is_file():
        return direct
    return RunStore(runs).find(run).path


def lines_of(found: Any, name: str) -> list[str]:
    """A verdict for people."""
    from tui_tuner.verdicts.words import VERDICTS

    word = VERDICTS[found.verdict]
    said = {"name": one_line(name), "label": _(word.label), "means": _(word.means)}
    lines = [_("{name}: {label}. {means}", **said)]
    parts = []
    if found.since_step is not None:
        parts.append(_("since step {step:,}", step=found.since_step))
    if found.confidence is not None:
        parts.append(_("confidence {confidence:.0%}", confidence=found.confidence))
    parts.append(_("up to step {step:,}", step=found.step))
    lines += [", ".join(parts), "", _("Evidence:")]
    lines += [f"  - {one_line(sentence)}" for sentence in found.evidence]
    lines += ["", _("What to change:")]
    for advice in found.advice:
        values = " ".join(f"--set {field}={value}" for field, value in advice.values.items())
        lines.append(f"  - {one_line(advice.words)}" + (f"  {values}" if values else ""))
    return lines
