"""`tui-tuner verdict`: judges a run by its curves, with evidence and advice."""

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


def print_run_verdict(run: Judged = "last", runs: Runs = "runs", json: Json = False) -> None:
    """Judge whether a run learned anything, with evidence and advice."""
    from tui_tuner.verdicts.judge import convert_verdict_to_json, judge_run

    place = find_judged_journal(run, runs)
    found = judge_run(place)
    if json:
        import orjson

        from tui_tuner.runs.wire import convert_to_plain_json

        option = orjson.OPT_INDENT_2
        typer.echo(
            orjson.dumps(convert_to_plain_json(convert_verdict_to_json(found)), option=option).decode()
        )
        return
    name = place.parent.name if place.is_file() else place.name
    for line in format_verdict(found, name):
        typer.echo(line)


def find_judged_journal(run: str, runs: str) -> Path:
    """Find the journal or run folder that RUN means.

    Raises:
        UsageError: no run or several runs match.
    """
    from tui_tuner.runs.store import RunStore

    direct = Path(run).expanduser()
    # A journal may be judged without its folder, for example a copy from another machine
    if direct.is_file():
        return direct
    if (direct / "events.jsonl").is_file():
        return direct
    return RunStore(runs).find_run(run).path


def format_verdict(found: Any, name: str) -> list[str]:
    """Format a verdict as lines of text."""
    from tui_tuner.verdicts.verdict_words import VERDICTS

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
    lines += ["", _("Advice:")]
    for advice in found.advice:
        values = " ".join(f"--set {field}={value}" for field, value in advice.values.items())
        lines.append(f"  - {one_line(advice.words)}" + (f"  {values}" if values else ""))
    return lines
