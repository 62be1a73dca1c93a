"""`tui-tuner guide`: from answers to a run, on the screen or from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Detach, Json, NoTui, Sets, say_aside
from tui_tuner.errors import EXIT_CONFIG, EXIT_DATA, ConfigError, UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.guiding.proposal import Proposal

AnswersPath = Annotated[
    str | None,
    typer.Option(
        "--answers",
        help=N_("YAML file with answers: task, data, model, machine, budget, judge; each may be left out."),
        metavar="FILE",
    ),
]
Out = Annotated[
    str | None,
    typer.Option("--output", "-o", help=N_("YAML file that the config is written to."), metavar="CONFIG"),
]


def guide(
    answers: AnswersPath = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help=N_("Say what would be trained, and how; train nothing."))
    ] = False,
    out: Out = None,
    force: Annotated[bool, typer.Option("--force", help=N_("Overwrite an existing file."))] = False,
    sets: Sets = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help=N_("Start without asking."))] = False,
    runs: Annotated[str | None, typer.Option("--runs", help=N_("Folder that holds the runs."))] = None,
    no_tui: NoTui = False,
    json: Json = False,
    detach: Detach = False,
) -> None:
    """Be led from five questions to a trained model, each setting with its reason."""
    if answers is None:
        _check_bare(dry_run or out is not None or json or no_tui or detach or bool(sets) or yes)
        raise typer.Exit(_on_screen(runs or "runs"))
    target = _target(out, force)
    proposal = _propose(answers, sets, runs)
    _say(proposal, json and dry_run, quiet=json and not dry_run)
    if not proposal.can_start:
        raise typer.Exit(_exit_code(proposal))
    if target is not None:
        _write(target, proposal, answers)
    if not dry_run:
        raise typer.Exit(_start(proposal, yes, runs, no_tui, json, detach))


def _check_bare(more: bool) -> None:
    """Without answers there is the screen, and nothing else.

    Raises:
        UsageError: options that go with a file of answers.
    """
    if more:
        raise UsageError(
            _("these options go with --answers FILE."),
            hint=_("Without answers, `tui-tuner guide` asks them on the screen."),
        )


def _on_screen(runs: str) -> int:
    from tui_tuner.cli.screen import require_screen, show
    from tui_tuner.runs.store import RunStore

    require_screen(
        _("the guide asks its questions on a screen, and needs a terminal."),
        _(
            "Without one: `tui-tuner guide --answers FILE.yaml --dry-run -o CONFIG.yaml`, where FILE.yaml "
            "has lines such as `data: rows.jsonl`."
        ),
    )
    from tui_tuner.ui.screens.at_once import Guided

    return show(RunStore(runs), opened=Guided())


def _target(out: str | None, force: bool) -> Path | None:
    """The file to write, before anything is computed for it.

    Raises:
        UsageError: it exists, or its folder does not.
    """
    if out is None:
        return None
    target = Path(out).expanduser()
    if target.is_dir():
        raise UsageError(_("is a folder."), where=one_line(target), hint=_("Give -o the name of a file."))
    if target.exists() and not force:
        raise UsageError(_("exists."), where=one_line(target), hint=_("Choose another -o, or give --force."))
    if not target.absolute().parent.is_dir():
        raise UsageError(_("no such folder."), where=one_line(target.parent), hint=_("Make it first."))
    return target


def _propose(answers: str, sets: list[str] | None, runs: str | None) -> Proposal:
    """What the answers of a file come to."""
    from dataclasses import replace

    from tui_tuner.config.load import apply_sets
    from tui_tuner.config.writing.flat import flat
    from tui_tuner.guiding.propose import propose
    from tui_tuner.guiding.reading import read_answers_file

    found = read_answers_file(answers)
    values: dict[str, Any] = {}
    apply_sets(values, sets or ())
    more = flat(values)
    if runs is not None:
        more["output.folder"] = runs
    try:
        return propose(replace(found.answers, more=more), found.folder, _progress())
    except ConfigError as error:
        raise found.placed(error) from None


def _progress() -> Any:
    """Tells what is going on, where somebody watches."""
    if not sys.stderr.isatty():
        return None
    return say_aside


def _say(proposal: Proposal, as_json: bool, quiet: bool) -> None:
    from tui_tuner.guiding.page import page_lines, proposal_json

    if as_json:
        import orjson

        option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        typer.echo(orjson.dumps(proposal_json(proposal), option=option).decode())
    elif not quiet or not proposal.can_start:
        for line in page_lines(proposal):
            typer.echo(line, err=quiet)


def _exit_code(proposal: Proposal) -> int:
    """3 where the data stands in the way, 2 where something else does."""
    about = {concern.about for concern in proposal.concerns if concern.stops}
    return EXIT_DATA if "data" in about else EXIT_CONFIG


def _write(target: Path, proposal: Proposal, answers: str) -> None:
    from tui_tuner.guiding.page import config_text

    head = _("Made by the guide from {answers}.", answers=one_line(answers, 80))
    text = config_text(proposal, (head,))
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(
            _("cannot be written: {problem}.", problem=error.strerror), where=one_line(target)
        ) from None
    typer.echo("", err=True)
    typer.echo(_("Written: {path}. Start it with `tui-tuner run {path}`.", path=one_line(target)), err=True)


def _start(proposal: Proposal, yes: bool, runs: str | None, no_tui: bool, json: bool, detach: bool) -> int:
    """Train what is proposed, once that is agreed to where somebody can be asked."""
    from tui_tuner.cli.screen import can_show
    from tui_tuner.cli.start import begin
    from tui_tuner.config.load import build_config

    if not yes and not json and can_show() and not typer.confirm(_("Start it?"), default=True):
        return 0
    return begin(build_config(proposal.values), no_tui=no_tui, json=json, detach=detach)
