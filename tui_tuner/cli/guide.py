"""`tui-tuner guide`: turns answers into a run, on the screen or from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Detach, Json, NoTui, Sets, print_to_stderr
from tui_tuner.errors import EXIT_CONFIG, EXIT_DATA, ConfigError, UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.guiding.proposal import Proposal

AnswersPath = Annotated[
    str | None,
    typer.Option(
        "--answers",
        help=N_("YAML file with answers: task, data, model, machine, budget, judge; all are optional."),
        metavar="FILE",
    ),
]
Out = Annotated[
    str | None,
    typer.Option("--output", "-o", help=N_("YAML file to write the config to."), metavar="CONFIG"),
]


def run_guide(
    answers: AnswersPath = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help=N_("Show what would be trained and how, without training."))
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
    """Answer five questions to get a trained model, with a reason for each setting."""
    if answers is None:
        _refuse_options(dry_run or out is not None or json or no_tui or detach or bool(sets) or yes)
        raise typer.Exit(_open_guide(runs or "runs"))
    # Checked first: a proposal takes up to a minute
    target = _check_target(out, force)
    proposal = _propose_from_file(answers, sets, runs)
    _print_proposal(proposal, json and dry_run, quiet=json and not dry_run)
    if not proposal.can_start:
        raise typer.Exit(_choose_exit_code(proposal))
    if target is not None:
        _write_config(target, proposal, answers)
    if not dry_run:
        raise typer.Exit(_start_proposed(proposal, yes, runs, no_tui, json, detach))


def _refuse_options(more: bool) -> None:
    """Refuse options that need a file of answers if there is none.

    Raises:
        UsageError: such an option was given.
    """
    if more:
        raise UsageError(
            _("these options need --answers FILE."),
            hint=_("Without other options, `tui-tuner guide` asks its questions on the screen."),
        )


def _open_guide(runs: str) -> int:
    from tui_tuner.cli.screen import require_screen, show_screen
    from tui_tuner.runs.store import RunStore

    require_screen(
        _("the guide asks its questions on a screen, so it needs a terminal."),
        _(
            "Without one: `tui-tuner guide --answers FILE.yaml --dry-run -o CONFIG.yaml`, where FILE.yaml "
            "has lines such as `data: rows.jsonl`."
        ),
    )
    from tui_tuner.ui.screens.first_screen import OpenedGuide

    return show_screen(RunStore(runs), opened=OpenedGuide())


def _check_target(out: str | None, force: bool) -> Path | None:
    """Check the output file before anything is computed; None without one.

    Raises:
        UsageError: it exists, or its folder does not.
    """
    if out is None:
        return None
    target = Path(out).expanduser()
    if target.is_dir():
        raise UsageError(_("is a folder."), where=one_line(target), hint=_("Give -o the name of a file."))
    if target.exists() and not force:
        raise UsageError(
            _("exists."), where=one_line(target), hint=_("Choose another -o, or overwrite it with --force.")
        )
    if not target.absolute().parent.is_dir():
        raise UsageError(_("no such folder."), where=one_line(target.parent), hint=_("Create it first."))
    return target


def _propose_from_file(answers: str, sets: list[str] | None, runs: str | None) -> Proposal:
    """Propose a config for a file of answers; errors name the file and line."""
    from dataclasses import replace

    from tui_tuner.config.load import apply_config_sets
    from tui_tuner.config.writing.flat import flatten_config
    from tui_tuner.guiding.answers_file import read_answers_file
    from tui_tuner.guiding.propose import propose_config

    found = read_answers_file(answers)
    values: dict[str, Any] = {}
    apply_config_sets(values, sets or ())
    more = flatten_config(values)
    if runs is not None:
        # The folder of runs also holds measured speeds, which the proposal uses
        more["output.folder"] = runs
    try:
        return propose_config(replace(found.answers, more=more), found.folder, _choose_progress())
    except ConfigError as error:
        raise found.add_place(error) from None


def _choose_progress() -> Any:
    """Return a function that prints progress, if standard error is a terminal."""
    if not sys.stderr.isatty():
        return None
    return print_to_stderr


def _print_proposal(proposal: Proposal, as_json: bool, quiet: bool) -> None:
    from tui_tuner.guiding.proposal_page import convert_proposal, lay_out_page

    if as_json:
        import orjson

        # Values of fields may be mappings with numbers as keys, such as the names of classes
        option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
        typer.echo(orjson.dumps(convert_proposal(proposal), option=option).decode())
    # With --json, standard output belongs to the run; a proposal that cannot start is shown on standard error
    elif not quiet or not proposal.can_start:
        for line in lay_out_page(proposal):
            typer.echo(line, err=quiet)


def _choose_exit_code(proposal: Proposal) -> int:
    """Return 3 if the data blocks the start, 2 if something else does."""
    about = {concern.about for concern in proposal.concerns if concern.stops}
    return EXIT_DATA if "data" in about else EXIT_CONFIG


def _write_config(target: Path, proposal: Proposal, answers: str) -> None:
    from tui_tuner.guiding.proposal_page import write_config_text

    head = _("Made by the guide from {answers}.", answers=one_line(answers, 80))
    text = write_config_text(proposal, (head,))
    beside = target.with_name(f".{target.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        # Written next to the target and renamed, so a full disk leaves no half config
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UsageError(
            _("cannot be written: {problem}.", problem=error.strerror), where=one_line(target)
        ) from None
    typer.echo("", err=True)
    typer.echo(_("Written: {path}. Start it with `tui-tuner run {path}`.", path=one_line(target)), err=True)


def _start_proposed(
    proposal: Proposal, yes: bool, runs: str | None, no_tui: bool, json: bool, detach: bool
) -> int:
    """Train the proposed config; ask for confirmation first if there is a terminal."""
    from tui_tuner.cli.screen import can_show_screen
    from tui_tuner.cli.start import train_new_folder
    from tui_tuner.config.load import build_config

    # Without a terminal there is no one to ask, so naming a file of answers counts as consent
    if not yes and not json and can_show_screen() and not typer.confirm(_("Start it?"), default=True):
        return 0
    return train_new_folder(build_config(proposal.values), no_tui=no_tui, json=json, detach=detach)
